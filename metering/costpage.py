"""One page of groups of a span, in the order of a figure, and how many groups there are.

The database finds the page by the few measures that order it, and sums the others for the groups of the page
alone. Where days or hours are told apart, a group of the large piece of the span is in no other one, and the
ragged ends have few: then the page is that of the large piece, among the groups of the ends. Else the pieces
are added up by the database.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, FromClause, Select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from metering.costsums import BUCKETS, CostRow, Question, RawKey, raw_key, summed, told
from metering.statement import whole_sum

Sums = ReadOnlyColumnCollection[str, Any]
"""The columns of `_groups`."""
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
) -> GroupPage:
    """The page of the groups that the questions tell of.

    `asked`: of metering.costsums.questions, by at least one name, inside one transaction.
    """
    if not asked:
        return GroupPage([], 0)
    large = _large(asked, dimensions)
    parts = asked if large is None else [large]
    ends = {} if large is None else summed(connection, [each for each in asked if each is not large])
    groups = _groups(parts, dimensions, _MEASURES_OF[wanted.rank])
    found = connection.execute(_page(groups, dimensions, wanted)).all()
    width = len(dimensions)
    keys: list[RawKey] = [tuple(row[:width]) for row in found]
    rows = summed(connection, parts, only=keys) if keys else {}
    count = found[0][width] if found and len(parts) > 1 else _counted(connection, parts, groups)
    return GroupPage(told(dimensions, [*ends.items(), *rows.items()]), len(ends) + count)


def _counted(connection: Connection, parts: Sequence[Question], groups: FromClause) -> int:
    """How many groups there are; of one piece without its sums."""
    if len(parts) == 1:
        groups = parts[0].grouped(sa.literal_column("1").label("one")).subquery()
    return int(connection.scalar(sa.select(sa.func.count()).select_from(groups)) or 0)


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


def _groups(asked: Sequence[Question], dimensions: Sequence[str], measures: Sequence[str]) -> FromClause:
    """All groups of the pieces together, with these measures, `events` among them. Keys are k0, k1 ..."""
    parts = [_of_piece(each, dimensions, measures) for each in asked]
    if len(parts) == 1:
        return parts[0].subquery("groups")
    source = sa.union_all(*parts).subquery("parts")
    keys = [source.c[f"k{place}"] for place in range(len(dimensions))]
    sums = {name: whole_sum(source.c[name]) for name in measures}
    query = sa.select(*keys, *(each.label(name) for name, each in sums.items())).group_by(*keys)
    # Of some groups all was taken off again: nothing of them lies in the span.
    return query.having(sums["events"] > sa.literal_column("0")).cte("groups")


def _of_piece(asked: Question, dimensions: Sequence[str], measures: Sequence[str]) -> Select[Any]:
    """The groups of one piece; where it is taken off, so are its sums."""
    keys = [asked.keys[name].label(f"k{place}") for place, name in enumerate(dimensions)]
    sums = [asked.sum_of(name) if asked.piece.sign > 0 else -asked.sum_of(name) for name in measures]
    return asked.grouped(*keys, *(each.label(name) for each, name in zip(sums, measures, strict=True)))


def _page(groups: FromClause, dimensions: Sequence[str], wanted: Wanted) -> Select[Any]:
    """The keys of the page, first to last; of pieces that were added up, beside how many groups there are.

    One piece is grouped in its own order faster than all of its groups are kept to be counted, too.
    """
    keys: list[ColumnElement[Any]] = [groups.c[f"k{place}"] for place in range(len(dimensions))]
    query = sa.select(*keys).limit(wanted.limit)
    if isinstance(groups, sa.CTE):
        counted = sa.select(sa.func.count()).select_from(groups.alias("counted"))
        query = query.add_columns(counted.scalar_subquery())
    after = wanted.after
    names = None if after is None or after.key is None else raw_key(dimensions, after.key)
    if wanted.rank == "name":
        query = query.order_by(*(key.desc() if wanted.descending else key for key in keys))
        return query if names is None else query.where(_beyond(keys, names, wanted.descending))
    figure = _FIGURES[wanted.rank](groups.c)
    query = query.order_by(figure.is_(None), figure.desc() if wanted.descending else figure, *keys)
    if after is None:
        return query
    same = sa.false() if names is None else _beyond(keys, names, descending=False)
    if after.figure is None:
        return query.where(sa.and_(figure.is_(None), same))
    further = figure < after.figure if wanted.descending else figure > after.figure
    return query.where(sa.or_(further, sa.and_(figure == after.figure, same), figure.is_(None)))


def _beyond(keys: Sequence[ColumnElement[Any]], names: RawKey, descending: bool) -> ColumnElement[bool]:
    mine, place = sa.tuple_(*keys), sa.tuple_(*names)
    return mine < place if descending else mine > place


def _revenue(sums: Sums) -> ColumnElement[Any]:
    known = sums["revenue_known"] > sa.literal_column("0")
    return sa.case((known, sums["revenue_nano"]), else_=None)


def _margin(sums: Sums) -> ColumnElement[Any]:
    """Revenue less cost; not known where revenue is not, or no event's cost (billing.margin)."""
    zero: ColumnElement[int] = sa.literal_column("0")
    cost, unpriced = sums["cost_nano"], sums["unpriced"]
    no_cost = sa.and_(cost == zero, unpriced != zero, unpriced == sums["events"])
    return sa.case((no_cost, None), else_=_revenue(sums) - cost)


_FIGURES: Mapping[Rank, Callable[[Sums], ColumnElement[Any]]] = {
    "cost": lambda sums: sums["cost_nano"],
    "revenue": _revenue,
    "margin": _margin,
    "requests": lambda sums: sums["events"],
    "tasks": lambda sums: sums["tasks"],
    "wasted": lambda sums: sums["wasted_nano"],
}
_MEASURES_OF: Mapping[Rank, tuple[str, ...]] = {
    "cost": ("events", "cost_nano"),
    "revenue": ("events", "revenue_known", "revenue_nano"),
    "margin": ("events", "revenue_known", "revenue_nano", "cost_nano", "unpriced"),
    "requests": ("events",),
    "tasks": ("events", "tasks"),
    "wasted": ("events", "wasted_nano"),
    "name": ("events",),
}
"""What a figure is made of."""
