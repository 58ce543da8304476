"""Subscriptions as the API tells them. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from accounts.subscription import PPM, Deal, Override
from gateway.api.amounts import Amount, AmountNano, amount
from gateway.api.fields import MomentText, Nano, Told, Usd, moment_text, money
from gateway.api.subscribing import Found
from gateway.api.subscriptionmodels import kind_of


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
    grace_period_days: int
    payment_method_id: str | None
    limits: list[OverrideTold]
    features: dict[str, bool]


def subscription_told(found: Found) -> SubscriptionTold:
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
        cancel_at=moment_text(found.cancel_ms),
        scheduled_change=None
        if following is None
        else Scheduled(
            subscription_id=following.id,
            plan=following.plan,
            version=following.version,
            at=str(moment_text(following.starts_ms)),
        ),
        **deal_told(deal),
        grace_period_days=mine.paying.grace_days,
        payment_method_id=mine.paying.method or None,
        limits=[_override_told(name, each) for name, each in mine.overrides.limits.items()],
        features=dict(mine.overrides.features),
    )


def deal_told(deal: Deal) -> dict[str, Any]:
    """What is paid otherwise, in the fields of an answer."""
    percent = Decimal(deal.discount_ppm * 100) / PPM
    return {**money(price=deal.price_nano), "quantity": deal.quantity, "discount_percent": percent}


def _override_told(name: str, each: Override) -> OverrideTold:
    return OverrideTold(
        limit=name, **amount(kind_of(name), "value", each.value), enforcement=each.enforcement
    )
