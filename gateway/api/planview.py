"""Plans in bodies and answers: what they grant, what they limit, and what they cost. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from accounts.plan import OWN_DAY, PlanRule, PlanVersion
from accounts.planprice import FeatureRate, PlanPrice, Tier
from budgets.window import zone_of
from gateway.api.amounts import Amount, AmountNano, Dollars, Given, NanoGiven, amount, read_amount
from gateway.api.fields import Asked, Label, Name, Nano, Told, Usd, money
from gateway.api.limitmodels import Enforcement, Kind, Thresholds, TimeZone, Window
from metering.money import pico_to_usd, usd_to_nano, usd_to_pico

SUBSCRIPTION = "subscription"
PlanKey = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["pro"])
]
Timing = Literal["in_advance", "in_arrears"]
Model = Literal["included", "usage", "graduated", "package"]
Pico = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": "^[0-9]+$", "description": "pico-USD (1e-12), whole"})
]


class TierAsked(Asked):
    """Units above the tier before and up to `up_to`; null: all others."""

    up_to: Annotated[int | None, Field(ge=1, le=2**53 - 1)] = None
    price_per_unit: Dollars = Decimal(0)
    flat_fee: Dollars = Decimal(0)


class RateAsked(Asked):
    """How the plan charges a feature."""

    feature_key: Name
    model: Model = "included"
    price_per_unit: Annotated[Dollars | None, Field(description="With the model usage")] = None
    tiers: Annotated[list[TierAsked], Field(max_length=100, default_factory=list)]
    package_units: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    package_price: Dollars | None = None


class PriceAsked(Asked):
    """What the plan costs in each period, and what features cost on it."""

    amount: Annotated[Dollars, Field(description="For each period")] = Decimal(0)
    interval_months: Annotated[int, Field(ge=1, le=120)] = 1
    billing_timing: Timing = "in_advance"
    features: Annotated[list[RateAsked], Field(max_length=200, default_factory=list)]


class RuleAsked(Asked):
    """How much of a feature (null: of all together) one customer may use in each window."""

    feature_key: Name | None = None
    kind: Kind = "requests"
    window: Window = "month"
    value: Given | None = None
    value_nano: NanoGiven | None = None
    enforcement: Enforcement = "hard"
    mode: Annotated[
        Literal["reset", "accumulate"], Field(description="accumulate: what is not used is carried over")
    ] = "reset"
    carry_max: Given | None = None
    carry_max_nano: NanoGiven | None = None
    thresholds: Annotated[Thresholds, Field(default_factory=list)]


class NewPlan(Asked):
    """A plan, or a new version of it. Customers stay on the version that they are on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "plan": "pro",
                    "name": "Pro",
                    "features": ["search", "summarize"],
                    "limits": [{"feature_key": "search", "kind": "requests", "value": 1000}],
                    "price": {
                        "amount": 49,
                        "features": [
                            {"feature_key": "summarize", "model": "usage", "price_per_unit": 0.000002}
                        ],
                    },
                }
            ]
        }
    )

    plan: PlanKey
    name: Label = ""
    features: Annotated[
        list[Name], Field(max_length=200, default_factory=list, description="What its customers may use")
    ]
    other_features: Annotated[
        Literal["allow", "deny"] | None,
        Field(description="Features that are not named; by default allowed where none is named"),
    ] = None
    time_zone: TimeZone = "UTC"
    anchor: Annotated[
        int | Literal["subscription"],
        Field(description="First day of its months: 1 to 31, or each customer's own"),
    ] = 1
    limits: Annotated[list[RuleAsked], Field(max_length=200, default_factory=list)]
    price: Annotated[PriceAsked | None, Field(description="null: what it costs is not known here")] = None


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


def plan_asked(asked: NewPlan) -> PlanVersion:
    """The plan as the book takes it. ValueError says what is wrong."""
    if asked.anchor != SUBSCRIPTION and not 1 <= int(asked.anchor) <= 31:
        raise ValueError("anchor: write a day of the month, 1 to 31, or subscription")
    zone_of(asked.time_zone)  # billing periods lie in it, also where nothing is limited
    rules = tuple(_rule_asked(rule) for rule in asked.limits)
    limited = [rule.feature for rule in rules if rule.feature is not None]
    charged = [] if asked.price is None else [each.feature_key for each in asked.price.features]
    features = tuple(dict.fromkeys((*asked.features, *limited, *charged)))
    others = not features if asked.other_features is None else asked.other_features == "allow"
    return PlanVersion(
        plan=asked.plan,
        version=0,
        features=features,
        others=others,
        rules=rules,
        time_zone=asked.time_zone,
        anchor=OWN_DAY if asked.anchor == SUBSCRIPTION else int(asked.anchor),
        name=asked.name,
        price=None if asked.price is None else _price_asked(asked.price),
    )


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


def _rule_asked(asked: RuleAsked) -> PlanRule:
    carried = asked.carry_max is not None or asked.carry_max_nano is not None
    return PlanRule(
        kind=asked.kind,
        window=asked.window,
        value=read_amount(asked.kind, asked.value, asked.value_nano, "value"),
        feature=asked.feature_key,
        enforcement=asked.enforcement,
        mode=asked.mode,
        carry_max=read_amount(asked.kind, asked.carry_max, asked.carry_max_nano, "carry_max")
        if carried
        else 0,
        thresholds=tuple(asked.thresholds),
    )


def _price_asked(asked: PriceAsked) -> PlanPrice:
    return PlanPrice(
        flat_nano=usd_to_nano(asked.amount),
        interval_months=asked.interval_months,
        timing=asked.billing_timing,
        rates=tuple(
            FeatureRate(
                feature=each.feature_key,
                model=each.model,
                price_pico=usd_to_pico(each.price_per_unit or 0),
                tiers=tuple(
                    Tier(tier.up_to, usd_to_pico(tier.price_per_unit), usd_to_nano(tier.flat_fee))
                    for tier in each.tiers
                ),
                package_units=each.package_units,
                package_nano=usd_to_nano(each.package_price or 0),
            )
            for each in asked.features
        ),
    )


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
