"""Events summed by one of their names.

    GET /api/events/by-feature  by-customer  by-model        from rollups, the dearest first
    GET /api/events/by-agent  /api/events/by-cost-type       from the events of a short span

Revenue is that of the events; the fees of plans belong to no event, and stand in the analytics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import time
from typing import Annotated, Any

import orjson
import sqlalchemy as sa
from pydantic import Field
from sqlalchemy import Connection

from accounts.profilebook import internal_customers
from billing.margin import MarginRow, margin_view
from gateway.api.cursor import Part, decode_cursor, encode_cursor
from gateway.api.endpoint import Call, Endpoint
from gateway.api.eventfigures import reading
from gateway.api.events import SCOPE, TAG
from gateway.api.eventview import cost_type
from gateway.api.fields import (
    Asked,
    Moment,
    MomentText,
    Nano,
    Paged,
    Told,
    Usd,
    moment_text,
    money,
)
from gateway.api.figures import Percent
from gateway.errors import BadRequest
from metering.costsums import CostRow
from metering.event import decode
from metering.eventcolumns import event_documents, events
from metering.removal import check_complete

DAY_MS = 86_400_000
READ_MAX = 100_000
"""So many events are read one by one for a question that no rollup answers."""
AT_ONCE = 1_000
_COLUMN = {"customer": "customer", "feature": "feature", "model": "model"}


class GroupsAsked(Paged):
    """Of which span."""

    date_from: Annotated[Moment | None, Field(description="Begun then or later; all by default")] = None
    date_to: Annotated[Moment | None, Field(description="Begun before then")] = None


class GroupShown(Told):
    """The sums of the events that share a name. Revenue is of the events; plans' fees belong to no event."""

    key: str | None = Field(description="The name; null for events without one")
    event_count: int
    total_cost: Usd = Field(description="What is known of it")
    total_cost_nano: Nano
    wasted: Usd
    wasted_nano: Nano
    unpriced_events: int = Field(description="Events whose cost is not known")
    total_revenue: Usd | None
    total_revenue_nano: Nano | None
    margin: Usd | None
    margin_nano: Nano | None
    margin_pct: Percent | None = Field(description="Percent of the revenue; null where that is 0")
    margin_reason: str | None = Field(description="Why the margin is null or of a part only")
    total_usage: int = Field(description="Units: tokens where nothing else was told")
    input_tokens: int
    output_tokens: int
    tasks: int
    task_successes: int
    last_seen: MomentText | None


class GroupsTold(Told):
    """Groups, the dearest first."""

    rows: list[GroupShown]
    next_cursor: str | None


class SpanAsked(Asked):
    """A span of days up to now, or between two moments."""

    days: Annotated[int, Field(ge=1, le=366, description="Up to now, where no moments are given")] = 30
    date_from: Moment | None = None
    date_to: Moment | None = None

    def bounds(self) -> tuple[int, int | None]:
        """[from, to) in milliseconds; None: without end."""
        if self.date_from is not None or self.date_to is not None:
            return self.date_from or 0, self.date_to
        return int(time() * 1_000) - self.days * DAY_MS, None


class AgentShown(Told):
    """The sums of one agent's events."""

    key: str | None = Field(description="The agent; null for events without one")
    event_count: int
    total_cost: Usd
    total_cost_nano: Nano
    unpriced_events: int
    total_revenue: Usd | None
    total_revenue_nano: Nano | None
    total_usage: int
    last_seen: MomentText | None


class AgentsTold(Told):
    """Agents, the dearest first."""

    rows: list[AgentShown]


class CostTypeShown(Told):
    """The sums of one kind of cost."""

    cost_type: str
    event_count: int
    total_cost: Usd
    total_cost_nano: Nano
    unpriced_events: int
    total_revenue: Usd | None
    total_revenue_nano: Nano | None
    total_usage: int


class CostTypesTold(Told):
    """Kinds of cost, the dearest first."""

    breakdown: list[CostTypeShown]


def by(dimension: str) -> Callable[[Call], GroupsTold]:
    """A handler that groups by this name."""

    def grouped(call: Call) -> GroupsTold:
        asked: GroupsAsked = call.query
        where = _bound(call)
        listed: tuple[Part, ...] = (
            *("by", dimension, call.account_id, call.bound_customer, call.bound_feature),
            *(asked.date_from, asked.date_to),
        )
        rows = call.parts.events.cost_by(
            [dimension],
            asked.date_from,
            asked.date_to,
            account_id=call.account_id,
            where=where,
            top=asked.limit + 1 if asked.cursor is None else None,
        )
        if asked.cursor is not None:
            cost, number, key = decode_cursor(listed, asked.cursor, (int, int, str))
            rows = [row for row in rows if _place(row) > (-int(cost or 0), -int(number or 0), str(key or ""))]
        shown = rows[: asked.limit]
        with reading(call.parts.engine) as connection:
            names = [row.key[0] for row in shown if row.key[0] is not None]
            internal = internal_customers(connection, call.account_id, names)
            margins = {row.key: row for row in margin_view((dimension,), shown, (), internal).rows}
            last = [
                _last_seen(connection, call.account_id, {**where, dimension: row.key[0] or ""})
                for row in shown
            ]
        following = None
        if len(rows) > asked.limit:
            cost, number, key = _place(shown[-1])
            following = encode_cursor(listed, (-cost, -number, key))
        told = [_shown(row, margins[row.key], at) for row, at in zip(shown, last, strict=True)]
        return GroupsTold(rows=told, next_cursor=following)

    return grouped


def by_agent(call: Call) -> AgentsTold:
    """The account's events by agent."""
    found = _read(call, lambda event, _document: event.get("agent_id"))
    return AgentsTold(
        rows=[
            AgentShown(key=key, last_seen=moment_text(each.last_ms), **each.told())
            for key, each in _dearest(found)
        ]
    )


def by_cost_type(call: Call) -> CostTypesTold:
    """The account's events by kind of cost."""
    found = _read(call, lambda _event, document: cost_type(decode(document)))
    return CostTypesTold(
        breakdown=[CostTypeShown(cost_type=key or "", **each.told()) for key, each in _dearest(found)]
    )


def _bound(call: Call) -> dict[str, str]:
    bound = {"customer": call.bound_customer, "feature": call.bound_feature}
    return {name: value for name, value in bound.items() if value is not None}


def _place(row: CostRow) -> tuple[int, int, str]:
    return -row.cost_nano, -row.events, row.key[0] or ""


def _last_seen(connection: Connection, account_id: str, names: Mapping[str, str]) -> int | None:
    newest = sa.select(events.c.started_ms).where(events.c.account_id == account_id)
    newest = newest.where(*(events.c[_COLUMN[name]] == value for name, value in names.items()))
    found: int | None = connection.scalar(newest.order_by(events.c.started_ms.desc()).limit(1))
    return found


def _shown(row: CostRow, margin: MarginRow, last_ms: int | None) -> GroupShown:
    return GroupShown(
        key=row.key[0],
        event_count=row.events,
        **money(total_cost=row.cost_nano, wasted=row.wasted_nano),
        unpriced_events=row.unpriced,
        **money(total_revenue=margin.revenue_nano, margin=margin.margin_nano),
        margin_pct=margin.margin_pct,
        margin_reason=margin.reason,
        total_usage=row.units,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        tasks=row.tasks,
        task_successes=row.task_successes,
        last_seen=moment_text(last_ms),
    )


@dataclass(slots=True)
class _Sums:
    """Sums of events that were read one by one."""

    events: int = 0
    cost_nano: int = 0
    unpriced: int = 0
    revenue_nano: int = 0
    revenue_known: int = 0
    units: int = 0
    last_ms: int = 0

    def told(self) -> dict[str, Any]:
        return {
            "event_count": self.events,
            **money(total_cost=self.cost_nano),
            "unpriced_events": self.unpriced,
            **money(total_revenue=self.revenue_nano if self.revenue_known else None),
            "total_usage": self.units,
        }


def _read(call: Call, key_of: Callable[[dict[str, Any], str], str | None]) -> dict[str | None, _Sums]:
    """The events of the span one by one, summed. BadRequest where they are more than READ_MAX,
    EventsRemoved where some were removed for their age."""
    since_ms, until_ms = call.query.bounds()
    figures = ("started_ms", "cost_nano", "unpriced", "revenue_nano", "revenue_known", "units")
    query = (
        sa.select(*(events.c[name] for name in figures), event_documents.c.document)
        .join_from(events, event_documents, events.c.seq == event_documents.c.seq)
        .where(events.c.account_id == call.account_id, events.c.started_ms >= since_ms)
        .where(*(events.c[name] == value for name, value in _bound(call).items()))
        .limit(READ_MAX + 1)
        .execution_options(yield_per=AT_ONCE)
    )
    if until_ms is not None:
        query = query.where(events.c.started_ms < until_ms)
    found: dict[str | None, _Sums] = {}
    with reading(call.parts.engine) as connection:
        check_complete(connection, since_ms, until_ms, documents=True)
        for number, row in enumerate(connection.execute(query)):
            if number == READ_MAX:
                raise BadRequest(
                    f"This span has more than {READ_MAX} events, which have to be read one by one for this; "
                    "ask for a shorter one with date_from and date_to.",
                    code="span_too_long",
                    param="date_from",
                )
            sums = found.setdefault(key_of(orjson.loads(row.document), row.document), _Sums())
            sums.events += 1
            sums.cost_nano += row.cost_nano
            sums.unpriced += row.unpriced
            sums.revenue_nano += row.revenue_nano
            sums.revenue_known += row.revenue_known
            sums.units += row.units
            sums.last_ms = max(sums.last_ms, row.started_ms)
    return found


def _dearest(found: Mapping[str | None, _Sums]) -> Iterable[tuple[str | None, _Sums]]:
    return sorted(found.items(), key=lambda item: (-item[1].cost_nano, -item[1].events, item[0] or ""))


GROUPINGS = (
    *(
        Endpoint(
            "GET",
            f"/api/events/by-{dimension}",
            SCOPE,
            f"Events summed by {dimension}, the dearest first",
            TAG,
            by(dimension),
            answer=GroupsTold,
            query=GroupsAsked,
            bound="own",
        )
        for dimension in ("feature", "customer", "model")
    ),
    Endpoint(
        "GET",
        "/api/events/by-agent",
        SCOPE,
        "Events summed by agent",
        TAG,
        by_agent,
        answer=AgentsTold,
        query=SpanAsked,
        description=f"Reads the events one by one: for spans of up to {READ_MAX} events.",
        bound="own",
    ),
    Endpoint(
        "GET",
        "/api/events/by-cost-type",
        SCOPE,
        "Events summed by kind of cost",
        TAG,
        by_cost_type,
        answer=CostTypesTold,
        query=SpanAsked,
        description="Kinds are told with events, else they are llm, embedding or generic. Reads the events "
        f"one by one: for spans of up to {READ_MAX} events.",
        bound="own",
    ),
)
