"""Subscriptions: which customer is on which plan, since when, and what is planned.

GET    /api/subscriptions                               a page of them, by their start
POST   /api/subscriptions                               put a customer on a plan
GET    /api/subscriptions/{subscription}                one
POST   /api/subscriptions/{subscription}/plan-change    another plan, now or with the next period
DELETE /api/subscriptions/{subscription}/plan-change    take a planned change back
POST   /api/subscriptions/{subscription}/cancellation   end it, now or with its period
DELETE /api/subscriptions/{subscription}/cancellation   take a planned end back
"""

from __future__ import annotations

from accounts.subscription import Overrides, Paying
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Told
from gateway.api.refusing import refusals
from gateway.api.subscribing import (
    CONFLICTS,
    END_OF_PERIOD,
    IMMEDIATE,
    begin,
    cancel,
    change,
    described,
    find,
    page_asked,
    undo,
)
from gateway.api.subscriptionmodels import (
    Cancellation,
    NewSubscription,
    PlanChange,
    SubscriptionsAsked,
    deal_asked,
    override_asked,
)
from gateway.api.subscriptionview import SubscriptionTold, subscription_told

TAG = "subscriptions"
READ, WRITE = "billing.read", "billing.write"


class SubscriptionsTold(Told):
    """A page of subscriptions, by their start."""

    subscriptions: list[SubscriptionTold]
    next_cursor: str | None


def list_subscriptions(call: Call) -> SubscriptionsTold:
    """A page of the account's subscriptions."""
    now_ms = call.parts.rows.now_ms(call.account_id)
    rows, following = page_asked(call, "subscriptions", now_ms)
    book = call.parts.customers(call.account_id)
    customers = {name: book.customer(name) for name in dict.fromkeys(row.customer for row in rows)}
    return SubscriptionsTold(
        subscriptions=[
            subscription_told(described(call, customers[row.customer], row.subscription)) for row in rows
        ],
        next_cursor=following,
    )


def show_subscription(call: Call) -> SubscriptionTold:
    """One subscription."""
    return subscription_told(find(call, call.path["subscription"]))


def subscribe(call: Call) -> SubscriptionTold:
    """Put a customer on a plan."""
    asked: NewSubscription = call.body
    with refusals():
        deal = deal_asked(asked)
        overrides = Overrides(
            {name: override_asked(name, each) for name, each in asked.limits.items()}, asked.features
        )
    return subscription_told(
        begin(
            call,
            asked.customer_id,
            asked.plan,
            version=asked.version,
            starts_ms=asked.starts_at,
            ends_ms=asked.ends_at,
            anchor=asked.anchor,
            overrides=overrides,
            deal=deal,
            paying=Paying(asked.grace_period_days, asked.payment_method_id or ""),
        )
    )


def change_plan(call: Call) -> SubscriptionTold:
    """Another plan; gives the subscription that takes this one's place."""
    asked: PlanChange = call.body
    return subscription_told(change(call, call.path["subscription"], asked.plan, asked.version, asked.when))


def undo_change(call: Call) -> SubscriptionTold:
    """Take a planned change back."""
    return subscription_told(undo(call, call.path["subscription"], change_of_plan=True))


def cancel_subscription(call: Call) -> SubscriptionTold:
    """End it."""
    return subscription_told(cancel(call, call.path["subscription"], call.body.when))


def undo_cancellation(call: Call) -> SubscriptionTold:
    """Take a planned end back."""
    return subscription_told(undo(call, call.path["subscription"], change_of_plan=False))


SUBSCRIPTIONS = (
    Endpoint(
        method="GET",
        path="/api/subscriptions",
        scope=READ,
        summary="Subscriptions by their start",
        tag=TAG,
        handler=list_subscriptions,
        query=SubscriptionsAsked,
        answer=SubscriptionsTold,
    ),
    Endpoint(
        method="POST",
        path="/api/subscriptions",
        scope=WRITE,
        summary="Put a customer on a plan",
        tag=TAG,
        handler=subscribe,
        body=NewSubscription,
        answer=SubscriptionTold,
        status=201,
        refusals={404: "There is no such customer or plan", 409: "The customer is on a plan then"},
        writes=True,
    ),
    Endpoint(
        method="GET",
        path="/api/subscriptions/{subscription}",
        scope=READ,
        summary="One subscription",
        tag=TAG,
        handler=show_subscription,
        answer=SubscriptionTold,
    ),
    Endpoint(
        method="POST",
        path="/api/subscriptions/{subscription}/plan-change",
        scope=WRITE,
        summary="Another plan, now or with the next period",
        description=f"What takes its place has an id of its own. `when`: {IMMEDIATE} or {END_OF_PERIOD}.",
        tag=TAG,
        handler=change_plan,
        body=PlanChange,
        answer=SubscriptionTold,
        refusals=CONFLICTS,
        writes=True,
    ),
    Endpoint(
        method="DELETE",
        path="/api/subscriptions/{subscription}/plan-change",
        scope=WRITE,
        summary="Take a planned change of plan back",
        tag=TAG,
        handler=undo_change,
        answer=SubscriptionTold,
        refusals=CONFLICTS,
        writes=True,
    ),
    Endpoint(
        method="POST",
        path="/api/subscriptions/{subscription}/cancellation",
        scope=WRITE,
        summary="End a subscription, now or with its period",
        tag=TAG,
        handler=cancel_subscription,
        body=Cancellation,
        answer=SubscriptionTold,
        refusals=CONFLICTS,
        writes=True,
    ),
    Endpoint(
        method="DELETE",
        path="/api/subscriptions/{subscription}/cancellation",
        scope=WRITE,
        summary="Take a planned end back",
        tag=TAG,
        handler=undo_cancellation,
        answer=SubscriptionTold,
        refusals=CONFLICTS,
        writes=True,
    ),
)
