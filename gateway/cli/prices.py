"""`tollkeeper prices`: what a model costs on a date, and who says so."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any

import click
from rich.table import Table

from gateway.cli.moments import moment_text, read_moment
from gateway.cli.options import config_option, json_option
from gateway.cli.output import config_faults_told, fail, show_json, wide_console
from gateway.prices import price_book
from gateway.settings import Settings, load_settings
from metering.money import pico_to_usd
from metering.pricebook import ModelPrice, PriceBook, PriceRow
from metering.units import UNITS

# What a listed rate is multiplied by to be shown; the rate of a second already covers an hour.
_SCALES = {"million": 10**6, "thousand": 10**3, "hour": 1}


@click.group()
def prices() -> None:
    """Look into the price book."""


@prices.command()
@click.argument("model")
@click.option("--provider", help="Whose price list; default: the configured providers', then all others.")
@click.option("--at", "at_text", metavar="DATE", help="2026-11-21 or 2026-11-21T18:30, UTC; default now.")
@config_option
@json_option
def show(model: str, provider: str | None, at_text: str | None, config: Path | None, as_json: bool) -> None:
    """Print every rate of MODEL in force at a moment, with its source."""
    at_ms = _moment(at_text)
    with config_faults_told():
        settings = load_settings(config)
        book = price_book(settings)
    if provider is not None and provider not in book.providers() and provider not in settings.providers:
        fail(f"unknown provider {provider!r}; known: {', '.join(book.providers())}")
    found = _owners(book, settings, provider, model, at_ms)
    if not found:
        fail(f"no price of {model!r} is known at {moment_text(at_ms)} UTC")
    owner, price = found[0]
    rows = book.rows(owner, model, at_ms)
    if as_json:
        show_json(_document(price, rows, at_ms))
        return
    _print(price, rows, at_ms)
    if len(found) > 1:
        click.echo(f"Also listed by: {', '.join(other for other, _ in found[1:])}", err=True)


def _moment(text: str | None) -> int:
    if text is None:
        return int(time() * 1_000)
    try:
        return read_moment(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from None


def _owners(
    book: PriceBook, settings: Settings, provider: str | None, model: str, at_ms: int
) -> list[tuple[str, ModelPrice]]:
    """(price list, price) of all providers asked for that know the model, the configured ones first."""
    configured = {name: each.prices or name for name, each in settings.providers.items()}
    asked = [configured.get(provider, provider)] if provider else [*configured.values(), *book.providers()]
    found = [
        (owner, price)
        for owner in dict.fromkeys(asked)
        if (price := book.find(owner, model, at_ms)) is not None
    ]
    # Who sells a model under its own list comes before who resells it under another's.
    own = configured.values() if not provider else ()
    return sorted(
        found,
        key=lambda each: (
            each[0] not in own,
            not book.rows(each[0], model, at_ms)[0].entry_id.startswith(f"{each[0]}/"),
        ),
    )


def _document(price: ModelPrice, rows: list[PriceRow], at_ms: int) -> dict[str, Any]:
    return {
        "provider": price.provider,
        "model": price.model,
        "at": f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "context_window": price.context_window,
        "max_output_tokens": price.max_output_tokens,
        "reasoning": price.reasoning,
        "regions_per_mille": dict(price.uplifts.regions),
        "bill": "reported" if price.by_report else "list",
        "rates": [
            {
                "tier": row.variant or "default",
                "in_force": row.in_force,
                "unit": row.unit,
                "above_input_tokens": row.above,
                "usd": _usd(row),
                "per": _per(row),
                "pico_usd": row.pico,
                "entry_id": row.entry_id,
                "effective_from": _day(row.from_ms),
                "hours_utc": _hours(row),
                "source": row.source,
                "checked": row.checked,
            }
            for row in rows
        ],
    }


def _print(price: ModelPrice, rows: list[PriceRow], at_ms: int) -> None:
    console = wide_console()
    facts = [f"{price.provider}/{price.model} at {moment_text(at_ms)} UTC"]
    if price.context_window:
        facts.append(f"context {price.context_window:,}")
    if price.max_output_tokens:
        facts.append(f"output at most {price.max_output_tokens:,}")
    if price.reasoning:
        facts.append("reasoning")
    for region, per_mille in price.uplifts.regions.items():
        where = "in any region that is named" if region == "*" else f"in {region}"
        facts.append(f"tokens x {per_mille / 1_000:g} {where}")
    if price.by_report:
        facts.append("what the provider reports is the bill")
    console.print(", ".join(facts), highlight=False, soft_wrap=True)
    table = Table("tier", "unit", "input tokens", show_edge=False)
    table.add_column("USD", justify="right")
    table.add_column("per")
    table.add_column("entry", justify="right")
    entries = list(dict.fromkeys(row.entry_id for row in rows))
    for row in rows:
        above = "" if row.above is None else f"above {row.above:,}"
        number = str(entries.index(row.entry_id) + 1)
        tier = row.variant or ("default" if row.in_force else "other hours")
        table.add_row(tier, row.unit, above, _usd(row), _per(row), number)
    console.print(table)
    firsts = {row.entry_id: row for row in reversed(rows)}
    for position, entry_id in enumerate(entries, 1):
        first = firsts[entry_id]
        hours = _hours(first)
        since = f"from {_day(first.from_ms)}" if first.from_ms is not None else "from the start"
        window = f", daily {hours[0]} to {hours[1]} UTC" if hours else ""
        checked = f", checked {first.checked}" if first.checked else ""
        line = f"{position}  {entry_id}: {since}{window}; {first.source}{checked}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _usd(row: PriceRow) -> str:
    """Dollars per what `_per` says."""
    return pico_to_usd(row.pico * _SCALES[_per(row)])


def _per(row: PriceRow) -> str:
    """How many units a price is shown for: tokens by the million, seconds by the hour, calls by the 1,000."""
    family = UNITS[row.unit].family
    return "hour" if family == "seconds" else "million" if family in ("tokens", "characters") else "thousand"


def _day(at_ms: int | None) -> str | None:
    return None if at_ms is None else f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d}"


def _hours(row: PriceRow) -> list[str] | None:
    if row.hours is None:
        return None
    return [f"{edge // 3_600_000:02d}:{edge // 60_000 % 60:02d}" for edge in row.hours]
