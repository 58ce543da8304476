"""Events of a span with what became of them, for those who carry all of them elsewhere.

They come in the order of their starts (then of arrival), in pages with a short transaction each: no reader
keeps a database from tidying up, however slow it is. Only what had arrived when the walk began is met, each
event once; its corrections are those that are known when its page is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row

from metering.adjustment import Adjustment, Corrected, decode_adjustment
from metering.event import CostEvent, decode
from metering.eventcolumns import adjustments, event_documents, events
from metering.removal import check_complete

PAGE = 500


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it came, and as it is now. `now`: its corrected figures; `revenue_nano` and its source as
    they were settled when it was stored; `adjustments` in the order of their arrival."""

    event: CostEvent
    now: Corrected
    revenue_nano: int | None
    revenue_source: str | None
    adjustments: Sequence[Adjustment]


def walk_events(engine: Engine, account_id: str, since_ms: int, until_ms: int | None) -> Iterator[Told]:
    """The account's events begun in [since_ms, until_ms).

    Raises metering.removal.EventsRemoved where some of them were removed for their age,
    sqlalchemy.exc.DBAPIError.
    """
    with engine.connect() as connection:
        last = connection.scalar(sa.select(sa.func.max(events.c.seq))) or 0
    place = (since_ms, 0)
    while True:
        with engine.connect() as connection:
            check_complete(connection, since_ms, until_ms, documents=True)
            rows = _page(connection, account_id, place, last, until_ms)
            corrections = _adjustments(connection, account_id, [row.id for row in rows])
        for row in rows:
            yield _told(row, corrections.get(row.id, ()))
        if len(rows) < PAGE:
            return
        place = (rows[-1].started_ms, rows[-1].seq)


def _page(
    connection: Connection, account_id: str, place: tuple[int, int], last: int, until_ms: int | None
) -> Sequence[Any]:
    query = (
        sa.select(*(events.c[name] for name in _FIGURES), event_documents.c.document)
        .join_from(events, event_documents, events.c.seq == event_documents.c.seq)
        .where(
            events.c.account_id == account_id,
            sa.tuple_(events.c.started_ms, events.c.seq) > place,
            events.c.started_ms >= place[0],
            events.c.seq <= last,
        )
        .order_by(events.c.started_ms, events.c.seq)
        .limit(PAGE)
    )
    if until_ms is not None:
        query = query.where(events.c.started_ms < until_ms)
    return connection.execute(query).all()


def _adjustments(connection: Connection, account_id: str, ids: Sequence[str]) -> dict[str, list[Adjustment]]:
    """Those that have been added to their events' figures."""
    query = (
        sa.select(adjustments.c.document)
        .where(
            adjustments.c.event_id.in_(ids),
            adjustments.c.account_id == account_id,
            adjustments.c.pending == sa.literal_column("0"),
        )
        .order_by(adjustments.c.seq)
    )
    found: dict[str, list[Adjustment]] = {}
    for document in connection.scalars(query):
        adjustment = decode_adjustment(document)
        found.setdefault(adjustment.event_id, []).append(adjustment)
    return found


_FIGURES = (
    *("seq", "id", "started_ms", "cost_nano", "unpriced", "unknown_nano", "doubted_nano"),
    *("revenue_nano", "revenue_known", "revenue_source"),
)


def _told(row: Row[Any], corrections: Sequence[Adjustment]) -> Told:
    return Told(
        event=decode(row.document),
        now=Corrected(row.cost_nano, row.doubted_nano, row.unknown_nano, row.unpriced),
        revenue_nano=row.revenue_nano if row.revenue_known else None,
        revenue_source=row.revenue_source or None,
        adjustments=corrections,
    )
