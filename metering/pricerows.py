"""The rates of a model as rows, for people who look into the price book."""

from __future__ import annotations

from dataclasses import dataclass

from metering.override import Override
from metering.pricelist import Entry


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One rate of a day, for people: the variant (None: default), from which input length, and its origin.

    in_force: False for what is charged at other hours of the same day.
    """

    variant: str | None
    unit: str
    above: int | None
    pico: int
    entry_id: str
    from_ms: int | None
    hours: tuple[int, int] | None
    source: str
    checked: str | None
    in_force: bool


def entry_rows(entry: Entry, *, in_force: bool) -> list[PriceRow]:
    """A row for each rate of a listed entry and each length from which it changes."""
    return [
        PriceRow(
            variant=entry.variant,
            unit=unit,
            above=above if above >= 0 else None,
            pico=pico,
            entry_id=entry.id,
            from_ms=entry.from_ms,
            hours=entry.hours,
            source=entry.source,
            checked=entry.checked,
            in_force=in_force,
        )
        for unit, rate in entry.rates.items()
        for above, pico in rate.steps
    ]


def override_rows(override: Override) -> list[PriceRow]:
    """A row for each rate of an override."""
    return [
        PriceRow(
            variant=override.service_tier,
            unit=unit,
            above=None,
            pico=pico,
            entry_id=override.id,
            from_ms=override.effective_from_ms,
            hours=None,
            source=override.source,
            checked=None,
            in_force=True,
        )
        for unit, pico in override.rates_pico.items()
    ]
