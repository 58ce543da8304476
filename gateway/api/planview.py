"""Plans in answers: what they grant, what they limit, and what they cost. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from accounts.plan import OWN_DAY, PlanRule, PlanVersion
from accounts.planprice import FeatureRate, PlanPrice
from gateway.api.amounts import Amount, AmountNano, amount
from gateway.api.fields import Nano, Told, Usd, money
from gateway.api.planmodels import SUBSCRIPTION
from metering.money import pico_to_usd

Pico = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": "^[0-9]+$", "description": "pico-USD (1e-12), whole"})
]


class TierTold(Told):
    """One tier of a graduated price."""

    up_to: int | None
    price_per_unit: Usd
    price_per_unit_pico: Pico
    flat_fee: Usd
    flat_fee_nano: Nano


class RateTold(Told):
    """How a plan charges a feature."""

    feature_key: str
    model: str
    price_per_unit: Usd | None
    price_per_unit_pico: Pico | None
    tiers: list[TierTold]
    package_units: int | None
    package_price: Usd | None
    package_price_nano: Nano | None


class PriceTold(Told):
    """What a plan costs."""

    amount: Usd
    amount_nano: Nano
    currency: str
    interval_months: int
    billing_timing: str
    features: list[RateTold]


class RuleTold(Told):
    """How much of a feature one customer may use in each window."""

    name: str = Field(description="By which a customer may have it otherwise: feature/kind/window")
    feature_key: str | None
    kind: str
    window: str
    value: Amount
    value_nano: AmountNano | None
    enforcement: str
    mode: str
    carry_max: Amount | None
    carry_max_nano: AmountNano | None
    thresholds: list[int]


class PlanTold(Told):
    """One version of a plan; a version never changes."""

    plan: str
    version: int
    label: str
    name: str
    features: list[str]
    other_features: str
    time_zone: str
    anchor: int | str
    limits: list[RuleTold]
    price: PriceTold | None
    archived: bool = Field(description="It takes no new customers")
    customers: int = Field(description="On this version now")


def plan_told(plan: PlanVersion, *, archived: bool, customers: int) -> PlanTold:
    """A version as the API tells it."""
    return PlanTold(
        plan=plan.plan,
        version=plan.version,
        label=plan.label,
        name=plan.name,
        features=list(plan.features),
        other_features="allow" if plan.others else "deny",
        time_zone=plan.time_zone,
        anchor=SUBSCRIPTION if plan.anchor == OWN_DAY else plan.anchor,
        limits=[_rule_told(rule) for rule in plan.rules],
        price=None if plan.price is None else _price_told(plan.price),
        archived=archived,
        customers=customers,
    )


def rate_told(rate: FeatureRate) -> RateTold:
    """How a feature is charged."""
    by_unit, by_package = rate.model == "usage", rate.model == "package"
    return RateTold(
        feature_key=rate.feature,
        model=rate.model,
        **per_unit(rate.price_pico if by_unit else None),
        tiers=[
            TierTold(up_to=tier.up_to, **per_unit(tier.price_pico), **money(flat_fee=tier.flat_nano))
            for tier in rate.tiers
        ],
        package_units=rate.package_units if by_package else None,
        **money(package_price=rate.package_nano if by_package else None),
    )


def per_unit(pico: int | None) -> dict[str, Any]:
    """The price of one unit, in both forms."""
    return {
        "price_per_unit": None if pico is None else Decimal(pico_to_usd(pico)),
        "price_per_unit_pico": None if pico is None else str(pico),
    }


def _rule_told(rule: PlanRule) -> RuleTold:
    return RuleTold(
        name=rule.name,
        feature_key=rule.feature,
        kind=rule.kind,
        window=rule.window,
        **amount(rule.kind, "value", rule.value),
        enforcement=rule.enforcement,
        mode=rule.mode,
        **amount(rule.kind, "carry_max", rule.carry_max if rule.mode == "accumulate" else None),
        thresholds=list(rule.thresholds),
    )


def _price_told(price: PlanPrice) -> PriceTold:
    return PriceTold(
        **money(amount=price.flat_nano),
        currency=price.currency,
        interval_months=price.interval_months,
        billing_timing=price.timing,
        features=[rate_told(rate) for rate in price.rates],
    )
