"""How events and later knowledge are added to the record, and with them every sum.

The columns of CORRECTED follow an event's adjustments and those of COUNTED its task, so sums over events and
rollups are equal at any moment. The functions here run inside a transaction that holds the write lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Text

from metering.adjustment import Adjustment, deltas
from metering.adjustmenttable import settle_adjustments
from metering.event import CostEvent, decode
from metering.eventcolumns import PLACES, adjustments, event_documents, events
from metering.gain import add_gains
from metering.rollup import measured_with
from metering.statement import InsertNew, InsertRows, among, check_texts, listed, written
from metering.tasktable import settle_tasks

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

    The write lock is held: what is not there now is new, and all that follows from it is decided before
    anything of it is stored.
    """
    fresh, again = _told_apart(connection, chunk)
    if fresh:
        latest = last_seq(connection)
        told = [(seq, *_row(event, revenue_of)) for seq, (event, _) in enumerate(fresh, latest + 1)]
        check_texts(told, _TEXTS)
        documents = [(seq, text.decode()) for seq, (_, text) in enumerate(fresh, latest + 1)]
        check_texts(documents, (1,))
        rows = settle_tasks(connection, told)
        _INSERT.add(connection, rows)
        _INSERT_DOCUMENT.add(connection, documents)
        add_gains(connection, rows)
        if connection.exec_driver_sql(_ANY_PENDING).first() is not None:
            settle_adjustments(connection, [event.id for event, _ in fresh])
    differing = _differences(connection, again) if again else ()
    return Appended(len(fresh), len(again) - len(differing), differing)


def last_seq(connection: Connection) -> int:
    """The place of the event that arrived last; 0 where none is."""
    return _LATEST.run(connection).scalar() or 0


def _told_apart(
    connection: Connection, chunk: Sequence[tuple[CostEvent, bytes]]
) -> tuple[list[tuple[CostEvent, bytes]], list[tuple[CostEvent, bytes]]]:
    """Those that are new, of several with one id the first; and the others."""
    ids = [event.id for event, _ in chunk]
    known = set(_KNOWN.run(connection, [listed(connection, ids)]).scalars())
    fresh: list[tuple[CostEvent, bytes]] = []
    again: list[tuple[CostEvent, bytes]] = []
    for item in chunk:
        event_id = item[0].id
        if event_id in known:
            again.append(item)
        else:
            known.add(event_id)
            fresh.append(item)
    return fresh, again


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
        settle_adjustments(connection, sorted({each.event_id for each in given}))
    return added


def _differences(connection: Connection, again: Sequence[tuple[CostEvent, bytes]]) -> tuple[Difference, ...]:
    """Those of the events that tell other money than the stored ones of their ids."""
    ids = listed(connection, [event.id for event, _ in again])
    stored = {row.id: row.document for row in _STORED.run(connection, [ids])}
    found: list[Difference] = []
    for event, text in again:
        document = stored[event.id]
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


_LATEST = written(lambda _engine: sa.select(sa.func.max(events.c.seq)))
_TEXTS = [PLACES[column.name] for column in events.columns if isinstance(column.type, Text)]
_KNOWN = written(lambda engine: sa.select(events.c.id).where(among(engine, events.c.id)))
_STORED = written(
    lambda engine: sa.select(
        events.c.id,
        # One by one: a join may be planned for a small record, by reading all documents, and be kept.
        sa.select(event_documents.c.document)
        .where(event_documents.c.seq == events.c.seq)
        .scalar_subquery()
        .label("document"),
    ).where(among(engine, events.c.id))
)
_INSERT = InsertRows(events)
_INSERT_DOCUMENT = InsertRows(event_documents)
_INSERT_ADJUSTMENT = InsertNew(adjustments)
_ANY_PENDING = "SELECT 1 FROM adjustments WHERE pending = 1 LIMIT 1"
