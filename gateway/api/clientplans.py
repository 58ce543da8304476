"""Plans as the platform paths tell them: in camelCase, and as a shop window shows them. Pure."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from accounts.plan import PlanVersion
from accounts.planprice import FeatureRate
from gateway.api.fields import Nano, ToldCamel, Usd, money
from metering.money import pico_to_usd

PRICING = {"included": "included", "usage": "usage_based", "graduated": "graduated", "package": "package"}


class ClientTier(ToldCamel):
    """One tier of a graduated price."""

    up_to: int | None
    price_per_unit: Usd
    flat_fee: Usd
    flat_fee_nano: Nano


class ClientPricing(ToldCamel):
    """What a feature costs on a plan, and how much of it there is."""

    model: str
    price_per_unit: Usd | None
    max_usage: int | None = Field(description="Requests in the plan's month; null: not limited so")
    reset_mode: str | None
    tiers: list[ClientTier]
    package_units: int | None
    package_price: Usd | None
    package_price_nano: Nano | None


class ClientPlanFeature(ToldCamel):
    """A feature of a plan."""

    feature_key: str
    pricing_type: str
    pricing: ClientPricing


class ClientPlan(ToldCamel):
    """A plan. `id` and `key` are the same: what a subscription names it by."""

    id: str
    key: str
    version: int
    name: str
    price_amount: Usd | None = Field(description="For each interval; null: not known here")
    price_amount_nano: Nano | None
    currency: str | None
    interval_months: int
    billing_timing: str | None
    features: list[ClientPlanFeature]


class ClientPlans(ToldCamel):
    """A page of plans, by key."""

    items: list[ClientPlan]
    total: int
    next_cursor: str | None


def client_plan(plan: PlanVersion) -> ClientPlan:
    """A plan's version."""
    price = plan.price
    return ClientPlan(
        id=plan.plan,
        key=plan.plan,
        version=plan.version,
        name=plan.name,
        **money(price_amount=None if price is None else price.flat_nano),
        currency=None if price is None else price.currency,
        interval_months=plan.interval_months,
        billing_timing=None if price is None else price.timing,
        features=[_feature(plan, feature) for feature in plan.features],
    )


def _feature(plan: PlanVersion, feature: str) -> ClientPlanFeature:
    rate = plan.price.rate_of(feature) if plan.price is not None else None
    rate = rate or FeatureRate(feature)
    most = next(
        (
            rule
            for rule in plan.rules
            if (rule.feature, rule.kind, rule.window) == (feature, "requests", "month")
        ),
        None,
    )
    by_package = rate.model == "package"
    return ClientPlanFeature(
        feature_key=feature,
        pricing_type=PRICING[rate.model],
        pricing=ClientPricing(
            model=PRICING[rate.model],
            price_per_unit=_dollars(rate.price_pico) if rate.model == "usage" else None,
            max_usage=None if most is None else most.value,
            reset_mode=None if most is None else most.mode,
            tiers=[
                ClientTier(
                    up_to=tier.up_to,
                    price_per_unit=_dollars(tier.price_pico),
                    **money(flat_fee=tier.flat_nano),
                )
                for tier in rate.tiers
            ],
            package_units=rate.package_units if by_package else None,
            **money(package_price=rate.package_nano if by_package else None),
        ),
    )


def _dollars(pico: int) -> Decimal:
    return Decimal(pico_to_usd(pico))
