"""What requests of some customers, or of some features, cost and earned in a span of time.

Sums are of whole buckets of rollups and of single events at the span's ragged ends, as everywhere, so they
are the events' exactly. Beside the revenue of the events themselves stands what customers owe beside them:
all of it in the margins of customers, and charges by period in those of features; a plan's own price belongs
to no feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from accounts.profilebook import internal_customers
from accounts.publishing import wall_ms
from billing.charges import Charge
from billing.margin import MarginRow, margin_view
from gateway.api.fields import Asked, Moment, money
from gateway.api.spans import DAYS_USUAL, Span
from gateway.errors import BadRequest
from metering.costsums import CostRow
from metering.eventcolumns import events
from metering.money import half_even
from metering.removal import check_complete
from metering.rollup import DAY_MS, MEASURES, Piece, pieces
from metering.statement import whole_sum

Group = Literal["customer", "feature"]
_OTHER: dict[Group, Group] = {"customer": "feature", "feature": "customer"}


class FiguresAsked(Asked):
    """Of which requests figures are: begun in [date_from, date_to); by default of the last 30 days."""

    date_from: Moment | None = None
    date_to: Moment | None = None


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """Of one customer or feature. `others`: how many features it used, or customers used it.

    `last_seen_ms`: when its last request began, in the span or not; None where there is none.
    """

    sums: CostRow
    margin: MarginRow
    others: int
    last_seen_ms: int | None

    def fields(self) -> dict[str, Any]:
        """As answers have them."""
        margin, count = self.margin, self.sums.events
        cost_nano = margin.cost_nano
        average = None if not count or cost_nano is None else half_even(cost_nano, count)
        return {
            "event_count": count,
            **money(total_cost=cost_nano, avg_cost_per_event=average),
            "unpriced_events": self.sums.unpriced,
            **money(total_revenue=margin.revenue_nano, margin=margin.margin_nano),
            "total_usage": self.sums.input_tokens + self.sums.output_tokens,
            "margin_pct": margin.margin_pct,
            "margin_reason": margin.reason,
        }


def figures_span(since_ms: int | None, until_ms: int | None) -> Span:
    """The asked span, by default the last 30 days to the millisecond. BadRequest where it is empty."""
    until_ms = wall_ms() if until_ms is None else until_ms
    since_ms = max(0, until_ms - DAYS_USUAL * DAY_MS) if since_ms is None else since_ms
    if since_ms >= until_ms:
        raise BadRequest("The span is empty: date_from is not before date_to.", param="date_from")
    return Span(since_ms, until_ms)


def figures_of(
    connection: Connection,
    account_id: str,
    group: Group,
    names: Sequence[str],
    span: Span,
    charges: Sequence[Charge] = (),
) -> dict[str, GroupFigures]:
    """The figures of each of these names, also of those without a request. `charges`: of the span. Raises
    EventsRemoved."""
    other = _OTHER[group]
    parts = pieces(span.since_ms, span.until_ms, (group, other))
    for part in parts:
        if part.rollup is None:
            check_complete(connection, part.since_ms, part.until_ms)
    found: dict[str, tuple[list[int], set[str]]] = {name: ([0] * len(MEASURES), set()) for name in names}
    if names and parts:
        source = sa.union_all(*(_piece(part, account_id, group, other, names) for part in parts)).subquery()
        keys = (source.c[group], source.c[other])
        query = sa.select(*keys, *(whole_sum(source.c[name]) for name in MEASURES)).group_by(*keys)
        for row in connection.execute(query):
            sums, others = found[row[0]]
            for place, amount in enumerate(row[2:]):
                sums[place] += amount
            if row[1]:
                others.add(row[1])
    internal = internal_customers(connection, account_id, names) if group == "customer" else frozenset()
    told = {}
    for name, (sums, others) in found.items():
        group_sums = CostRow((name,), **dict(zip(MEASURES, sums, strict=True)))
        mine = [each for each in charges if getattr(each, group) == name]
        (margin,) = margin_view((group,), [group_sums], mine, internal).rows
        told[name] = GroupFigures(
            group_sums, margin, len(others), _last_seen(connection, account_id, group, name)
        )
    return told


def named_in_events(
    connection: Connection, account_id: str, group: Group, after: str, limit: int
) -> list[str]:
    """The next names that recorded requests have, in order. Each is one step in an index, however many
    requests have it."""
    column = events.c[group]
    mine = events.c.account_id == account_id
    first = sa.select(sa.func.min(column).label("name")).where(mine, column > after)
    names = first.cte("names", recursive=True)
    following = sa.select(sa.func.min(column)).where(mine, column > names.c.name).scalar_subquery()
    names = names.union_all(sa.select(following).where(names.c.name.is_not(None)))
    query = sa.select(names.c.name).where(names.c.name.is_not(None)).limit(limit)
    return list(connection.scalars(query))


def _last_seen(connection: Connection, account_id: str, group: Group, name: str) -> int | None:
    query = sa.select(sa.func.max(events.c.started_ms)).where(
        events.c.account_id == account_id, events.c[group] == name
    )
    found: int | None = connection.scalar(query)
    return found


def _piece(piece: Piece, account_id: str, group: Group, other: Group, names: Sequence[str]) -> sa.Select[Any]:
    table = events if piece.rollup is None else piece.rollup.table
    moment = table.c.started_ms if piece.rollup is None else table.c.bucket_ms
    query = sa.select(table.c[group], table.c[other], *(table.c[name] for name in MEASURES)).where(
        table.c.account_id == account_id, table.c[group].in_(names), moment >= piece.since_ms
    )
    return query if piece.until_ms is None else query.where(moment < piece.until_ms)
