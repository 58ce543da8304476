"""Tasks and rollups made anew from the events, while others go on reading and writing.

Each step is a short transaction that leaves what it touched as the events say it: a portion of tasks with the
columns of their events; then the hours of an account, summed from its events; then its days from hours, and
weeks from days, because these hold the same names. Whoever stores an event between two steps adds it to both
what is made already and what is not yet. Of a time from which events were removed nothing is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Table

from metering.eventcolumns import events
from metering.removal import complete_since
from metering.rollup import DAY_MS, HOUR_MS, MEASURES, ROLLUPS, WEEK_MS, Rollup, source_of
from metering.span import accounts
from metering.statement import whole_sum
from metering.tasktable import remake_tasks, task_ids

Writing = Callable[[], AbstractContextManager[Connection]]
TASKS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many tasks, and how many hours, days and weeks of accounts were made anew."""

    tasks: int
    buckets: int


def rebuild(writing: Writing) -> Rebuilt:
    """EventStore.rebuild."""
    with writing() as connection:
        floor_ms = complete_since(connection)
        found = accounts(connection)
    made = buckets = 0
    for account_id in found:
        made += sum(_tasks(writing, account_id, floor_ms))
        for size_ms in (HOUR_MS, DAY_MS, WEEK_MS):
            buckets += sum(1 for _ in _buckets(writing, account_id, size_ms, floor_ms))
    return Rebuilt(made, buckets)


def _tasks(writing: Writing, account_id: str, floor_ms: int) -> Iterator[int]:
    after = ""
    while True:
        begun = time.monotonic()
        with writing() as connection:
            ids = task_ids(connection, account_id, after, TASKS_AT_ONCE)
            if ids:
                yield remake_tasks(connection, account_id, ids, floor_ms)
        if len(ids) < TASKS_AT_ONCE:
            return
        after = ids[-1]
        time.sleep(time.monotonic() - begun)  # as long for the others


def _buckets(writing: Writing, account_id: str, size_ms: int, floor_ms: int) -> Iterator[int]:
    """Make every bucket of this size that has sums or events; gives their first moments."""
    rollups = [each for each in ROLLUPS if each.bucket_ms == size_ms]
    at_ms = floor_ms - floor_ms % size_ms
    while True:
        begun = time.monotonic()
        with writing() as connection:
            next_ms = _next(connection, account_id, at_ms, rollups)
            if next_ms is None:
                return
            bucket_ms = next_ms - next_ms % size_ms
            for rollup in rollups:
                _remake(connection, rollup, account_id, bucket_ms)
        yield bucket_ms
        at_ms = bucket_ms + size_ms
        time.sleep(time.monotonic() - begun)


def _next(connection: Connection, account_id: str, at_ms: int, rollups: Sequence[Rollup]) -> int | None:
    """The first moment from here on at which the account has an event or a sum."""
    places: list[tuple[Table, ColumnElement[int]]] = [(events, events.c.started_ms)]
    places += [(each.table, each.table.c.bucket_ms) for each in (*rollups, *map(source_of, rollups)) if each]
    found = [
        connection.scalar(
            sa.select(sa.func.min(moment)).where(table.c.account_id == account_id, moment >= at_ms)
        )
        for table, moment in places
    ]
    return min((each for each in found if each is not None), default=None)


def _remake(connection: Connection, rollup: Rollup, account_id: str, bucket_ms: int) -> None:
    """Sum one bucket anew."""
    table = rollup.table
    finer = source_of(rollup)
    source = events if finer is None else finer.table
    moment = events.c.started_ms if finer is None else source.c.bucket_ms
    connection.execute(
        sa.delete(table).where(table.c.account_id == account_id, table.c.bucket_ms == bucket_ms)
    )
    names = [source.c[name] for name in rollup.columns]
    sums = sa.select(
        sa.literal(account_id),
        sa.literal(bucket_ms),
        *names,
        *(whole_sum(source.c[name]) for name in MEASURES),
    )
    sums = sums.where(
        source.c.account_id == account_id, moment >= bucket_ms, moment < bucket_ms + rollup.bucket_ms
    ).group_by(source.c.account_id, *names)  # also without names: an empty bucket has no row
    connection.execute(sa.insert(table).from_select([column.name for column in table.columns], sums))
