"""What a version of a plan costs its customers: a price for each period, and prices of features. No I/O.

Prices of one unit are whole pico-USD, all other amounts whole nano-USD. A feature is charged by one of these
models; what it counts is a number of units (CostEvent.units):

    included   the plan's own price pays for it
    usage      each unit costs the same
    graduated  each unit costs what the tier costs in which it falls, counted from the period's beginning
    package    whole packages of so many units, counted from the period's beginning; a begun one costs as much
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from accounts.feature import check_feature
from metering.money import NANO_MAX, usd_to_pico

MODELS = ("included", "usage", "graduated", "package")
TIMINGS = ("in_advance", "in_arrears")
USD = "USD"
INTERVAL_MAX = 120
TIERS_MAX = 100
UNITS_MAX = NANO_MAX


@dataclass(frozen=True, slots=True)
class Tier:
    """Units above the tier before and up to `up_to` (None: all others). `flat_nano` is charged once for a
    period in which any unit falls into the tier."""

    up_to: int | None
    price_pico: int = 0
    flat_nano: int = 0


@dataclass(frozen=True, slots=True)
class FeatureRate:
    """How a plan charges a feature. `package_nano` is the price of one package of `package_units` units."""

    feature: str
    model: str = "included"
    price_pico: int = 0
    tiers: tuple[Tier, ...] = ()
    package_units: int = 0
    package_nano: int = 0

    @property
    def by_period(self) -> bool:
        """Whether what a unit costs depends on how many the period has had before."""
        return self.model in ("graduated", "package")


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """`flat_nano` for each period of `interval_months` months. `timing` says when it is invoiced, which does
    not change when it is earned: evenly over the period."""

    flat_nano: int = 0
    interval_months: int = 1
    timing: str = "in_advance"
    currency: str = USD
    rates: tuple[FeatureRate, ...] = ()

    def rate_of(self, feature: str) -> FeatureRate | None:
        """How the feature is charged; None where the plan does not say."""
        return next((rate for rate in self.rates if rate.feature == feature), None)

    def to_fields(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "flat_nano": self.flat_nano,
            "interval_months": self.interval_months,
            "timing": self.timing,
            "currency": self.currency,
            "rates": [
                {
                    "feature": rate.feature,
                    "model": rate.model,
                    "price_pico": rate.price_pico,
                    "tiers": [[tier.up_to, tier.price_pico, tier.flat_nano] for tier in rate.tiers],
                    "package_units": rate.package_units,
                    "package_nano": rate.package_nano,
                }
                for rate in self.rates
            ],
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> PlanPrice:
        """The price in a part of a document. KeyError, TypeError: none is."""
        return cls(
            flat_nano=fields["flat_nano"],
            interval_months=fields["interval_months"],
            timing=fields["timing"],
            currency=fields["currency"],
            rates=tuple(
                FeatureRate(
                    feature=each["feature"],
                    model=each["model"],
                    price_pico=each["price_pico"],
                    tiers=tuple(Tier(*tier) for tier in each["tiers"]),
                    package_units=each["package_units"],
                    package_nano=each["package_nano"],
                )
                for each in fields["rates"]
            ),
        )


def unit_pico(usd: str, per: int = 1) -> int:
    """The price of one unit in pico-USD, where so many cost so many dollars. ValueError where it is none, or
    not whole."""
    if not 1 <= per <= UNITS_MAX:
        raise ValueError(f"a price is for 1 to {UNITS_MAX} units, not for {per}")
    pico, rest = divmod(usd_to_pico(usd), per)
    if rest:
        raise ValueError(f"{usd} dollars for {per} units is finer than a pico-dollar (10^-12 $) for one")
    return pico


def check_plan_price(where: str, price: PlanPrice, grants: Callable[[str], bool]) -> None:
    """Raise ValueError, naming what is wrong and where, for a price that could not be charged as it is meant.

    `grants`: whether the plan grants a feature.
    """
    _check_amount(f"{where}: the price", price.flat_nano)
    if not 1 <= price.interval_months <= INTERVAL_MAX:
        raise ValueError(
            f"{where}: interval_months {price.interval_months}: write a number from 1 to {INTERVAL_MAX}"
        )
    if price.timing not in TIMINGS:
        raise ValueError(f"{where}: billing {price.timing!r} is unknown; known: {', '.join(TIMINGS)}")
    if price.currency != USD:
        raise ValueError(f"{where}: currency {price.currency!r}: only {USD} is known")
    names = [rate.feature for rate in price.rates]
    for rate in price.rates:
        if names.count(rate.feature) > 1:
            raise ValueError(f"{where}: the feature {rate.feature!r} is charged twice")
        try:
            _check_rate(rate)
        except ValueError as error:
            raise ValueError(f"{where}: the feature {rate.feature!r}: {error}") from None
        if not grants(rate.feature):
            raise ValueError(f"{where}: it charges {rate.feature!r}, which it does not grant")


def _check_rate(rate: FeatureRate) -> None:
    check_feature(rate.feature)
    if rate.model not in MODELS:
        raise ValueError(f"model {rate.model!r} is unknown; known: {', '.join(MODELS)}")
    _check_amount("the price of a unit", rate.price_pico)
    _check_amount("the price of a package", rate.package_nano)
    if rate.price_pico and rate.model != "usage":
        raise ValueError(f"a price of a unit goes with the model usage, not {rate.model}")
    if (rate.package_units or rate.package_nano) and rate.model != "package":
        raise ValueError(f"a package goes with the model package, not {rate.model}")
    if rate.model == "package" and not 1 <= rate.package_units <= UNITS_MAX:
        raise ValueError("a package has one unit at least")
    if bool(rate.tiers) != (rate.model == "graduated"):
        raise ValueError("tiers go with the model graduated, which needs one at least")
    _check_tiers(rate.tiers)


def _check_tiers(tiers: tuple[Tier, ...]) -> None:
    if len(tiers) > TIERS_MAX:
        raise ValueError(f"{len(tiers)} tiers are too many; at most {TIERS_MAX}")
    before = 0
    for number, tier in enumerate(tiers, 1):
        _check_amount(f"tier {number}: the price of a unit", tier.price_pico)
        _check_amount(f"tier {number}: the flat fee", tier.flat_nano)
        if number == len(tiers):
            if tier.up_to is not None:
                raise ValueError("the last tier has no upper end, so that every unit has a price")
            return
        if tier.up_to is None or not before < tier.up_to <= UNITS_MAX:
            raise ValueError(f"tier {number} ends at {tier.up_to}: tiers rise, and only the last is open")
        before = tier.up_to


def _check_amount(what: str, amount: int) -> None:
    if type(amount) is not int or not 0 <= amount <= NANO_MAX:
        raise ValueError(f"{what} is {amount}, not an amount from 0 to {NANO_MAX}")
