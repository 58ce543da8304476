"""`tollkeeper events`: the recorded cost events, one line each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from gateway.cli.corrected import cost_text, figures
from gateway.cli.options import place_options
from gateway.cli.output import show_json
from gateway.cli.recorded import recorded_events
from metering.adjustment import Adjustment, corrected, encode_adjustment
from metering.event import CostEvent, encode
from metering.eventstore import PAGE_MAX, EventStore, StoreUnavailable
from metering.money import nano_to_usd
from reports.eventline import event_line
from reports.layout import moment, printable

POLL_S = 0.5
WIDTHS = (19, 9, 32, 24, 34, 14)
"""Of the parts of a line, so that lines that come one by one stand in columns; longer parts push the rest."""
_STYLES = {"succeeded": "green", "failed": "red", "orphaned": "red", "cut": "yellow", "cancelled": "yellow"}

Print = Callable[[CostEvent], None]


@click.group()
def events() -> None:
    """Look at recorded cost events."""


@events.command()
@click.option(
    "-n", "count", type=click.IntRange(0, PAGE_MAX), default=20, show_default=True, help="How many."
)
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with events as they are recorded, until interrupted."
)
@click.option("--customer", help="Only this customer's.")
@click.option("--feature", help="Only this feature's.")
@click.option("--key", "key_id", help="Only this key's (its id, not the secret).")
@click.option("--model", help="Only those that this model answered.")
@click.option(
    "--status", help="Only with this status (succeeded, failed, cancelled, cut, orphaned, drained)."
)
@click.option("--json", "as_json", is_flag=True, help="Whole events, one JSON document a line.")
@place_options
def tail(
    count: int,
    follow: bool,
    customer: str | None,
    feature: str | None,
    key_id: str | None,
    model: str | None,
    status: str | None,
    as_json: bool,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """Print the newest events, the newest last. An unknown cost is shown as unknown, never as 0."""
    filters = {"customer": customer, "feature": feature, "key_id": key_id, "model": model, "status": status}
    wanted: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
    show = _json if as_json else _coloured() if sys.stdout.isatty() else _plain
    with recorded_events(config, data_dir) as store:
        _, place = store.arrivals()
        newest = store.page(limit=count, **wanted).events[::-1] if count else ()
        for event in newest:
            show(event)
        if follow:
            try:
                _follow(store, place, {event.id for event in newest}, wanted, show)
            except KeyboardInterrupt:
                return


@events.command("show")
@click.argument("event_id", metavar="EVENT")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@place_options
def show_event(event_id: str, as_json: bool, config: Path | None, data_dir: Path | None) -> None:
    """Print EVENT as it was recorded, what became known of it since, and what it cost in the end."""
    with recorded_events(config, data_dir) as store:
        event = store.find(event_id)
        adjustments = store.adjustments_of(event_id)
    if event is None:
        raise click.ClickException(f"no event {event_id!r} is recorded")
    now = corrected(event, adjustments)
    if as_json:
        document = {
            "event": orjson.loads(encode(event)),
            "adjustments": [orjson.loads(encode_adjustment(each)) for each in adjustments],
            "corrected": figures(now),
        }
        show_json(document)
        return
    click.echo(event.id)
    _plain(event)
    for each in adjustments:
        click.echo(_adjustment_line(each))
    if adjustments:
        click.echo(f"corrected: cost {cost_text(now)}, in doubt ${nano_to_usd(now.doubted_nano)}")


@events.command()
@place_options
def rebuild(config: Path | None, data_dir: Path | None) -> None:
    """Make every sum and every task anew from the recorded events, while the server goes on.

    For a database that was changed by hand, or by a fault: sums that are right stay right meanwhile. Of a
    time from which events were removed for their age nothing is touched.
    """
    with recorded_events(config, data_dir) as store:
        try:
            done = store.rebuild()
        except StoreUnavailable as error:
            raise click.ClickException(f"{error}; it may be begun again") from None
    click.echo(f"{done.tasks:,} tasks and {done.buckets:,} hours, days and weeks were made anew.")


def _adjustment_line(adjustment: Adjustment) -> str:
    """When, who, by how much and why."""
    parts = ["adjusted", moment(adjustment.at_ms), adjustment.source]
    if adjustment.cost_delta_nano:
        parts.append(f"cost {_signed(adjustment.cost_delta_nano)}")
    if adjustment.doubted_delta_nano:
        parts.append(f"in doubt {_signed(adjustment.doubted_delta_nano)}")
    parts.append(printable(adjustment.reason))
    if adjustment.note:
        parts.append(f"({printable(adjustment.note)})")
    return "  ".join(parts)


def _signed(nano: int) -> str:
    return f"{'-' if nano < 0 else '+'}${nano_to_usd(abs(nano))}"


def _follow(store: EventStore, place: int, shown: set[str], wanted: dict[str, str], show: Print) -> None:
    """Show what arrives after `place`, but for what arrived while the first lines were read."""
    while True:
        arrived, place = store.arrivals(place)
        for event in arrived:
            if event.id not in shown and all((getattr(event, n) or "") == v for n, v in wanted.items()):
                show(event)
        sys.stdout.flush()
        if len(arrived) < PAGE_MAX:
            time.sleep(POLL_S)


def _json(event: CostEvent) -> None:
    click.echo(encode(event))


def _plain(event: CostEvent) -> None:
    click.echo("  ".join(_padded(event_line(event))))


def _coloured() -> Print:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)

    def show(event: CostEvent) -> None:
        time_, status, *rest = _padded(event_line(event))
        line = Text.assemble(
            (time_, "dim"), "  ", (status, _STYLES.get(event.status, "")), "  ", "  ".join(rest)
        )
        if event.cost_nano is None:
            line.highlight_words(["unknown"], "bold yellow")
        console.print(line)

    return show


def _padded(parts: Sequence[str]) -> list[str]:
    return [*(part.ljust(width) for part, width in zip(parts, WIDTHS, strict=False)), *parts[len(WIDTHS) :]]
