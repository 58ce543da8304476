"""`tollkeeper prices`: what a model costs on a date, and who says so."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from gateway.prices import price_book
from gateway.settings import ConfigError, Settings, load_settings
from metering.money import pico_to_usd
from metering.pricebook import ModelPrice, PriceBook, PriceRow
from metering.units import UNITS

# Wide enough for the longest model id beside its rates, where the output goes to a file or a pipe.
_PIPE_WIDTH = 160
# What a listed rate is multiplied by to be shown; the rate of a second already covers an hour.
_SCALES = {"million": 10**6, "thousand": 10**3, "hour": 1}


@click.group()
def prices() -> None:
    """Look into the price book."""


@prices.command()
@click.argument("model")
@click.option("--provider", help="Whose price list; default: the configured providers', then all others.")
@click.option("--at", "at_text", metavar="DATE", help="2026-11-21 or 2026-11-21T18:30, UTC; default now.")
@click.option("--config", type=click.Path(path_type=Path), help="YAML file; default ./config.yaml if any.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
def show(model: str, provider: str | None, at_text: str | None, config: Path | None, as_json: bool) -> None:
    """Print every rate of MODEL in force at a moment, with its source."""
    at = _moment(at_text)
    at_ms = round(at.timestamp() * 1000)
    try:
        settings = load_settings(config)
        book = price_book(settings)
    except ConfigError as error:
        for complaint in error.complaints:
            click.echo(complaint, err=True)
        sys.exit(1)
    if provider is not None and provider not in book.providers() and provider not in settings.providers:
        click.echo(f"unknown provider {provider!r}; known: {', '.join(book.providers())}", err=True)
        sys.exit(1)
    found = _owners(book, settings, provider, model, at_ms)
    if not found:
        click.echo(f"no price of {model!r} is known at {at:%Y-%m-%d %H:%M} UTC", err=True)
        sys.exit(1)
    owner, price = found[0]
    rows = book.rows(owner, model, at_ms)
    if as_json:
        click.echo(orjson.dumps(_document(price, rows, at), option=orjson.OPT_INDENT_2))
        return
    _print(price, rows, at)
    if len(found) > 1:
        click.echo(f"Also listed by: {', '.join(other for other, _ in found[1:])}", err=True)


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"expected 2026-11-21 or 2026-11-21T18:30, found {text!r}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


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


def _document(price: ModelPrice, rows: list[PriceRow], at: datetime) -> dict[str, Any]:
    return {
        "provider": price.provider,
        "model": price.model,
        "at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
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


def _print(price: ModelPrice, rows: list[PriceRow], at: datetime) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH)
    facts = [f"{price.provider}/{price.model} at {at:%Y-%m-%d %H:%M} UTC"]
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
    table = Table(show_edge=False)
    for column in ("tier", "unit", "input tokens"):
        table.add_column(column)
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
