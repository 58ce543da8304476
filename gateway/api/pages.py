"""Pages of views: only the rows that are answered are read whole, and the total is a question of its own.

All questions of a page see one moment of the record, so its total is the exact sum of the rows of all pages.
Where no charge belongs to a group (by model, say), the database finds the page. Where charges do (by
customer), the order depends on them: then all groups are read with what a margin is made of, and those of the
page with everything. A view by plans, whose versions are one row, and one by days of a time zone are made
whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection

from billing.charges import Charge
from billing.margin import EVENTS, MarginRow, margin_view
from gateway.api.charges import charges_in
from gateway.api.endpoint import Call
from gateway.api.ordering import Order, Place
from gateway.api.spans import Span
from gateway.api.views import (
    OF_CHARGES,
    Row,
    check_known,
    fitting,
    internal_of,
    joined,
    view_of,
)
from metering.costpage import After, Rank, Wanted, cost_page
from metering.costsums import CostRow, Question, RawKey, cost_by, questions, summed, telling, told
from reports.regroup import Key, nothing

_OF_MARGINS = ("events", "cost_nano", "wasted_nano", "unpriced", "revenue_nano", "revenue_known", "tasks")
_RANKS: Mapping[str, Rank] = {
    "cost": "cost",
    "revenue": "revenue",
    "margin": "margin",
    "requests": "requests",
    "tasks": "tasks",
    "wasted": "wasted",
    "name": "name",
}
"""What the database can sort by. A margin in percent is rounded as it cannot."""


@dataclass(frozen=True, slots=True)
class ViewPage:
    """Rows of a view, how many it has on all pages, their sum, and the place behind the last of the page;
    None at the end."""

    rows: list[Row]
    count: int
    total: Row
    following: Place | None


class _Light(NamedTuple):
    """A group with what its margin is made of, and its tasks."""

    key: Key
    events: int
    cost_nano: int
    wasted_nano: int
    unpriced: int
    revenue_nano: int
    revenue_known: int
    tasks: int


class _Ranked(NamedTuple):
    """What of a group its place depends on."""

    key: Key
    margin: MarginRow
    tasks: int


def page_of(
    call: Call,
    names: Sequence[str],
    span: Span,
    order: Order,
    limit: int,
    after: Place | None,
    where: Mapping[str, str] | None = None,
    time_zone: str = "UTC",
) -> ViewPage:
    """So many rows of the account's view behind a place. `where` and refusals: as for `view_of`."""
    names, where = tuple(names), where or {}
    if "plan" in names or "plan" in where or ("day" in names and time_zone != "UTC"):
        view = view_of(call, names, span, where, time_zone)
        rows, following = order.page(view.rows, limit, after)
        return ViewPage(rows, len(view.rows), view.total, following)
    check_known({*names, *where}, span)
    charges = fitting(charges_in(call, [span], where.get("customer"))[0], where)
    internal = internal_of(call) if "customer" in names else frozenset()
    with call.parts.events.reading() as connection:
        ends = (span.since_ms, span.until_ms, call.account_id, where)
        asked = questions(connection, names, *ends)
        page = None
        if not charges or not set(names) <= set(OF_CHARGES):
            page = _found(connection, asked, names, charges, internal, order, limit, after)
        if page is None:
            page = _chosen(connection, asked, names, charges, internal, order, limit, after)
        everything = cost_by(connection, (), *ends, top=None, from_events=False)
    rows, count, following = page
    return ViewPage(rows, count, joined((), everything, charges).total, following)


_Page = tuple[list[Row], int, Place | None]


def _found(
    connection: Connection,
    asked: Sequence[Question],
    names: Sequence[str],
    charges: Sequence[Charge],
    internal: frozenset[str],
    order: Order,
    limit: int,
    after: Place | None,
) -> _Page | None:
    """The page as the database finds it, beside charges that belong to no group; None where it cannot."""
    rank = _RANKS.get(order.by)
    if rank is None:
        return None
    wanted = Wanted(rank, order.direction == "desc", _after(order, after), limit + 1)
    found = cost_page(connection, asked, names, wanted)
    own = len(margin_view(names, (), charges).rows)
    rows, following = order.page(joined(names, found.rows, charges, internal).rows, limit, after)
    return rows, found.count + own, following


def _after(order: Order, place: Place | None) -> After | None:
    """The place as the groups' own: rows of charges lie behind the groups of the same figure."""
    if place is None:
        return None
    unknown, value, kind, parts = place
    key = tuple(part if named else None for named, part in parts) if kind == EVENTS else None
    if order.by == "name" and order.direction == "desc" and key is None:
        return None
    figure = None if unknown else (value if order.direction == "asc" else -value)
    return After(figure, key)


def _chosen(
    connection: Connection,
    asked: Sequence[Question],
    names: Sequence[str],
    charges: Sequence[Charge],
    internal: frozenset[str],
    order: Order,
    limit: int,
    after: Place | None,
) -> _Page:
    """The page chosen from all groups."""
    tell = telling(names)
    raw: dict[Key, RawKey] = {}
    light: dict[Key, _Light] = {}
    for key, sums in summed(connection, asked, _OF_MARGINS).items():
        shown = tell(key)
        raw[shown] = key
        light[shown] = _Light(shown, *sums)
    view = margin_view(names, light.values(), charges, internal)
    ranked = [
        _Ranked(row.key, row, light[row.key].tasks if row.kind == EVENTS and row.key in light else 0)
        for row in view.rows
    ]
    page, following = order.page(ranked, limit, after)
    wanted = [raw[row.key] for row in page if row.margin.kind == EVENTS and row.key in raw]
    sums_of: dict[Key, CostRow] = {}
    if wanted and names:
        whole = summed(connection, asked, only=wanted)
        sums_of = {row.key: row for row in told(names, whole.items())}
    rows = [
        Row(
            row.margin,
            sums_of.get(row.key, nothing(row.key)) if row.margin.kind == EVENTS else nothing(row.key),
        )
        for row in page
    ]
    return rows, len(view.rows), following
