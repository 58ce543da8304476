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
from metering.rollup import DAY_MS, ROLLUPS, Rollup
from metering.span import recorded_span

COUNTED_MAX = 10_000
"""So many events are looked at for a total, and for an offset."""
DAYS_SUMMED = 7
BEFORE_SUMMED = 14
"""So many days' sums, and those of so many days or weeks before, are looked at to see that a total is beyond
that."""
_LEADS = ("task_id", "trace_id", "status", "customer", "key_id", "model", "feature", "source")
_COMMON = {"status": "succeeded", "source": "gateway"}
"""Nearly all events have these, and no index leads along them."""
_FIGURES = sa.select(
    *(events.c[name] for name in ("id", "cost_nano", "unpriced", "unknown_nano", "doubted_nano")),
    *(events.c[name] for name in ("revenue_nano", "revenue_known", "revenue_source")),
)


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


def with_figures(
    connection: Connection, found: Sequence[CostEvent], numbers: Sequence[int] | None = None
) -> list[Stored]:
    """The events with their figures; one that was removed meanwhile is left out. `numbers`: under which they
    are stored, where that is known (metering.eventpage.Page), which saves the way through their ids."""
    by_id = numbers is None
    these = events.c.id.in_([event.id for event in found]) if by_id else events.c.seq.in_(numbers or ())
    rows = {row.id: row for row in connection.execute(_FIGURES.where(these))}
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
    lead = _lead(names)
    leading = {} if lead is None else {lead: names[lead]}
    if _surely_more(connection, account_id, leading, since_ms, until_ms):
        return None
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
    """Whether the sums of whole days and weeks alone say that more would have to be looked at: a few rows
    instead of COUNTED_MAX entries of an index."""
    known = [each for each in ROLLUPS if each.bucket_ms >= DAY_MS and each.knows(names)]
    span = recorded_span(connection, account_id) if known else None
    if span is None:
        return False
    ends_ms = span[1] + 1 if until_ms is None else min(until_ms, span[1] + 1)
    begins_ms = max(since_ms, span[0], complete_since(connection))
    summed = 0
    # The last days, which tell it of most names, then before them what has the fewest rows.
    by_day = next(each for each in known if each.bucket_ms == DAY_MS)
    for rollup, count in ((by_day, DAYS_SUMMED), (known[0], BEFORE_SUMMED)):
        size = rollup.bucket_ms
        last_ms = ends_ms // size * size
        first_ms = max(last_ms - count * size, -(-begins_ms // size) * size)
        summed += _events_of(connection, rollup, account_id, names, range(first_ms, last_ms, size))
        if summed > COUNTED_MAX:
            return True
        ends_ms = min(ends_ms, first_ms)
    return False


def _events_of(
    connection: Connection, rollup: Rollup, account_id: str, names: Mapping[str, str], buckets: Sequence[int]
) -> int:
    """How many events of these names are in the buckets."""
    if not buckets:
        return 0
    columns = rollup.table.c
    found = connection.scalar(
        sa.select(sa.func.sum(columns.events)).where(
            columns.account_id == account_id,
            columns.bucket_ms.in_(buckets),
            *(columns[name] == value for name, value in names.items()),
        )
    )
    return int(found or 0)


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
