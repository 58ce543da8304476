"""How events and later knowledge are added to the record, and with them every sum.

The columns of CORRECTED follow an event's adjustments and those of COUNTED its task, so sums over events and
rollups are equal at any moment. The functions here run inside a transaction that holds the write lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, FromClause, Insert, Update

from metering.adjustment import Adjustment, deltas
from metering.event import CostEvent, decode
from metering.eventcolumns import adjustments, event_documents, events
from metering.rollup import CORRECTED, MEASURES, ROLLUPS, Rollup, measured_with
from metering.statement import EngineName, InsertNew, insert_into, whole_sum, written
from metering.tasktable import settle_tasks, tasks

__all__ = [
    "Appended",
    "Difference",
    "RevenueOf",
    "adjustments",
    "event_documents",
    "events",
    "insert_adjustments",
    "insert_events",
]

Revenue = tuple[int, str]
"""Nano-USD, and where they come from."""
RevenueOf = Callable[[CostEvent], Revenue | None]
"""What is owed for an event when it is stored; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Difference:
    """An event that came again with another cost or doubt than the one that is stored, which stands."""

    stored: CostEvent
    given: CostEvent


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch: events `added`, those that were there with the same money, and the others."""

    added: int
    repeated: int
    differing: tuple[Difference, ...]


def explicit(event: CostEvent) -> Revenue | None:
    """The revenue that came with the event."""
    if event.revenue_nano is None:
        return None
    return event.revenue_nano, event.revenue_source or "explicit"


def insert_events(
    connection: Connection, chunk: Sequence[tuple[CostEvent, bytes]], revenue_of: RevenueOf = explicit
) -> Appended:
    """Add the new ones of these events, and to tasks and rollups what they measure.

    The write lock is held, so the rows just added are those after the last one of before.
    """
    latest = connection.scalar(sa.select(sa.func.max(events.c.seq))) or 0
    added = _INSERT.add(
        connection, [(latest + n, *_row(event, revenue_of)) for n, (event, _) in enumerate(chunk, 1)]
    )
    if added:
        texts = [(latest + n, text.decode()) for n, (_, text) in enumerate(chunk, 1)]
        if added < len(chunk):
            new = set(connection.scalars(sa.select(events.c.seq).where(events.c.seq > latest)))
            texts = [row for row in texts if row[0] in new]
        _INSERT_DOCUMENT.add(connection, texts)
        settle_tasks(
            connection, {(event.account_id, event.task_id) for event, _ in chunk if event.task_id}, latest
        )
        for statement in _ROLL_UP:
            statement.run(connection, (latest,))
        _settle_adjustments(connection)
    if added == len(chunk):
        return Appended(added, 0, ())
    differing = _differences(connection, chunk, latest)
    return Appended(added, len(chunk) - added - len(differing), differing)


def insert_adjustments(
    connection: Connection, given: Sequence[Adjustment], documents: Sequence[bytes]
) -> int:
    """Add those whose ids are new, and their deltas to the sums of their events where these are here."""
    if not given:
        return 0
    rows = [
        (each.id, each.event_id, each.account_id, each.at_ms, each.source, *deltas(each), 1, text.decode())
        for each, text in zip(given, documents, strict=True)
    ]
    added = _INSERT_ADJUSTMENT.add(connection, rows)
    if added:
        _settle_adjustments(connection)
    return added


def _settle_adjustments(connection: Connection) -> None:
    """Add pending adjustments whose events are here to the events' columns and to the rollups."""
    if connection.exec_driver_sql("SELECT 1 FROM adjustments WHERE pending = 1 LIMIT 1").first() is None:
        return
    for statement in _SETTLE:
        statement.run(connection)


def _differences(
    connection: Connection, chunk: Sequence[tuple[CostEvent, bytes]], latest: int
) -> tuple[Difference, ...]:
    """Those events of the chunk that were not added and tell other money than the stored ones."""
    ids = {event.id for event, _ in chunk}
    documents = events.join(event_documents, events.c.seq == event_documents.c.seq, isouter=True)
    query = sa.select(events.c.id, events.c.seq, event_documents.c.document).select_from(documents)
    query = query.where(events.c.id.in_(ids))
    stored = {row.id: row for row in connection.execute(query)}
    fresh = {event_id for event_id, row in stored.items() if row.seq > latest}
    found: list[Difference] = []
    for event, text in chunk:
        if event.id in fresh:
            fresh.remove(event.id)  # the first of an id is the one that was added
            continue
        document = stored[event.id].document
        if document is None or document.encode() == text:
            continue  # of an event so old that its document was removed nothing can be compared
        first = decode(document)
        if (first.cost_nano, first.known_nano, first.doubted_nano) != (
            event.cost_nano,
            event.known_nano,
            event.doubted_nano,
        ):
            found.append(Difference(first, event))
    return tuple(found)


def _row(event: CostEvent, revenue_of: RevenueOf) -> tuple[str | int, ...]:
    """The values of one row of `events`, in the order of its columns after `seq`."""
    revenue_nano, revenue_source = revenue_of(event) or (None, "")
    return (
        event.id,
        event.account_id,
        event.started_ms,
        event.key_id or "",
        event.customer or "",
        event.workspace or "",
        event.feature or "",
        event.plan or "",
        event.provider or "",
        event.model or "",
        event.route_final or "",
        event.status,
        event.outcome,
        event.source,
        event.task_id or "",
        event.trace_id or "",
        revenue_source,
        *measured_with(event, revenue_nano),
    )


def _keys(rollup: Rollup) -> list[ColumnElement[Any]]:
    """An event's place in the rollup, in the order of the rollup's columns."""
    bucket = events.c.started_ms - events.c.started_ms % sa.literal_column(str(rollup.bucket_ms))
    return [events.c.account_id, bucket, *(events.c[name] for name in rollup.columns)]


def _add_to(engine: EngineName, rollup: Rollup, source: sa.Select[Any], changed: Sequence[str]) -> Insert:
    """The statement that adds the source's sums to the rollup's rows, or makes them."""
    table = rollup.table
    statement = insert_into(engine, table).from_select([column.name for column in table.columns], source)
    added = {name: table.c[name] + statement.excluded[name] for name in changed}
    made: Insert = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=added)
    return made


def _roll_up(rollup: Rollup, engine: EngineName) -> Insert:
    """The statement that adds the events after a `seq` to the rollup.

    It must walk the rows after that `seq`. The plus keeps SQLite from an index in the order of its columns,
    which would save the sorting of a batch and read all events of all time for it.
    """
    account = sa.literal_column("+events.account_id") if engine == "sqlite" else events.c.account_id
    keys = [account, *_keys(rollup)[1:]]
    if engine == "sqlite" and rollup.scattered:
        # SQLite adds to a row as often as it comes; summing first would only sort the batch.
        source = sa.select(*keys, *(events.c[name] for name in MEASURES))
    else:
        source = sa.select(*keys, *(whole_sum(events.c[name]) for name in MEASURES)).group_by(*keys)
    source = source.where(events.c.seq > sa.bindparam("seq"))
    return _add_to(engine, rollup, source, MEASURES)


_PENDING = adjustments.c.pending == sa.literal_column("1")
_OF_EVENT = (events.c.id == adjustments.c.event_id) & (events.c.account_id == adjustments.c.account_id)


def _correct(rollup: Rollup, engine: EngineName) -> Insert:
    """The statement that adds the pending adjustments to the rollup, where their events are."""
    keys = _keys(rollup)
    sums = (
        whole_sum(adjustments.c[name]) if name in CORRECTED else sa.literal_column("0") for name in MEASURES
    )
    joined: FromClause = adjustments.join(events, _OF_EVENT)
    source = sa.select(*keys, *sums).select_from(joined).where(_PENDING).group_by(*keys)
    return _add_to(engine, rollup, source, CORRECTED)


def _correct_events(_engine: EngineName) -> Update:
    """The statement that adds the pending adjustments to their events' columns."""
    sums = (
        sa.select(
            adjustments.c.event_id,
            adjustments.c.account_id,
            *(whole_sum(adjustments.c[name]).label(name) for name in CORRECTED),
        )
        .where(_PENDING)
        .group_by(adjustments.c.event_id, adjustments.c.account_id)
        .subquery("more")
    )
    statement = sa.update(events).values({name: events.c[name] + sums.c[name] for name in CORRECTED})
    return statement.where(events.c.id == sums.c.event_id, events.c.account_id == sums.c.account_id)


def _mark_settled(_engine: EngineName) -> Update:
    here = sa.exists().where(_OF_EVENT).correlate(adjustments)
    return sa.update(adjustments).values(pending=sa.literal_column("0")).where(_PENDING, here)


def _correct_tasks(_engine: EngineName) -> Update:
    """The statement that adds the pending adjustments to the tasks of their events."""
    sums = (
        sa.select(
            events.c.account_id,
            events.c.task_id,
            *(whole_sum(adjustments.c[name]).label(name) for name in CORRECTED),
        )
        .select_from(adjustments.join(events, _OF_EVENT))
        .where(_PENDING, events.c.task_id != sa.literal_column("''"))
        .group_by(events.c.account_id, events.c.task_id)
        .subquery("more")
    )
    statement = sa.update(tasks).values({name: tasks.c[name] + sums.c[name] for name in CORRECTED})
    return statement.where(tasks.c.account_id == sums.c.account_id, tasks.c.task_id == sums.c.task_id)


_INSERT = InsertNew(events, numbered=True)
_INSERT_DOCUMENT = InsertNew(event_documents, numbered=True)
_INSERT_ADJUSTMENT = InsertNew(adjustments)
_ROLL_UP = [written(partial(_roll_up, rollup)) for rollup in ROLLUPS]
_SETTLE = [
    *(written(partial(_correct, rollup)) for rollup in ROLLUPS),
    written(_correct_tasks),
    written(_correct_events),
    written(_mark_settled),
]
