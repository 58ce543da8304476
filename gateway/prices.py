"""From the `prices` section of the settings to the price book that the gateway and the command line share."""

from __future__ import annotations

from datetime import UTC, datetime, time

from gateway.settings import ConfigError, PriceOverride, Settings
from metering.money import usd_to_pico
from metering.pricebook import Override, PriceBook
from metering.pricelist import listed_providers
from metering.units import UNITS, unit_of


def price_book(settings: Settings) -> PriceBook:
    """The shipped prices with the configured ones laid over them. Raises ConfigError."""
    return PriceBook.load(configured_prices(settings))


def configured_prices(settings: Settings) -> list[Override]:
    """The `prices` section.

    Raises ConfigError with one complaint for each unknown provider, unknown unit, unusable rate and repeated
    price.
    """
    complaints: list[str] = []
    known = set(listed_providers()) | settings.providers.keys()
    known |= {each.prices for each in settings.providers.values() if each.prices}
    overrides: list[Override] = []
    first: dict[str, int] = {}
    for number, price in enumerate(settings.prices):
        path = f"prices[{number}]"
        if price.provider not in known:
            complaints.append(
                f"{path}.provider: {price.provider!r} is neither configured nor in the price book; "
                f"known: {', '.join(sorted(known))}"
            )
        rates = _rates(path, price, complaints)
        override = Override(
            provider=list_of(price.provider, settings),
            model=price.model,
            effective_from_ms=_day_ms(price),
            rates_pico=rates,
            context_window=price.context_window,
            max_output_tokens=price.max_output_tokens,
            source=price.source,
            account=price.account,
            service_tier=price.service_tier,
        )
        key = override.id.lower()
        if key in first:
            complaints.append(
                f"{path}: the same provider, model, date, tier and account as prices[{first[key]}]"
            )
        first.setdefault(key, number)
        overrides.append(override)
    if complaints:
        raise ConfigError(complaints)
    return overrides


def _rates(path: str, price: PriceOverride, complaints: list[str]) -> dict[str, int]:
    rates: dict[str, int] = {}
    for name, text in price.usd_per_million.items():
        where = f"{path}.usd_per_million.{name}"
        unit = unit_of(name)
        if unit is None:
            complaints.append(f"{where}: unknown unit; known units: {', '.join(UNITS)}")
            continue
        try:
            million = usd_to_pico(text)
        except ValueError as error:
            complaints.append(f"{where}: {error}")
            continue
        # The book's rates are per `unit.per` units, which is 1 for everything but seconds.
        rate, rest = divmod(million * unit.per, 10**6)
        if rest:
            complaints.append(
                f"{where}: {text} per million is finer than a pico-dollar per unit (6 decimals)"
            )
        elif rate < 0:
            complaints.append(f"{where}: a price cannot be negative (found {text})")
        else:
            rates[name] = rate
    if not price.usd_per_million and not (price.context_window or price.max_output_tokens):
        complaints.append(f"{path}.usd_per_million: names no rate")
    return rates


def list_of(provider: str, settings: Settings) -> str:
    """The price-book provider that a configured provider's name stands for."""
    configured = settings.providers.get(provider)
    return (configured.prices or provider) if configured is not None else provider


def _day_ms(price: PriceOverride) -> int:
    start = datetime.combine(price.effective_from, time(), UTC)
    return round(start.timestamp()) * 1000
