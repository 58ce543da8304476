"""Brings later knowledge of a cost to the ledger: an adjustment, on the very rows that its event counted on.

Rows, the entry in the outbox and a marker are written in one step, so an adjustment counts once however
often it is told. A shard that is not whole gets the entry alone: what makes it whole counts that.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from budgets.client import SyncClient
from budgets.counted import LimitIndex, counted_adjustment, counted_event
from budgets.limit import LimitTerms
from budgets.meter import Meter
from budgets.names import names_of
from budgets.running import run_script
from budgets.scripts import ADJUST
from budgets.seed import ends_of
from metering.adjustment import Adjustment, encode_adjustment
from metering.event import CostEvent

MARKER_MS = 7 * 86_400_000
"""How long an adjustment is remembered; told again later it would count twice, until the next night."""


class Adjusted(StrEnum):
    """OK: the rows were changed. DONE: they had been before. COLD: they will be when the shard is whole."""

    OK = "OK"
    DONE = "DONE"
    COLD = "COLD"


def adjust(
    redis: SyncClient,
    limits: Sequence[LimitTerms],
    event: CostEvent,
    adjustment: Adjustment,
    *,
    meters: Sequence[Meter] = (),
) -> Adjusted:
    """Count an adjustment of the event on the rows of these limits and meters, which are all of its account.

    Only money changes. Rows that have expired with their window are not made again. ValueError when the
    adjustment is another event's; redis.RedisError, after which it may be repeated.
    """
    if adjustment.event_id != event.id or adjustment.account_id != event.account_id:
        raise ValueError(f"adjustment {adjustment.id} is of event {adjustment.event_id}, not of {event.id}")
    names = names_of(event.account_id)
    index = LimitIndex(
        event.account_id,
        [limit for limit in limits if limit.kind == "money"],
        [meter for meter in meters if meter.kind == "money"],
    )
    rows = index.rows(counted_adjustment(adjustment, counted_event(event)))
    keys = (f"{names.base}adjusted:{adjustment.id}", names.outbox, names.meta, *(row.hash for row in rows))
    args: list[Any] = [MARKER_MS, encode_adjustment(adjustment), "0"]
    for row in rows:
        ends = ends_of(row.limit, row.window)
        args += (row.field, adjustment.cost_delta_nano, adjustment.doubted_delta_nano, ends)
    return Adjusted(run_script(redis, ADJUST, keys, args).decode())
