"""Events of a page with the figures that are kept beside them: corrected cost, and what is owed for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Engine

from gateway.api.eventview import Stored
from metering.event import CostEvent
from metering.eventcolumns import events
from metering.eventstore import StoreUnavailable
from metering.removal import complete_since
from metering.rollup import DAY_MS, ROLLUPS
from metering.span import recorded_span

COUNTED_MAX = 10_000
"""So many events are looked at for a total, and for an offset."""
DAYS_SUMMED = 7
"""So many days' sums are looked at to see that a total is beyond that."""
_LEADS = ("task_id", "trace_id", "status", "customer", "key_id", "model", "feature", "source")
_COMMON = {"status": "succeeded", "source": "gateway"}
"""Nearly all events have these, and no index leads along them."""


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one moment of the record. Raises StoreUnavailable."""
    try:
        with engine.connect() as connection:
            yield connection
    except sa.exc.ProgrammingError:
        raise
    except sa.exc.DBAPIError as error:
        raise StoreUnavailable(str(error.orig)) from error


def with_figures(connection: Connection, found: Sequence[CostEvent]) -> list[Stored]:
    """The events with their figures; one that was removed meanwhile is left out."""
    names = ("id", "cost_nano", "unpriced", "unknown_nano", "doubted_nano", "revenue_nano", "revenue_known")
    query = sa.select(*(events.c[name] for name in names), events.c.revenue_source)
    rows = {
        row.id: row for row in connection.execute(query.where(events.c.id.in_([event.id for event in found])))
    }
    return [
        Stored(
            event=event,
            known_nano=row.cost_nano,
            unpriced=bool(row.unpriced),
            unknown_nano=row.unknown_nano,
            doubted_nano=row.doubted_nano,
            revenue_nano=row.revenue_nano if row.revenue_known else None,
            revenue_source=row.revenue_source or None,
        )
        for event in found
        if (row := rows.get(event.id)) is not None
    ]


def count(
    connection: Connection, account_id: str, names: Mapping[str, str], since_ms: int, until_ms: int | None
) -> int | None:
    """How many events have these names and began in the span; None where more than COUNTED_MAX had to be
    looked at to say it."""
    if _surely_more(connection, account_id, names, since_ms, until_ms):
        return None
    lead = _lead(names)
    others = [name for name in names if name != lead]
    along = sa.select(*(events.c[name] for name in others), sa.literal_column("1").label("one"))
    walked = _along(along, account_id, names, lead, since_ms, until_ms).limit(COUNTED_MAX + 1).subquery()
    fits = [walked.c[name] == names[name] for name in others]
    query = sa.select(sa.func.count(), sa.func.count().filter(*fits) if fits else sa.func.count())
    looked_at, fitting = connection.execute(query.select_from(walked)).one()
    return None if looked_at > COUNTED_MAX else int(fitting)


def _surely_more(
    connection: Connection, account_id: str, names: Mapping[str, str], since_ms: int, until_ms: int | None
) -> bool:
    """Whether the sums of the span's last days alone say that more would have to be looked at: a few rows
    instead of COUNTED_MAX entries of an index."""
    rollup = next((each for each in ROLLUPS if each.bucket_ms == DAY_MS and each.knows(names)), None)
    span = recorded_span(connection, account_id)
    if rollup is None or span is None:
        return False
    ends_ms = span[1] + 1 if until_ms is None else min(until_ms, span[1] + 1)
    begins_ms = max(since_ms, span[0], complete_since(connection))
    last_ms = ends_ms // DAY_MS * DAY_MS
    first_ms = max(last_ms - DAYS_SUMMED * DAY_MS, -(-begins_ms // DAY_MS) * DAY_MS)
    columns = rollup.table.c
    found = connection.scalar(
        sa.select(sa.func.sum(columns.events)).where(
            columns.account_id == account_id,
            columns.bucket_ms.in_(range(first_ms, last_ms, DAY_MS)),
            *(columns[name] == value for name, value in names.items()),
        )
    )
    return int(found or 0) > COUNTED_MAX


def place_after(
    connection: Connection,
    account_id: str,
    names: Mapping[str, str],
    since_ms: int,
    until_ms: int | None,
    *,
    skipped: int,
    ascending: bool,
) -> str | None:
    """The cursor (metering.eventpage) behind so many of these events; None where there are fewer."""
    place = sa.select(events.c.started_ms, events.c.id)
    query = _along(place, account_id, names, _lead(names), since_ms, until_ms)
    query = query.where(*(events.c[name] == value for name, value in names.items()))
    order = (events.c.started_ms, events.c.seq)
    query = query.order_by(*(each.asc() if ascending else each.desc() for each in order))
    row = connection.execute(query.offset(skipped - 1).limit(1)).first()
    return None if row is None else f"{row.started_ms}.{row.id}"


def _lead(names: Mapping[str, str]) -> str | None:
    return next((name for name in _LEADS if name in names and names[name] != _COMMON.get(name)), None)


def _along(
    query: sa.Select[Any],
    account_id: str,
    names: Mapping[str, str],
    lead: str | None,
    since_ms: int,
    until_ms: int | None,
) -> sa.Select[Any]:
    """The query over the account's events in the span, along one name."""
    tests: list[ColumnElement[bool]] = [events.c.account_id == account_id, events.c.started_ms >= since_ms]
    if until_ms is not None:
        tests.append(events.c.started_ms < until_ms)
    if lead is not None:
        tests.append(events.c[lead] == names[lead])
        if lead in ("task_id", "trace_id", "status", "source"):
            # What its index leaves out, as it is written there: else it is not seen to hold all of these.
            absent = _COMMON.get(lead, "")
            tests.append(events.c[lead] != sa.literal_column(f"'{absent}'"))
    return query.where(*tests)
