"""What one attempt cost: its reading, priced by what served it, or the bill that the provider itself reports.

Three things decide, in this order. A negotiated price is what is owed, whatever the provider reports. Where a
provider's own report is its bill (`by_report`; OpenRouter), that is the cost. Otherwise usage times price is,
of the model that the answer says served it, else of the model that was asked for; a reported cost then only
stands in where no price is known.
"""

from __future__ import annotations

from metering.cost import Cost, Line, sum_of
from metering.money import PICO_PER_NANO
from metering.price import ModelPrice
from metering.pricebook import PriceBook
from metering.usage.reading import Reading
from metering.usage.totals import Usage

REPORTED = "provider_bills"
"""The unit of a row that is a bill and not a count."""


def bill(
    book: PriceBook,
    provider: str,
    model: str,
    reading: Reading,
    at_ms: int,
    *,
    account: str | None = None,
    service_tier: str | None = None,
    region: str | None = None,
) -> Cost:
    """The cost of an attempt that started at `at_ms`.

    `model`: what was asked for. `service_tier`, `region`: what was asked for or configured; what the answer
    says of either comes before it.
    """
    usage = reading.usage or Usage()
    price = None
    if reading.model and reading.model != model:
        price = book.find(provider, reading.model, at_ms, account)
    price = price or book.find(provider, model, at_ms, account)
    tier, place = reading.service_tier or service_tier, reading.region or region
    cost = _priced(price, usage, tier, place)
    for other, used in reading.elsewhere:
        cost = sum_of(cost, _priced(book.find(provider, other, at_ms, account), used, tier, place))
    if reading.reported_nano is None:
        return cost
    if (price is not None and price.by_report) or cost.nano is None:
        return reported(cost, reading.reported_nano)
    return cost


def reported(cost: Cost, nano: int) -> Cost:
    """The provider's own bill. The rows stay where they add up to it; else the bill is the only row."""
    if cost.nano == nano:
        return cost._replace(status="provider_reported", upper_nano=nano)
    notes = cost.notes
    if cost.nano is not None:
        notes = (*notes, f"the provider's bill is {nano} nano-USD; usage at list prices is {cost.nano}")
    line = Line(REPORTED, 1, nano * PICO_PER_NANO, nano)
    return Cost(nano, "provider_reported", (line,), (), nano, (), notes)


def _priced(price: ModelPrice | None, usage: Usage, tier: str | None, region: str | None) -> Cost:
    if price is None:
        units = tuple(unit for unit in usage.document() if unit != "requests")
        return Cost(None, "unpriced", (), (), None, units)
    return price.cost_of(usage, service_tier=tier, region=region)
