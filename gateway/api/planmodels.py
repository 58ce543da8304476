"""Plans in bodies: what they grant, what they limit, and what they cost, as the book takes them. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from accounts.plan import OWN_DAY, PlanRule, PlanVersion
from accounts.planprice import FeatureRate, PlanPrice, Tier
from budgets.window import zone_of
from gateway.api.amounts import Dollars, Given, NanoGiven, read_amount
from gateway.api.fields import Asked, Label, Name
from gateway.api.limitmodels import Enforcement, Kind, Thresholds, TimeZone, Window
from metering.money import usd_to_nano, usd_to_pico

SUBSCRIPTION = "subscription"
PlanKey = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["pro"])
]
Timing = Literal["in_advance", "in_arrears"]
Model = Literal["included", "usage", "graduated", "package"]


def _anchor(value: Any) -> Any:
    if value != SUBSCRIPTION and (type(value) is not int or not 1 <= value <= 31):
        raise ValueError(f"write a day of the month, 1 to 31, or the text {SUBSCRIPTION}")
    return value


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
        BeforeValidator(_anchor),
        Field(description="First day of its months: 1 to 31, or each customer's own"),
    ] = 1
    limits: Annotated[list[RuleAsked], Field(max_length=200, default_factory=list)]
    price: Annotated[PriceAsked | None, Field(description="null: what it costs is not known here")] = None


def plan_asked(asked: NewPlan) -> PlanVersion:
    """The plan as the book takes it. ValueError says what is wrong."""
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
