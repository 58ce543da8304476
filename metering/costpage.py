"""One page of groups of a span, in the order of a figure, and how many groups there are.

The database finds the page by the one or two measures that order it, and sums the others for the groups of
the page alone. That is possible where all groups lie in one piece of the span, or where days or hours are
told apart: then a group of the large piece is in no other one, and the ragged ends have few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select

from metering.costsums import BUCKETS, CostRow, Question, RawKey, raw_key, summed, told

Rank = Literal["cost", "revenue", "margin", "requests", "tasks", "wasted", "name"]


@dataclass(frozen=True, slots=True)
class After:
    """Where a page begins: behind this figure (None: not known, which comes last), and among groups of the
    same figure behind this key; None: behind all of these."""

    figure: int | None
    key: tuple[str | None, ...] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A page: the order, where it begins, and how many groups it has. By `name` keys alone are compared."""

    rank: Rank
    descending: bool
    after: After | None
    limit: int


@dataclass(frozen=True, slots=True)
class GroupPage:
    """`rows`: all groups of the page, and maybe others from before and behind it, in no order. `count`: of
    all groups."""

    rows: list[CostRow]
    count: int


def cost_page(
    connection: Connection, asked: Sequence[Question], dimensions: Sequence[str], wanted: Wanted
) -> GroupPage | None:
    """The page of the groups that the questions tell of; None where all have to be read to find it.

    `asked`: of metering.costsums.questions, by at least one name, inside one transaction.
    """
    large = _large(asked, dimensions)
    if large is None:
        return None
    ends = summed(connection, [each for each in asked if each is not large])
    keys = [tuple(row) for row in connection.execute(_page(large, dimensions, wanted))]
    rows = large.ask(connection, only=keys) if keys else []
    groups = large.grouped(sa.literal_column("1").label("one")).subquery()
    count = connection.scalar(sa.select(sa.func.count()).select_from(groups))
    return GroupPage(told(dimensions, [*ends.items(), *rows]), len(ends) + int(count or 0))


def _large(asked: Sequence[Question], dimensions: Sequence[str]) -> Question | None:
    """The longest piece in which each of its groups lies wholly."""
    if len(asked) == 1:
        return asked[0]
    size_ms = min((BUCKETS[name] for name in dimensions if name in BUCKETS), default=None)
    found = None
    for each in asked:
        if each.piece.rollup is None or each.piece.rollup.bucket_ms != size_ms or each.piece.sign < 0:
            continue
        if any(_overlap(each, other) for other in asked if other.piece.sign < 0):
            continue
        if found is None or _length(each) > _length(found):
            found = each
    return found


def _overlap(one: Question, other: Question) -> bool:
    return _ends(one)[0] < _ends(other)[1] and _ends(other)[0] < _ends(one)[1]


def _length(question: Question) -> float:
    first_ms, until_ms = _ends(question)
    return until_ms - first_ms


def _ends(question: Question) -> tuple[int, float]:
    piece = question.piece
    return piece.since_ms, math.inf if piece.until_ms is None else piece.until_ms


def _page(large: Question, dimensions: Sequence[str], wanted: Wanted) -> Select[Any]:
    """The keys of the page, first to last."""
    keys = [large.keys[name] for name in dimensions]
    query = large.grouped(*keys).limit(wanted.limit)
    after = wanted.after
    names = None if after is None or after.key is None else raw_key(dimensions, after.key)
    if wanted.rank == "name":
        query = query.order_by(*(key.desc() if wanted.descending else key for key in keys))
        return query if names is None else query.having(_beyond(keys, names, wanted.descending))
    figure = _FIGURES[wanted.rank](large)
    query = query.order_by(figure.is_(None), figure.desc() if wanted.descending else figure, *keys)
    if after is None:
        return query
    same = sa.false() if names is None else _beyond(keys, names, descending=False)
    if after.figure is None:
        return query.having(sa.and_(figure.is_(None), same))
    further = figure < after.figure if wanted.descending else figure > after.figure
    return query.having(sa.or_(further, sa.and_(figure == after.figure, same), figure.is_(None)))


def _beyond(keys: Sequence[ColumnElement[Any]], names: RawKey, descending: bool) -> ColumnElement[bool]:
    mine, place = sa.tuple_(*keys), sa.tuple_(*names)
    return mine < place if descending else mine > place


def _revenue(group: Question) -> ColumnElement[Any]:
    known = group.sum_of("revenue_known") > sa.literal_column("0")
    return sa.case((known, group.sum_of("revenue_nano")), else_=None)


def _margin(group: Question) -> ColumnElement[Any]:
    """Revenue less cost; not known where revenue is not, or no event's cost (billing.margin)."""
    zero: ColumnElement[int] = sa.literal_column("0")
    cost = group.sum_of("cost_nano")
    unpriced = group.sum_of("unpriced")
    no_cost = sa.and_(cost == zero, unpriced != zero, unpriced == group.sum_of("events"))
    return sa.case((no_cost, None), else_=_revenue(group) - cost)


_FIGURES: Mapping[Rank, Callable[[Question], ColumnElement[Any]]] = {
    "cost": lambda group: group.sum_of("cost_nano"),
    "revenue": _revenue,
    "margin": _margin,
    "requests": lambda group: group.sum_of("events"),
    "tasks": lambda group: group.sum_of("tasks"),
    "wasted": lambda group: group.sum_of("wasted_nano"),
}
