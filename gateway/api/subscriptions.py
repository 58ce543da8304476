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

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from accounts.pages import subscription_page
from accounts.subscription import PPM, Deal, Override, Overrides
from gateway.api.amounts import Amount, AmountNano, Given, NanoGiven, amount, read_amount
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Asked, Moment, MomentText, Name, Nano, Paged, Told, Usd, moment_text, money
from gateway.api.limitmodels import Enforcement
from gateway.api.planmodels import PlanKey
from gateway.api.refusing import page_of, place_of, refusals
from gateway.api.subscribing import (
    END_OF_PERIOD,
    IMMEDIATE,
    Found,
    begin,
    cancel,
    change,
    described,
    find,
    undo,
)

TAG = "subscriptions"
READ, WRITE = "billing.read", "billing.write"
When = Literal["IMMEDIATE", "END_OF_PERIOD"]
Version = Annotated[int | None, Field(ge=1, le=999_999_999, description="By default the latest")]


class SubscriptionsAsked(Paged):
    """Filters are exact, and all of them hold."""

    customer_id: Name | None = None
    plan: Name | None = None
    status: Literal["pending", "active", "ended"] | None = None


class OverrideAsked(Asked):
    """What the customer has otherwise than its plan, of one limit."""

    value: Given | None = None
    value_nano: NanoGiven | None = None
    enforcement: Enforcement | None = None


class NewSubscription(Asked):
    """A customer to be put on a plan."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"customer_id": "acme", "plan": "pro"}]})

    customer_id: Name
    plan: PlanKey
    version: Version = None
    starts_at: Annotated[Moment | None, Field(description="By default now")] = None
    ends_at: Moment | None = None
    anchor: Annotated[int | None, Field(ge=1, le=31, description="The day on which its months begin")] = None
    limits: Annotated[
        dict[str, OverrideAsked],
        Field(
            default_factory=dict,
            max_length=64,
            description="By the name of the plan's limit, such as search/requests/month",
        ),
    ]
    features: Annotated[
        dict[Name, bool],
        Field(default_factory=dict, max_length=200, description="Granted or refused, whatever the plan says"),
    ]


class PlanChange(Asked):
    """Another plan, or another version of the same one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"plan": "max", "when": "END_OF_PERIOD"}]})

    plan: PlanKey
    version: Version = None
    when: When = "IMMEDIATE"


class Cancellation(Asked):
    """When it ends."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"when": "END_OF_PERIOD"}]})

    when: When = "END_OF_PERIOD"


class OverrideTold(Told):
    """What the customer has otherwise than its plan, of one limit; null: as in the plan."""

    limit: str
    value: Amount | None
    value_nano: AmountNano | None
    enforcement: str | None


class Scheduled(Told):
    """What takes a subscription's place at its end."""

    subscription_id: str
    plan: str
    version: int
    at: MomentText


class SubscriptionTold(Told):
    """A customer on a version of a plan for a span of time."""

    id: str
    customer_id: str
    plan: str
    version: int
    status: str = Field(description="pending, active or ended")
    starts_at: MomentText
    ends_at: MomentText | None
    anchor: int
    current_period_start: MomentText | None
    current_period_end: MomentText | None
    cancel_at: MomentText | None = Field(description="When it ends and nothing takes its place")
    scheduled_change: Scheduled | None
    price: Usd | None = Field(description="Of each period, instead of the plan's; null: the plan's")
    price_nano: Nano | None
    quantity: int
    discount_percent: Annotated[Decimal, Field(json_schema_extra={"type": "number"})]
    limits: list[OverrideTold]
    features: dict[str, bool]


class SubscriptionsTold(Told):
    """A page of subscriptions, by their start."""

    subscriptions: list[SubscriptionTold]
    next_cursor: str | None


def list_subscriptions(call: Call) -> SubscriptionsTold:
    """A page of the account's subscriptions."""
    asked: SubscriptionsAsked = call.query
    listed = ("subscriptions", call.account_id, asked.customer_id, asked.plan, asked.status)
    now_ms = call.parts.rows.now_ms(call.account_id)
    with call.parts.engine.connect() as connection:
        found = subscription_page(
            connection,
            call.account_id,
            limit=asked.limit + 1,
            now_ms=now_ms,
            after=place_of(listed, asked.cursor),
            customer=asked.customer_id,
            plan=asked.plan,
            status=asked.status,
        )
    rows, following = page_of(listed, found, asked.limit, lambda each: each.place)
    book = call.parts.customers(call.account_id)
    customers = {name: book.customer(name) for name in dict.fromkeys(row.customer for row in rows)}
    return SubscriptionsTold(
        subscriptions=[told(described(call, customers[row.customer], row.subscription)) for row in rows],
        next_cursor=following,
    )


def show_subscription(call: Call) -> SubscriptionTold:
    """One subscription."""
    return told(find(call, call.path["subscription"]))


def subscribe(call: Call) -> SubscriptionTold:
    """Put a customer on a plan."""
    asked: NewSubscription = call.body
    with refusals():
        overrides = Overrides(
            {name: _override(name, each) for name, each in asked.limits.items()}, asked.features
        )
    return told(
        begin(
            call,
            asked.customer_id,
            asked.plan,
            version=asked.version,
            starts_ms=asked.starts_at,
            ends_ms=asked.ends_at,
            anchor=asked.anchor,
            overrides=overrides,
        )
    )


def change_plan(call: Call) -> SubscriptionTold:
    """Another plan; gives the subscription that takes this one's place."""
    asked: PlanChange = call.body
    return told(change(call, call.path["subscription"], asked.plan, asked.version, asked.when))


def undo_change(call: Call) -> SubscriptionTold:
    """Take a planned change back."""
    return told(undo(call, call.path["subscription"], change_of_plan=True))


def cancel_subscription(call: Call) -> SubscriptionTold:
    """End it."""
    return told(cancel(call, call.path["subscription"], call.body.when))


def undo_cancellation(call: Call) -> SubscriptionTold:
    """Take a planned end back."""
    return told(undo(call, call.path["subscription"], change_of_plan=False))


def told(found: Found) -> SubscriptionTold:
    """A subscription as the API tells it."""
    mine, following, deal = found.subscription, found.next, found.subscription.deal
    return SubscriptionTold(
        id=mine.id,
        customer_id=found.customer,
        plan=mine.plan,
        version=mine.version,
        status=found.status,
        starts_at=str(moment_text(mine.starts_ms)),
        ends_at=moment_text(mine.ends_ms),
        anchor=mine.anchor,
        current_period_start=None if found.period is None else moment_text(found.period.start_ms),
        current_period_end=None if found.period is None else moment_text(found.period.end_ms),
        cancel_at=moment_text(mine.ends_ms) if found.cancelled else None,
        scheduled_change=None
        if following is None
        else Scheduled(
            subscription_id=following.id,
            plan=following.plan,
            version=following.version,
            at=str(moment_text(following.starts_ms)),
        ),
        **_deal(deal),
        limits=[_told_override(name, each) for name, each in mine.overrides.limits.items()],
        features=dict(mine.overrides.features),
    )


def _deal(deal: Deal) -> dict[str, Any]:
    percent = Decimal(deal.discount_ppm * 100) / PPM
    return {**money(price=deal.price_nano), "quantity": deal.quantity, "discount_percent": percent}


def _kind(name: str) -> str:
    """The kind in a limit's name, feature/kind/window; features have no slash."""
    parts = name.split("/")
    if len(parts) != 3:
        raise ValueError(f"limits: {name!r} is no limit of a plan; write such as search/requests/month")
    return parts[1]


def _override(name: str, asked: OverrideAsked) -> Override:
    value = None
    if asked.value is not None or asked.value_nano is not None:
        value = read_amount(_kind(name), asked.value, asked.value_nano, "value")
    return Override(value, asked.enforcement)


def _told_override(name: str, each: Override) -> OverrideTold:
    return OverrideTold(limit=name, **amount(_kind(name), "value", each.value), enforcement=each.enforcement)


_CONFLICTS = {409: "The subscription, or the customer's, stands against it; `code` says how"}
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
        refusals=_CONFLICTS,
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
        refusals=_CONFLICTS,
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
        refusals=_CONFLICTS,
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
        refusals=_CONFLICTS,
        writes=True,
    ),
)
