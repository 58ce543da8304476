"""The subscription: a span of time in which a customer is on a version of a plan. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from accounts.plan import PlanLimit, PlanTerms, PlanVersion
from metering.money import NANO_MAX

PPM = 1_000_000
"""A discount of the whole price."""
QUANTITY_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Deal:
    """What a customer pays otherwise than the plan says, of the plan's own price.

    price_nano: for each period, instead of the plan's; None: the plan's. quantity: how many times it is paid
    (seats). discount_ppm: millionths that are taken off. What is charged for usage is as in the plan.
    """

    price_nano: int | None = None
    quantity: int = 1
    discount_ppm: int = 0


NO_DEAL = Deal()
GRACE_DAYS_USUAL = 3
GRACE_DAYS_MAX = 366


@dataclass(frozen=True, slots=True)
class Paying:
    """What is agreed of how a subscription is paid, for whoever bills: nobody is paid here.

    grace_days: for so long after an unpaid invoice the customer is still served. method: the payment
    provider's name of a card or account; empty: none was named.
    """

    grace_days: int = GRACE_DAYS_USUAL
    method: str = ""


USUAL_PAYING = Paying()


def check_deal(deal: Deal) -> None:
    """Raise ValueError, naming what is wrong."""
    if deal.price_nano is not None and not 0 <= deal.price_nano <= NANO_MAX:
        raise ValueError(f"the price is {deal.price_nano} nano-dollars, not an amount from 0 to {NANO_MAX}")
    if not 1 <= deal.quantity <= QUANTITY_MAX:
        raise ValueError(f"quantity {deal.quantity}: write a number from 1 to {QUANTITY_MAX}")
    if not 0 <= deal.discount_ppm <= PPM:
        raise ValueError("a discount is from 0 to 100 percent")


@dataclass(frozen=True, slots=True)
class Override:
    """What a customer has otherwise than the plan, of one rule; None: as in the plan."""

    value: int | None = None
    enforcement: str | None = None


@dataclass(frozen=True, slots=True)
class Overrides:
    """limits: by the rule's name. features: granted (True) or refused (False), whatever the plan says."""

    limits: Mapping[str, Override] = field(default_factory=dict)
    features: Mapping[str, bool] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.limits or self.features)

    def to_fields(self) -> dict[str, Any]:
        """As JSON types."""
        limits = {
            name: {"value": each.value, "enforcement": each.enforcement} for name, each in self.limits.items()
        }
        return {"limits": limits, "features": dict(self.features)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Overrides:
        """The overrides in a part of a document. KeyError, TypeError: none are."""
        limits = {
            name: Override(each["value"], each["enforcement"]) for name, each in fields["limits"].items()
        }
        return cls(limits, dict(fields["features"]))


@dataclass(frozen=True, slots=True)
class Subscription:
    """From `starts_ms` on and before `ends_ms` (None: until further notice). Only its end may change.

    `anchor`: the day of the month on which its months begin. `anchor_month`: a month in which a
    billing period of its begins, counted from January of the year 0. `deal`: what it pays otherwise than the
    plan says. `paying`: what is kept of how it is paid.
    """

    id: str
    plan: str
    version: int
    starts_ms: int
    ends_ms: int | None = None
    anchor: int = 1
    overrides: Overrides = field(default_factory=Overrides)
    deal: Deal = NO_DEAL
    paying: Paying = USUAL_PAYING
    anchor_month: int = 0
    _terms: dict[str, PlanTerms] = field(default_factory=dict, compare=False, repr=False)

    def covers(self, moment_ms: int) -> bool:
        """True when the moment lies inside."""
        return self.starts_ms <= moment_ms and (self.ends_ms is None or moment_ms < self.ends_ms)

    def grants(self, plan: PlanVersion, feature: str | None) -> bool:
        """Whether this customer may use the feature. `plan`: the version that this one is on."""
        if feature is not None and feature in self.overrides.features:
            return self.overrides.features[feature]
        return plan.grants(feature)

    def terms(self, plan: PlanVersion) -> PlanTerms:
        """The label and the limits. What accumulates does so for this subscription alone."""
        terms = self._terms.get("")
        if terms is None:
            terms = plan.terms(self.anchor)
            if self.overrides.limits or any(limit.carry for limit in terms.limits):
                terms = PlanTerms(terms.label, tuple(map(self._own, terms.limits)))
            self._terms[""] = terms
        return terms

    def values(self) -> dict[str, int]:
        """Value ids and values of what this customer has otherwise than the plan."""
        return {
            f"{self.id}/{name}": each.value
            for name, each in self.overrides.limits.items()
            if each.value is not None
        }

    def _own(self, limit: PlanLimit) -> PlanLimit:
        if limit.carry is not None:
            limit = replace(limit, carry=(limit.carry[0], self.id))
        override = self.overrides.limits.get(limit.rule)
        if override is not None and override.enforcement is not None:
            limit = replace(limit, enforcement=override.enforcement)
        if override is not None and override.value is not None:
            limit = replace(limit, value=override.value, value_id=f"{self.id}/{limit.rule}")
        return limit

    def to_fields(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "id": self.id,
            "plan": self.plan,
            "version": self.version,
            "starts_ms": self.starts_ms,
            "ends_ms": self.ends_ms,
            "anchor": self.anchor,
            "overrides": self.overrides.to_fields(),
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Subscription:
        """The subscription in a part of a document. KeyError, TypeError: none is."""
        return cls(
            id=fields["id"],
            plan=fields["plan"],
            version=int(fields["version"]),
            starts_ms=int(fields["starts_ms"]),
            ends_ms=fields["ends_ms"],
            anchor=int(fields["anchor"]),
            overrides=Overrides.from_fields(fields["overrides"]),
        )
