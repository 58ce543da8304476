"""`tollkeeper adjust`: say what a recorded request really cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click
import orjson

from budgets.adjusting import adjust as adjust_rows
from budgets.limit import check_amount
from gateway.cli.control import Control, open_control
from gateway.cli.corrected import cost_text, figures
from gateway.cli.options import common_options
from gateway.cli.output import fail, show_json
from gateway.cli.recorded import recorded_events
from gateway.cli.terms import read_usd
from metering.adjustment import Adjustment, Corrected, corrected, correction, encode_adjustment
from metering.event import CostEvent
from metering.eventstore import EventStore, StoreUnavailable
from metering.money import nano_to_usd


class Apply(Protocol):
    """Makes an adjustment count: in the record, and in the rows of every limit that its event counted on.

    It may be called again with the same adjustment, which then changes nothing. Raises redis.RedisError or
    metering.eventstore.StoreUnavailable when it is not known to have taken effect.
    """

    def __call__(self, adjustment: Adjustment, event: CostEvent) -> None: ...


@dataclass(frozen=True, slots=True)
class Correction:
    """An event's figures before and after; `adjustment` is None where nothing had to change."""

    event: CostEvent
    before: Corrected
    after: Corrected
    adjustment: Adjustment | None


@click.command()
@click.argument("event_id", metavar="EVENT")
@click.option(
    "--cost-usd", metavar="USD", help="What it cost in all, such as 0.0123. Nothing is in doubt then."
)
@click.option(
    "--clear-doubt", is_flag=True, help="Its cost is right as it stands, and nothing more will come."
)
@click.option("--reason", required=True, help="Why, for whoever reads the books.")
@click.option("--note", help="What supports it, such as the provider's invoice line.")
@common_options
def adjust(
    event_id: str,
    cost_usd: str | None,
    clear_doubt: bool,
    reason: str,
    note: str | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Correct what EVENT cost: adjust 0193... --cost-usd 0.0123 --reason "invoice of May"

    The event stays as it was recorded; the difference is recorded beside it, and counts in reports and limits
    where the event counts. What was held in doubt for it is free again.
    """
    if cost_usd is None and not clear_doubt:
        raise click.UsageError("say what it cost (--cost-usd), or that its cost is right (--clear-doubt)")
    if not reason.strip():
        raise click.UsageError("--reason is empty; whoever reads the books will want to know why")
    with open_control(config, data_dir) as control, recorded_events(config, data_dir) as store:
        cost_nano = None if cost_usd is None else check_amount(read_usd(cost_usd), "the cost")
        try:
            done = correct(store, event_id, cost_nano, reason.strip(), note, applying(control, store))
        except StoreUnavailable as error:
            fail(f"the database is busy or full: {error}; nothing was recorded, repeat the command")
        if as_json:
            show_json(_document(done))
        else:
            click.echo(_sentence(done))
        if done.adjustment is not None:
            control.settle()


def applying(control: Control, store: EventStore) -> Apply:
    """How an adjustment is made to count in this installation.

    In the ledger first, which also puts it into the outbox; then in the record, so that the next command sees
    it at once. Without a ledger the record suffices: whoever makes the ledger whole counts it from there.
    """

    def apply(adjustment: Adjustment, event: CostEvent) -> None:
        if control.redis is None:
            store.append_adjustments([adjustment])
            return
        account_id = event.account_id
        limits, meters = control.limitbook.list(account_id), control.meters(account_id)
        adjust_rows(control.redis, limits, event, adjustment, meters=meters)
        try:
            store.append_adjustments([adjustment])
        except StoreUnavailable:
            pass  # it has taken effect, and the recorder stores it; a second command would correct it twice

    return apply


def correct(
    store: EventStore, event_id: str, cost_nano: int | None, reason: str, note: str | None, apply: Apply
) -> Correction:
    """Bring the event's cost to `cost_nano` (None: as it stands) and its doubt to nothing.

    Raises ValueError for an event that is not recorded, and what `apply` raises.
    """
    event = store.find(event_id)
    if event is None:
        raise ValueError(
            f"no event {event_id!r} is recorded; ids are in `tollkeeper events tail --json` and in the "
            "answers' x-request-id, and a request is recorded about a second after its end"
        )
    earlier = store.adjustments_of(event_id)
    before = corrected(event, earlier)
    made = correction(
        event,
        earlier,
        cost_nano=cost_nano,
        source="operator",
        reason=reason,
        note=note,
        at_ms=time.time_ns() // 1_000_000,
    )
    if made is None:
        return Correction(event, before, before, None)
    apply(made, event)
    return Correction(event, before, corrected(event, [*earlier, made]), made)


def _document(done: Correction) -> dict[str, Any]:
    made = done.adjustment
    return {
        "event": done.event.id,
        "adjustment": None if made is None else orjson.loads(encode_adjustment(made)),
        "before": figures(done.before),
        "after": figures(done.after),
    }


def _sentence(done: Correction) -> str:
    before, after = done.before, done.after
    if done.adjustment is None:
        cost = cost_text(before)
        return f"Event {done.event.id}: nothing to correct, its cost is {cost} and nothing is in doubt."
    doubt = f"${nano_to_usd(before.doubted_nano)} -> ${nano_to_usd(after.doubted_nano)}"
    return f"Event {done.event.id}: cost {cost_text(before)} -> {cost_text(after)}, in doubt {doubt}."
