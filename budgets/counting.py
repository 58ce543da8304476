"""Counts what is recorded already on the rows of limits: each batch once, however often it is told.

Rows, the entry in the outbox and a marker are written in one step. Nothing is ever refused: the money is
spent. A shard that is not whole gets the entry alone: what makes it whole counts that.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from budgets.batch import MARKER_MS, Batch, encode_batch
from budgets.client import SyncClient
from budgets.counted import Counted, LimitIndex, amounts
from budgets.limit import LimitTerms
from budgets.names import names_of
from budgets.rowset import Row, rows_of
from budgets.running import run_script
from budgets.scripts import COUNT
from budgets.seed import ends_of

Place = tuple[str, str]
OwnLimits = Callable[[Counted], Sequence[LimitTerms]]
"""The limits of the plan that the customer is on, with the values that are its own."""


class Told(StrEnum):
    """OK: the rows were changed. DONE: they had been before. COLD: they will be when the shard is whole."""

    OK = "OK"
    DONE = "DONE"
    COLD = "COLD"


@dataclass(frozen=True, slots=True)
class CountedBatch:
    """What became of a batch. `exceeding`: ids of its events that count on a hard limit which is passed now;
    None where that is not known."""

    told: Told
    exceeding: frozenset[str] | None


@dataclass(slots=True)
class _Line:
    row: Row
    added: int


def count_batch(
    redis: SyncClient, index: LimitIndex, batch: Batch, own_limits: OwnLimits, now_ms: int
) -> CountedBatch:
    """Count the batch on the rows of the account's limits, `index`. Raises redis.RedisError, after which it
    may be repeated."""
    names = names_of(batch.account_id)
    lines: dict[Place, _Line] = {}
    touched: list[tuple[str, list[Place]]] = []
    known: dict[Hashable, list[Row]] = {}
    for counted in batch.counted:
        limits = own_limits(counted)
        own = {(row.hash, row.field): row for row in _rows(limits, counted)} if limits else {}
        concern = index.concern(counted)
        rows = known.get(concern)
        if rows is None:
            rows = known[concern] = index.rows(counted)
        places = []
        for row in rows:
            place = (row.hash, row.field)
            line = lines.get(place)
            if line is None:
                line = lines[place] = _Line(own.get(place, row), 0)
            line.added += amounts(row.limit.kind, counted)[0]
            places.append(place)
        touched.append((counted.id, places))
    keys = (
        batch.marker,
        *(names.outbox, names.meta, names.limits, names.notices),
        *(name for name, _ in lines),
    )
    args: list[Any] = [MARKER_MS, encode_batch(batch), batch.account_id]
    for line in lines.values():
        row = line.row
        args += (row.field, row.value_field, line.added, ends_of(row.limit, row.window), _marks(row, now_ms))
    answer, passed = run_script(redis, COUNT, keys, args)
    told = Told(answer.decode())
    if told is Told.COLD:
        return CountedBatch(told, None)
    listed = list(lines)
    beyond = {listed[number - 1] for number in passed}
    exceeding = frozenset(event_id for event_id, places in touched if not beyond.isdisjoint(places))
    return CountedBatch(told, exceeding)


def _rows(limits: Iterable[LimitTerms], counted: Counted) -> list[Row]:
    return rows_of(list(limits), counted.of, counted.started_ms)


def _marks(row: Row, now_ms: int) -> str:
    """What the script must know of a row: is it made where it is missing (in windows that have ended it is
    not: nothing looks at them but reports of those that are there), its enforcement, its thresholds."""
    made = "1" if row.window.end_ms > now_ms else "0"
    thresholds = ",".join(map(str, row.limit.thresholds))
    return f"{made}{_LETTERS[row.limit.enforcement]}{thresholds}"


_LETTERS = {"hard": "h", "soft": "s", "shadow": "w"}
