"""GET /api/pricing/models: the prices in force at a moment, as a request that starts then would be charged.

Listed prices with their source, and this account's and everybody's own prices that are laid over them; never
another account's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from accounts.publishing import wall_ms
from gateway.api.cursor import decode_cursor, encode_cursor
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Moment, MomentText, Name, Paged, Told, moment_text
from metering.money import pico_to_usd
from metering.price import NEGOTIATED
from metering.pricerows import PriceRow
from metering.units import unit_of

SCOPE = "models.read"
TAG = "pricing"
_HOUR_MS, _MINUTE_MS = 3_600_000, 60_000


class PricesAsked(Paged):
    """Filters are exact; models also under their other names."""

    at: Annotated[Moment | None, Field(description="By default now")] = None
    provider: Annotated[Name | None, Field(description="Of the price book")] = None
    model: Name | None = None


class RateInForce(Told):
    """What one unit costs."""

    unit: str
    price_pico: str = Field(description="Pico-USD (1e-12 US dollars) for `per` units, whole")
    price_usd: str = Field(description="The same in dollars, exact")
    per: int = Field(description="1; of seconds an hour of them")
    service_tier: str | None = Field(description="Or another condition, as key=value; null: the default")
    above_input_tokens: int | None = Field(description="In requests with more input tokens than that")
    source: str = Field(description="Where the price was published, or who set it")
    checked: str | None = Field(description="When it was last compared with its source")
    entry: str = Field(description="The id that cost events keep")
    origin: str = Field(description="list, installation (set for everybody here) or account (this one's own)")
    effective_from: MomentText | None = Field(description="null: as far back as is known")
    hours_utc: str | None = Field(description="The daily window of a price by hours")
    in_force: bool = Field(description="False: charged at other hours of the same day")


class ModelPricesTold(Told):
    """One model. Of several rates for a unit an account's own comes before the installation's, that before
    the list's."""

    provider: str
    model: str
    context_window: int | None
    max_output_tokens: int | None
    rates: list[RateInForce]


class PricesTold(Told):
    """A page of models, by provider and model."""

    at: MomentText
    models: list[ModelPricesTold]
    next_cursor: str | None


def list_prices(call: Call) -> PricesTold:
    """A page of models that have a price then."""
    asked: PricesAsked = call.query
    of = ("prices", call.account_id, asked.at, asked.provider, asked.model)
    at_ms, after = wall_ms() if asked.at is None else asked.at, ("", "")
    if asked.cursor is not None:
        moment_ms, provider, model = decode_cursor(of, asked.cursor, (int, str, str))
        at_ms, after = int(moment_ms or 0), (str(provider), str(model))
    found: list[ModelPricesTold] = []
    for told in _models(call, asked, at_ms, after):
        if len(found) == asked.limit:
            last = found[-1]
            cursor = encode_cursor(of, (at_ms, last.provider, last.model))
            return PricesTold(at=moment_text(at_ms) or "", models=found, next_cursor=cursor)
        found.append(told)
    return PricesTold(at=moment_text(at_ms) or "", models=found, next_cursor=None)


def _models(call: Call, asked: PricesAsked, at_ms: int, after: tuple[str, str]) -> Iterator[ModelPricesTold]:
    book = call.parts.prices
    for provider in book.providers():
        if provider < after[0] or asked.provider not in (None, provider):
            continue
        names = (
            [asked.model] if asked.model is not None else sorted({each.id for each in book.models(provider)})
        )
        for model in names:
            if (provider, model) <= after:
                continue
            rows = book.rows(provider, model, at_ms, call.account_id)
            price = book.find(provider, model, at_ms, call.account_id) if rows else None
            if rows:
                yield ModelPricesTold(
                    provider=provider,
                    model=model,
                    context_window=None if price is None else price.context_window,
                    max_output_tokens=None if price is None else price.max_output_tokens,
                    rates=[_rate(row) for row in rows],
                )


def _rate(row: PriceRow) -> RateInForce:
    unit = unit_of(row.unit)
    return RateInForce(
        unit=row.unit,
        price_pico=str(row.pico),
        price_usd=pico_to_usd(row.pico),
        per=1 if unit is None else unit.per,
        service_tier=row.variant,
        above_input_tokens=row.above,
        source=row.source,
        checked=row.checked,
        entry=row.entry_id,
        origin=_origin(row.entry_id),
        effective_from=moment_text(row.from_ms),
        hours_utc=None if row.hours is None else "-".join(map(_clock, row.hours)),
        in_force=row.in_force,
    )


def _origin(entry_id: str) -> str:
    if not entry_id.startswith(NEGOTIATED):
        return "list"
    return "account" if "@" in entry_id.rpartition("/")[2] else "installation"


def _clock(at_ms: int) -> str:
    return f"{at_ms // _HOUR_MS:02d}:{at_ms % _HOUR_MS // _MINUTE_MS:02d}"


PRICING = (
    Endpoint(
        "GET",
        "/api/pricing/models",
        SCOPE,
        "Prices in force at a moment",
        TAG,
        list_prices,
        answer=PricesTold,
        query=PricesAsked,
        bound="open",
    ),
)
