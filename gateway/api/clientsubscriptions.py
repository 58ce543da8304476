"""Subscriptions as the platform paths ask for them: in camelCase.

POST   /api/v1/client/subscriptions                                       put a customer on a plan
GET    /api/v1/client/subscriptions/{subscription}                        one
POST   /api/v1/client/subscriptions/{subscription}/plan-change            another plan
DELETE /api/v1/client/subscriptions/{subscription}/plan-change/scheduled  take a planned change back
POST   /api/v1/client/subscriptions/cancellation/{subscription}           end it
DELETE /api/v1/client/subscriptions/cancellation/{subscription}/scheduled take a planned end back

An upgrade holds at once, a downgrade with the next period.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from accounts.subscription import GRACE_DAYS_USUAL, Paying
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Asked, AskedCamel, MomentText, Name, ToldCamel, moment_text
from gateway.api.planmodels import PlanKey
from gateway.api.subscribing import (
    CONFLICTS,
    END_OF_PERIOD,
    IMMEDIATE,
    Found,
    begin,
    cancel,
    change,
    find,
    undo,
)
from gateway.api.subscriptionmodels import GraceDays, PaymentMethod

TAG = "subscriptions"
READ, WRITE = "billing.read", "billing.write"
STATUSES = {"pending": "PENDING", "active": "ACTIVE", "ended": "CANCELLED"}


class NewClientSubscription(AskedCamel):
    """A customer to be put on a plan, by the plan's key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"customerReferenceId": "user_42", "planId": "pro", "gracePeriod": 3}]
        }
    )

    customer_reference_id: Name
    plan_id: PlanKey
    grace_period: GraceDays = GRACE_DAYS_USUAL
    payment_method_id: PaymentMethod | None = None


class ClientPlanChange(AskedCamel):
    """UPGRADE holds at once, DOWNGRADE with the next period."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"changeToPlanId": "max", "changeType": "UPGRADE"}]}
    )

    change_to_plan_id: PlanKey
    change_type: Literal["UPGRADE", "DOWNGRADE"]


class CancelAsked(Asked):
    """When it ends."""

    cancelMode: Annotated[  # as it is in the address
        Literal["IMMEDIATE", "END_OF_PERIOD"], Field(description="Now, or with its period")
    ] = "END_OF_PERIOD"


class ScheduledChange(ToldCamel):
    """What takes a subscription's place at its end."""

    subscription_id: str
    plan_id: str
    at: MomentText


class ClientSubscription(ToldCamel):
    """A customer on a version of a plan for a span of time."""

    id: str
    customer_reference_id: str
    plan_id: str
    plan_key: str
    plan_version: int
    status: str = Field(description="PENDING, ACTIVE or CANCELLED")
    starts_at: MomentText
    ends_at: MomentText | None
    current_period_start: MomentText | None
    current_period_end: MomentText | None
    cancel_at: MomentText | None = Field(description="When it ends and nothing takes its place")
    scheduled_change: ScheduledChange | None
    grace_period: int = Field(description="Days; as it was told")
    payment_method_id: str | None


class SubscriptionAnswer(ToldCamel):
    """A subscription."""

    subscription: ClientSubscription


def subscribe_client(call: Call) -> SubscriptionAnswer:
    """Put a customer on a plan, from now on."""
    asked: NewClientSubscription = call.body
    paying = Paying(asked.grace_period, asked.payment_method_id or "")
    return _answer(begin(call, asked.customer_reference_id, asked.plan_id, paying=paying))


def show_client_subscription(call: Call) -> SubscriptionAnswer:
    """One subscription."""
    return _answer(find(call, call.path["subscription"]))


def change_client_plan(call: Call) -> SubscriptionAnswer:
    """Another plan; gives the subscription that takes this one's place."""
    asked: ClientPlanChange = call.body
    when = IMMEDIATE if asked.change_type == "UPGRADE" else END_OF_PERIOD
    return _answer(change(call, call.path["subscription"], asked.change_to_plan_id, None, when))


def undo_client_change(call: Call) -> SubscriptionAnswer:
    """Take a planned change back."""
    return _answer(undo(call, call.path["subscription"], change_of_plan=True))


def cancel_client(call: Call) -> SubscriptionAnswer:
    """End it."""
    return _answer(cancel(call, call.path["subscription"], call.query.cancelMode))


def undo_client_cancellation(call: Call) -> SubscriptionAnswer:
    """Take a planned end back."""
    return _answer(undo(call, call.path["subscription"], change_of_plan=False))


def client_subscription(found: Found) -> ClientSubscription:
    """A subscription as platform paths tell it."""
    mine, following = found.subscription, found.next
    return ClientSubscription(
        id=mine.id,
        customer_reference_id=found.customer,
        plan_id=mine.plan,
        plan_key=mine.plan,
        plan_version=mine.version,
        status=STATUSES[found.status],
        starts_at=str(moment_text(mine.starts_ms)),
        ends_at=moment_text(mine.ends_ms),
        current_period_start=None if found.period is None else moment_text(found.period.start_ms),
        current_period_end=None if found.period is None else moment_text(found.period.end_ms),
        cancel_at=moment_text(found.cancel_ms),
        scheduled_change=None
        if following is None
        else ScheduledChange(
            subscription_id=following.id,
            plan_id=following.plan,
            at=str(moment_text(following.starts_ms)),
        ),
        grace_period=mine.paying.grace_days,
        payment_method_id=mine.paying.method or None,
    )


def _answer(found: Found) -> SubscriptionAnswer:
    return SubscriptionAnswer(subscription=client_subscription(found))


_ONE = "/api/v1/client/subscriptions/{subscription}"
_CANCELLATION = "/api/v1/client/subscriptions/cancellation/{subscription}"
CLIENT_SUBSCRIPTIONS = (
    Endpoint(
        method="POST",
        path="/api/v1/client/subscriptions",
        scope=WRITE,
        summary="Put a customer on a plan",
        tag=TAG,
        handler=subscribe_client,
        body=NewClientSubscription,
        answer=SubscriptionAnswer,
        status=201,
        refusals={404: "There is no such customer or plan", 409: "The customer is on a plan"},
        writes=True,
    ),
    Endpoint(
        method="GET",
        path=_ONE,
        scope=READ,
        summary="One subscription",
        tag=TAG,
        handler=show_client_subscription,
        answer=SubscriptionAnswer,
    ),
    Endpoint(
        method="POST",
        path=f"{_ONE}/plan-change",
        scope=WRITE,
        summary="Another plan: an upgrade at once, a downgrade with the next period",
        tag=TAG,
        handler=change_client_plan,
        body=ClientPlanChange,
        answer=SubscriptionAnswer,
        refusals=CONFLICTS,
        writes=True,
    ),
    Endpoint(
        method="DELETE",
        path=f"{_ONE}/plan-change/scheduled",
        scope=WRITE,
        summary="Take a planned change of plan back",
        tag=TAG,
        handler=undo_client_change,
        answer=SubscriptionAnswer,
        refusals=CONFLICTS,
        writes=True,
    ),
    Endpoint(
        method="POST",
        path=_CANCELLATION,
        scope=WRITE,
        summary="End a subscription, now or with its period",
        tag=TAG,
        handler=cancel_client,
        query=CancelAsked,
        answer=SubscriptionAnswer,
        refusals=CONFLICTS,
        writes=True,
    ),
    Endpoint(
        method="DELETE",
        path=f"{_CANCELLATION}/scheduled",
        scope=WRITE,
        summary="Take a planned end back",
        tag=TAG,
        handler=undo_client_cancellation,
        answer=SubscriptionAnswer,
        refusals=CONFLICTS,
        writes=True,
    ),
)
