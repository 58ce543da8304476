"""Settings of what plans cost, and what they say as a plan's price."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from accounts.planprice import FeatureRate, PlanPrice, Tier, unit_pico
from gateway.settings.section import Section
from metering.money import usd_to_nano


def exact(value: Any) -> Any:
    """A YAML float has already lost its digits; whole numbers and quoted decimals have not."""
    if isinstance(value, float):
        raise ValueError(f'write the amount as a quoted decimal, such as "{value}"')
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class TierSettings(Section):
    """Units above the tier before, up to `up_to`. `flat_fee` once for a period that reaches it."""

    up_to: int | None = None
    price: str = "0"
    per: int = 1
    flat_fee: str = "0"

    @field_validator("price", "flat_fee", mode="before")
    @classmethod
    def amounts_are_exact(cls, value: Any) -> Any:
        return exact(value)


class RateSettings(Section):
    """How a plan charges a feature. `price`: of `per` units, or of a package of `package_size`."""

    feature: str
    model: Literal["included", "usage", "graduated", "package"] = "included"
    price: str = "0"
    per: int = 1
    package_size: int = 0
    tiers: list[TierSettings] = Field(default_factory=list)

    @field_validator("price", mode="before")
    @classmethod
    def amounts_are_exact(cls, value: Any) -> Any:
        return exact(value)

    def rate(self) -> FeatureRate:
        """The rate. ValueError says what is wrong with an amount."""
        package = self.model == "package"
        return FeatureRate(
            feature=self.feature,
            model=self.model,
            price_pico=0 if package else unit_pico(self.price, self.per),
            tiers=tuple(
                Tier(each.up_to, unit_pico(each.price, each.per), usd_to_nano(each.flat_fee))
                for each in self.tiers
            ),
            package_units=self.package_size,
            package_nano=usd_to_nano(self.price) if package else 0,
        )


class PlanPriceSettings(Section):
    """What a plan's customers pay: `amount` for each period of `interval_months`, and for features on top."""

    amount: str = "0"
    interval_months: int = 1
    billing: Literal["in_advance", "in_arrears"] = "in_advance"
    rates: list[RateSettings] = Field(default_factory=list)

    @field_validator("amount", mode="before")
    @classmethod
    def amounts_are_exact(cls, value: Any) -> Any:
        return exact(value)

    def plan_price(self) -> PlanPrice:
        """The price. ValueError says what is wrong with an amount."""
        rates = tuple(each.rate() for each in self.rates)
        return PlanPrice(usd_to_nano(self.amount), self.interval_months, self.billing, rates=rates)
