"""Scenarios of a price simulation: what is asked to be otherwise, and what follows for prices and revenue."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from accounts.featureprices import FeaturePrice
from accounts.publishing import wall_ms
from billing.stamp import EXPLICIT, PLAN_PERIOD, is_internal, revenue_of
from gateway.api.endpoint import Call
from gateway.api.fields import Asked, Name
from gateway.api.views import internal_of
from gateway.errors import BadRequest
from gateway.prices import configured_prices, list_of
from metering.event import CostEvent
from metering.money import half_even, usd_to_pico
from metering.override import Override
from metering.pricebook import PriceBook
from metering.units import UNITS, unit_of
from reports.simulation import Laid, RevenueOf, Scenario, Swap

CHANGES_MAX = 50
UNIT_PRICE_USD_MAX = 1_000
DollarsPerUnit = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,4}(\.[0-9]{1,12})?$"), Field(examples=["0.000002"])
]
PerMillion = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$"), Field(examples=["0.60"])
]


class SwapAsked(Asked):
    """Attempts with these names go to another model. At least one name is given."""

    route: Annotated[Name | None, Field(description="The alias that served the request")] = None
    provider: Name | None = None
    model: Name | None = None
    to_provider: Name
    to_model: Name

    @model_validator(mode="after")
    def something_is_meant(self) -> SwapAsked:
        if self.route is None and self.provider is None and self.model is None:
            raise ValueError("name a route, provider or model that is to be replaced")
        return self


class SimulatedPrice(Asked):
    """A model at another price, of a provider that is configured or in the price book. Rates that are not
    named stay as they were, and so does one that is given as the list has it."""

    provider: Name
    model: Name
    usd_per_million: Annotated[
        dict[str, PerMillion],
        Field(min_length=1, max_length=30, description="Unit -> dollars per million, as text"),
    ]
    any_length: Annotated[
        bool,
        Field(description="Also for contexts for which the list charges more; else such are not computable"),
    ] = False


class FeaturePriceAsked(Asked):
    """What customers pay for one unit of a feature, in place of whatever they paid for it."""

    feature_key: Name
    price_per_unit: Annotated[DollarsPerUnit, Field(description="Dollars, as text")]


def scenario_of(
    call: Call,
    swaps: Sequence[SwapAsked],
    prices: Sequence[SimulatedPrice],
    feature_prices: Sequence[FeaturePriceAsked],
) -> Scenario:
    """What would be otherwise, for `reports.simulation`. BadRequest where it contradicts itself."""
    return Scenario(
        now=call.parts.prices,
        account_id=call.account_id,
        list_of=lambda provider: list_of(provider, call.parts.settings),
        swaps=tuple(
            Swap(each.to_provider, each.to_model, each.route, each.provider, each.model) for each in swaps
        ),
        laid=_laid(call, prices),
        revenue=_revenue(feature_prices, internal_of(call)) if feature_prices else None,
    )


def _laid(call: Call, prices: Sequence[SimulatedPrice]) -> dict[tuple[str, str], Laid]:
    """These prices by the price list's names of their models."""
    found: dict[tuple[str, str], Laid] = {}
    for number, each in enumerate(prices):
        rates = {name: _rate(f"prices[{number}]", name, text) for name, text in each.usd_per_million.items()}
        override = Override(
            provider=list_of(each.provider, call.parts.settings),
            model=_canonical(call, each.provider, each.model),
            effective_from_ms=0,
            rates_pico=rates,
            source="simulation",
            account=call.account_id,
        )
        name = (override.provider.lower(), override.model.lower())
        if name in found:
            raise BadRequest("A model is given two prices.", param="prices")
        found[name] = Laid(rates, cache(partial(_book, call, override)), each.any_length)
    return found


def _book(call: Call, whole: Override, units: frozenset[str]) -> PriceBook:
    """The price book with the prices of these units in place of whatever was charged for them."""
    laid = replace(whole, rates_pico={unit: whole.rates_pico[unit] for unit in sorted(units)})
    kept = []
    for override in configured_prices(call.parts.settings):
        rates = override.rates_pico
        if _same(laid, override.provider, _canonical(call, override.provider, override.model)):
            rates = {unit: pico for unit, pico in rates.items() if unit not in units}
        kept.append(replace(override, rates_pico=rates))
    return PriceBook.load([*kept, laid])


def _same(laid: Override, provider: str, model: str) -> bool:
    return (laid.provider.lower(), laid.model.lower()) == (provider.lower(), model.lower())


def _canonical(call: Call, provider: str, model: str) -> str:
    """The price list's name of the model, where it has one."""
    owner = list_of(provider, call.parts.settings)
    price = call.parts.prices.find(owner, model, wall_ms(), call.account_id)
    return model if price is None else price.model


def _rate(where: str, name: str, text: str) -> int:
    unit = unit_of(name)
    if unit is None:
        raise BadRequest(
            f"{where}.usd_per_million: {name[:60]!r} is no unit; known: {', '.join(UNITS)}.", param="prices"
        )
    # The pattern of the text allows six decimals, so a million of them is whole.
    return half_even(usd_to_pico(text) * unit.per, 10**6)


def _revenue(prices: Sequence[FeaturePriceAsked], internal: Collection[str]) -> RevenueOf:
    """Revenue at these prices, by the rule that stamps it: amounts that were reported stay, nobody and
    internal customers pay nothing."""
    named: dict[str, FeaturePrice] = {}
    for number, each in enumerate(prices):
        if each.feature_key in named:
            raise BadRequest(
                f"feature_prices[{number}]: this feature is given twice.", param="feature_prices"
            )
        pico = usd_to_pico(each.price_per_unit)
        if pico > UNIT_PRICE_USD_MAX * 10**12:
            raise BadRequest(
                f"feature_prices[{number}]: a unit costs {UNIT_PRICE_USD_MAX} dollars at most.",
                param="feature_prices",
            )
        named[each.feature_key] = FeaturePrice(each.feature_key, 0, pico)

    def revenue(event: CostEvent, before: int | None, source: str | None) -> tuple[int | None, bool]:
        price = named.get(event.feature or "")
        if price is None or source == EXPLICIT or event.customer is None:
            return before, True
        if is_internal(event.customer) or event.customer in internal:
            return before, True
        if source == PLAN_PERIOD:
            # What the period's charge would be without these units is not a figure of single requests.
            return None, False
        found = revenue_of(event, price, None, granted=False)
        return (None, False) if found is None else (found[0], True)

    return revenue
