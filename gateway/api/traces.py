"""Traces: events that belong to one flow, however many tasks and customers it touched.

GET /api/events/traces            the newest first, by their latest event
GET /api/events/trace/{trace}     the events of one in the order of their starts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy import ColumnElement, Connection, FromClause

from gateway.api.cursor import Part, decode_cursor, encode_cursor
from gateway.api.endpoint import Call, Endpoint
from gateway.api.eventfigures import reading, with_figures
from gateway.api.events import LOOKED_AT_MAX, SCOPE, TAG, CompleteSince, beginning, missing_before
from gateway.api.eventview import EventShown, shown
from gateway.api.fields import MomentText, Nano, Paged, Told, Usd, moment_text, money
from gateway.errors import NotFound
from metering.event import CostEvent, decode
from metering.eventcolumns import event_documents, events
from metering.removal import complete_since

_NAMED = events.c.trace_id != sa.literal_column("''")
_ANY: sa.Select[Any] = sa.select(sa.literal_column("1"))


class TraceShown(Told):
    """One trace and its sums."""

    trace_id: str
    start_time: MomentText
    last_seen: MomentText = Field(description="When its latest event began")
    total_duration_ms: int | None = Field(description="From the first start to the end of what began last")
    span_count: int
    total_cost: Usd
    total_cost_nano: Nano
    unpriced_events: int
    total_revenue: Usd | None
    total_revenue_nano: Nano | None
    root_event: EventShown = Field(description="Its first event")


class TracesTold(Told):
    """A page of traces."""

    traces: list[TraceShown]
    limit: int
    next_cursor: str | None = Field(description="null at the end. A page may have fewer traces than `limit`")
    complete_since: CompleteSince


class TraceTold(Told):
    """One trace with its events."""

    trace_id: str
    spans: list[EventShown]
    next_cursor: str | None
    complete_since: CompleteSince


def list_traces(call: Call) -> TracesTold:
    """A page of the account's traces."""
    asked: Paged = call.query
    listed: tuple[Part, ...] = ("traces", call.account_id, call.bound_customer, call.bound_feature)
    mine = _mine(call)
    with reading(call.parts.engine) as connection:
        floor_ms = complete_since(connection)
        missing = missing_before(floor_ms)
        if connection.scalar(_ANY.where(*_tests(events, mine), _NAMED).limit(1)) is None:
            return TracesTold(traces=[], limit=asked.limit, next_cursor=None, complete_since=missing)
        place = None
        if asked.cursor is not None:
            place = decode_cursor(listed, asked.cursor, (int, int))
        found, following = _newest(connection, mine, floor_ms, place, asked.limit)
        traces = _summed(connection, mine, floor_ms, [row.trace_id for row in found])
    cursor = None if following is None else encode_cursor(listed, following)
    return TracesTold(traces=traces, limit=asked.limit, next_cursor=cursor, complete_since=missing)


def show_trace(call: Call) -> TraceTold:
    """The events of one trace; another account's is not found, as one that does not exist."""
    asked: Paged = call.query
    trace_id = call.path["trace"]
    listed: tuple[Part, ...] = ("trace", call.account_id, trace_id, call.bound_customer, call.bound_feature)
    place = beginning()
    if asked.cursor is not None:
        place = str(decode_cursor(listed, asked.cursor, (str,))[0])
    page = call.parts.events.page(
        after=place,
        limit=asked.limit,
        account_id=call.account_id,
        trace_id=trace_id,
        customer=call.bound_customer,
        feature=call.bound_feature,
    )
    if not page.events and asked.cursor is None:
        raise NotFound("No such trace.")
    with reading(call.parts.engine) as connection:
        rows = with_figures(connection, page.events, page.numbers)[::-1]
        missing = missing_before(complete_since(connection))
    following = None if page.newer is None else encode_cursor(listed, (page.newer,))
    spans = [shown(each) for each in rows]
    return TraceTold(trace_id=trace_id, spans=spans, next_cursor=following, complete_since=missing)


def _mine(call: Call) -> dict[str, str]:
    """The names of the account's events of which the key may know."""
    bound = {"customer": call.bound_customer, "feature": call.bound_feature}
    return {
        "account_id": call.account_id,
        **{name: value for name, value in bound.items() if value is not None},
    }


def _tests(table: FromClause, names: Mapping[str, str]) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in names.items()]


def _newest(
    connection: Connection, mine: Mapping[str, str], floor_ms: int, place: list[Part] | None, limit: int
) -> tuple[list[Any], tuple[int, int] | None]:
    """The traces whose latest events come next, and the place behind them; None at the end.

    Looks at LOOKED_AT_MAX events at most, of which few may be the latest of a trace.
    """
    here = sa.tuple_(events.c.started_ms, events.c.seq)
    order = (events.c.started_ms.desc(), events.c.seq.desc())
    walked = sa.select(events.c.started_ms, events.c.seq, events.c.trace_id).where(*_tests(events, mine))
    if floor_ms:
        walked = walked.where(events.c.started_ms >= floor_ms)
    if place is not None:
        walked = walked.where(here < sa.tuple_(*place))
    walked = walked.order_by(*order)
    inner = walked.limit(LOOKED_AT_MAX).subquery("walked")
    later = events.alias("later")
    beside = sa.tuple_(later.c.started_ms, later.c.seq) > sa.tuple_(inner.c.started_ms, inner.c.seq)
    has_later = sa.exists().where(
        *_tests(later, mine),
        later.c.trace_id == inner.c.trace_id,
        later.c.trace_id != sa.literal_column("''"),
        beside,
    )
    query = sa.select(inner).where(inner.c.trace_id != sa.literal_column("''"), ~has_later).limit(limit + 1)
    rows = list(connection.execute(query.order_by(inner.c.started_ms.desc(), inner.c.seq.desc())))
    if len(rows) > limit:
        last = rows[limit - 1]
        return rows[:limit], (last.started_ms, last.seq)
    end = connection.execute(walked.offset(LOOKED_AT_MAX - 1).limit(1)).first()
    return rows, None if end is None else (end.started_ms, end.seq)


def _summed(
    connection: Connection, mine: Mapping[str, str], floor_ms: int, trace_ids: list[str]
) -> list[TraceShown]:
    """These traces with their sums and their first events, in the order asked for."""
    of_these = [*_tests(events, mine), _NAMED, events.c.trace_id.in_(trace_ids)]
    if floor_ms:
        # Of a sum, so that no index of starts seems to be the way to the few events of these traces.
        of_these.append(events.c.started_ms + 0 >= floor_ms)
    sums = (sa.func.sum(events.c[name]).label(name) for name in _SUMMED)
    query = sa.select(events.c.trace_id, *sums).where(*of_these).group_by(events.c.trace_id)
    found = {row.trace_id: row for row in connection.execute(query)}
    firsts, lasts = (_ends(connection, of_these, ascending=ascending) for ascending in (True, False))
    stored = {each.event.trace_id: each for each in with_figures(connection, list(firsts.values()))}
    told = []
    for trace_id in trace_ids:
        row, last = found.get(trace_id), lasts.get(trace_id)
        root = stored.get(trace_id)
        if row is None or last is None or root is None:
            continue  # removed meanwhile
        first = root.event
        told.append(
            TraceShown(
                trace_id=trace_id,
                start_time=moment_text(first.started_ms) or "",
                last_seen=moment_text(last.started_ms) or "",
                total_duration_ms=None if last.ended_ms is None else max(0, last.ended_ms - first.started_ms),
                span_count=int(row.events),
                **money(total_cost=int(row.cost_nano)),
                unpriced_events=int(row.unpriced),
                **money(total_revenue=int(row.revenue_nano) if row.revenue_known else None),
                root_event=shown(root),
            )
        )
    return told


def _ends(connection: Connection, of_these: Sequence[Any], *, ascending: bool) -> Mapping[str, CostEvent]:
    """The first or the latest event of each trace."""
    order = (events.c.started_ms, events.c.seq)
    rank = (
        sa.func.row_number()
        .over(
            partition_by=events.c.trace_id,
            order_by=[each.asc() if ascending else each.desc() for each in order],
        )
        .label("rank")
    )
    ranked = sa.select(events.c.seq, events.c.trace_id, rank).where(*of_these).subquery("ranked")
    query = sa.select(ranked.c.trace_id, event_documents.c.document).join_from(
        ranked, event_documents, ranked.c.seq == event_documents.c.seq
    )
    return {
        row.trace_id: decode(row.document)
        for row in connection.execute(query.where(ranked.c.rank == sa.literal_column("1")))
    }


_SUMMED = ("events", "cost_nano", "unpriced", "revenue_nano", "revenue_known")

TRACES = (
    Endpoint(
        "GET",
        "/api/events/traces",
        SCOPE,
        "Traces, the newest first",
        TAG,
        list_traces,
        answer=TracesTold,
        query=Paged,
        bound="own",
    ),
    Endpoint(
        "GET",
        "/api/events/trace/{trace}",
        SCOPE,
        "The events of a trace in the order of their starts",
        TAG,
        show_trace,
        answer=TraceTold,
        query=Paged,
        bound="own",
    ),
)
