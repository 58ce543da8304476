"""Settings of features, plans and the policy on customers, and what they say as the plan book takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from accounts.feature import Feature, check_feature
from accounts.featureprices import UNIT, FeaturePrice, check_feature_price
from accounts.plan import OWN_DAY, PlanRule, PlanVersion, check_plan
from accounts.planprice import unit_pico
from accounts.policy import Policy
from budgets.limit import check_terms
from gateway.settings.planprices import PlanPriceSettings, exact
from gateway.settings.section import Section
from metering.money import usd_to_nano


class FeatureSettings(Section):
    """A feature, by its key. A `price` that differs from the one in force begins when it is read."""

    name: str = ""
    enabled: bool = True
    price: str | None = None
    per: int = 1
    unit_label: str = UNIT

    @field_validator("price", mode="before")
    @classmethod
    def amounts_are_exact(cls, value: Any) -> Any:
        return exact(value)

    def feature_price(self, key: str, now_ms: int) -> FeaturePrice | None:
        """The price of a unit from now on; None where none is said. ValueError says what is wrong."""
        if self.price is None:
            return None
        found = FeaturePrice(key, now_ms, unit_pico(self.price, self.per), self.unit_label)
        check_feature_price(found)
        return found


class PlanLimitSettings(Section):
    """How much of a feature a plan's customer may use in each window."""

    value: str
    feature: str | None = None
    kind: str = "requests"
    window: str = "month"
    enforcement: Literal["hard", "soft", "shadow"] = "hard"
    mode: Literal["reset", "accumulate"] = "reset"
    carry_max: str | None = None
    thresholds: list[int] = Field(default_factory=list)

    @field_validator("value", "carry_max", mode="before")
    @classmethod
    def amounts_are_exact(cls, value: Any) -> Any:
        return exact(value)

    def rule(self) -> PlanRule:
        """The rule. ValueError says what is wrong with an amount."""
        return PlanRule(
            kind=self.kind,
            window=self.window,
            value=read_amount(self.kind, self.value),
            feature=self.feature,
            enforcement=self.enforcement,
            mode=self.mode,
            carry_max=0 if self.carry_max is None else read_amount(self.kind, self.carry_max),
            thresholds=tuple(self.thresholds),
        )


class PlanSettings(Section):
    """A plan, by its key. What differs from the latest recorded version becomes a new version."""

    name: str = ""
    features: list[str] = Field(default_factory=list)
    other_features: Literal["allow", "deny"] | None = None
    time_zone: str = "UTC"
    anchor: int | Literal["subscription"] = 1
    limits: list[PlanLimitSettings] = Field(default_factory=list)
    price: PlanPriceSettings | None = None

    def plan(self, key: str) -> PlanVersion:
        """The plan, yet without a version. ValueError says what is wrong."""
        if self.anchor == OWN_DAY:
            raise ValueError("anchor 0: write a day of the month, 1 to 31, or subscription")
        others = not self.features if self.other_features is None else self.other_features == "allow"
        plan = PlanVersion(
            plan=key,
            version=0,
            features=tuple(self.features),
            others=others,
            rules=tuple(limit.rule() for limit in self.limits),
            time_zone=self.time_zone,
            anchor=OWN_DAY if self.anchor == "subscription" else self.anchor,
            name=self.name,
            price=None if self.price is None else self.price.plan_price(),
        )
        check_plan(plan, check_terms)
        return plan


class CustomerSettings(Section):
    """What is done with customers that are on no plan, and with requests that name none."""

    unknown: Literal["allow", "deny", "default_plan"] = "allow"
    unnamed: Literal["allow", "deny"] = "allow"
    default_plan: str | None = Field(None, description="a plan's key, with unknown: default_plan")

    @model_validator(mode="after")
    def a_default_plan_is_named(self) -> CustomerSettings:
        if (self.unknown == "default_plan") != (self.default_plan is not None):
            raise ValueError("default_plan names a plan exactly where unknown is default_plan")
        return self

    def policy(self) -> Policy:
        return Policy(self.unknown, self.unnamed, self.default_plan)


def read_amount(kind: str, text: str) -> int:
    """Dollars as nano-USD for the kind money, else a whole number. ValueError says what is wrong."""
    if kind == "money":
        return usd_to_nano(text)
    plain = text.replace("_", "")
    if not (plain.isascii() and plain.isdigit()):
        raise ValueError(f"{text!r}: a limit of {kind} is a whole number, such as 1000")
    return int(plain)


def plan_faults(
    features: Mapping[str, FeatureSettings], plans: Mapping[str, PlanSettings], customers: CustomerSettings
) -> list[str]:
    """What is wrong with these sections together, a sentence for each fault."""
    faults = []
    for key, settings in features.items():
        try:
            check_feature(key)
        except ValueError as error:
            faults.append(f"features: {error}")
            continue
        try:
            settings.feature_price(key, 0)
        except ValueError as error:
            faults.append(f"features.{key}: {error}")
    for key, wanted in plans.items():
        try:
            wanted.plan(key)
        except ValueError as error:
            faults.append(f"plans.{key}: {error}")
    if customers.default_plan is not None and plans and customers.default_plan not in plans:
        known = ", ".join(sorted(plans))
        faults.append(f"customers.default_plan: {customers.default_plan!r} is not configured; known: {known}")
    return faults


def features_of(features: Mapping[str, FeatureSettings]) -> list[Feature]:
    """As the plan book takes them."""
    return [Feature(key, each.name, each.enabled) for key, each in features.items()]


def prices_of(features: Mapping[str, FeatureSettings], now_ms: int) -> list[FeaturePrice]:
    """Those prices of features that are said, from now on, as the plan book takes them."""
    said = (each.feature_price(key, now_ms) for key, each in features.items())
    return [price for price in said if price is not None]


def plans_of(plans: Mapping[str, PlanSettings]) -> list[PlanVersion]:
    """As the plan book takes them."""
    return [each.plan(key) for key, each in plans.items()]
