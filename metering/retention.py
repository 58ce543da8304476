"""Removing single events for their age. Their sums, and their tasks, stay.

The moment is told first, so that a question which needs what is being removed is refused from then on
(metering.removal). Sums that begin inside of a day, as those of a limit do that was made at noon, need that
day's events for good: of such days the documents go and the narrow rows stay. Adjustments and the keys under
which events were reported go with their events: what comes again after that is new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from metering.eventcolumns import adjustments, event_documents, events
from metering.ingested import drop_keys_of
from metering.removal import complete_since, kept_days, removals
from metering.rollup import DAY_MS
from metering.span import accounts

Writing = Callable[[], AbstractContextManager[Connection]]
AT_ONCE = 500
"""Events in one transaction: some 20 ms of the write lock."""
DAYS_MIN = 45
"""The fewest days that events must be kept: sums of traces reach back 40, and providers' corrections 35."""


@dataclass(frozen=True, slots=True)
class Removed:
    """How many events are gone, and from when on all are there."""

    events: int
    complete_since_ms: int


def remove_events(
    writing: Writing, before_ms: int, keep: Sequence[int], stopped: Callable[[], bool]
) -> Removed:
    """EventStore.remove_events."""
    before_ms -= before_ms % DAY_MS
    with writing() as connection:
        known_ms = complete_since(connection)
        if before_ms > known_ms:
            days = sorted({moment - moment % DAY_MS for moment in keep if moment % DAY_MS})
            kept = [day for day in days if known_ms <= day < before_ms]
            if kept:
                connection.execute(sa.insert(kept_days), [{"day_ms": day} for day in kept])
            connection.execute(sa.delete(removals))
            connection.execute(sa.insert(removals).values(before_ms=before_ms))
        before_ms = max(before_ms, known_ms)
        stay = frozenset(connection.scalars(sa.select(kept_days.c.day_ms)))
        found = accounts(connection)
    removed = 0
    for account_id in found:
        for count in _remove_of(writing, account_id, before_ms, stay):
            removed += count
            if stopped():
                return Removed(removed, before_ms)
    return Removed(removed, before_ms)


def _remove_of(writing: Writing, account_id: str, before_ms: int, stay: frozenset[int]) -> Iterator[int]:
    """Walk the account's events in the order of their starts; gives the number of each portion's removed."""
    place = (-1, -1)
    while True:
        begun = time.monotonic()
        with writing() as connection:
            # The last number of arrival stays: readers of what is new go by it, and it must not come again.
            latest = connection.scalar(sa.select(sa.func.max(events.c.seq))) or 0
            rows = connection.execute(
                sa.select(events.c.seq, events.c.id, events.c.started_ms)
                .where(
                    events.c.account_id == account_id,
                    sa.tuple_(events.c.started_ms, events.c.seq) > place,
                )
                .order_by(events.c.started_ms, events.c.seq)
                .limit(AT_ONCE)
            ).all()
            old = [row for row in rows if row.started_ms < before_ms and row.seq != latest]
            going = [row for row in old if row.started_ms - row.started_ms % DAY_MS not in stay]
            _delete(connection, [row.seq for row in old], [(row.seq, row.id) for row in going])
        yield len(going)
        if len(rows) < AT_ONCE or rows[-1].started_ms >= before_ms:
            return
        place = (rows[-1].started_ms, rows[-1].seq)
        time.sleep(time.monotonic() - begun)  # as long for the others


def _delete(connection: Connection, documents: list[int], rows: list[tuple[int, str]]) -> None:
    connection.execute(sa.delete(event_documents).where(event_documents.c.seq.in_(documents)))
    if rows:
        ids = [event_id for _, event_id in rows]
        connection.execute(sa.delete(adjustments).where(adjustments.c.event_id.in_(ids)))
        drop_keys_of(connection, ids)
        connection.execute(sa.delete(events).where(events.c.seq.in_([seq for seq, _ in rows])))
