"""Cost by dimensions: the sums that reports are made of, from rollups where one knows the dimensions.

A span is answered piece by piece (metering.rollup.pieces), and each piece is grouped in the order in which
its table lies; what the pieces have in common is added up here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import add
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import BigInteger, ColumnElement, Connection, Select, Table

from metering.eventcolumns import events
from metering.removal import check_complete
from metering.rollup import DAY_MS, DIMENSIONS, HOUR_MS, MEASURES, WEEK_MS, Piece, buckets, pieces
from metering.span import recorded_span
from metering.statement import whole_sum

_BUCKETS = {"day": DAY_MS, "hour": HOUR_MS}
_Key = tuple[Any, ...]
_COST, _EVENTS = MEASURES.index("cost_nano"), MEASURES.index("events")
_COLUMNS = {name: "key_id" if name == "key" else name for name in DIMENSIONS if name not in _BUCKETS}


class CostRow(NamedTuple):
    """Summed measures of the events that share `key`, one value for each dimension asked (None: absent).

    `units` is what prices per unit count. `cost_nano` sums what is known, corrections included; of `unpriced`
    events that is not the whole cost. `unknown_nano` is how much the true cost may lie above. `revenue_nano`
    sums the `revenue_known` events that have one. `tasks` count where their first event lies, whatever the
    names of their other events.
    """

    key: tuple[str | None, ...]
    events: int
    successes: int
    failures: int
    attempts: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    units: int
    cost_nano: int
    wasted_nano: int
    unpriced: int
    unknown_nano: int
    doubted_nano: int
    revenue_nano: int
    revenue_known: int
    tasks: int
    task_successes: int


def cost_by(
    connection: Connection,
    dimensions: Sequence[str],
    since_ms: int | None,
    until_ms: int | None,
    account_id: str,
    where: Mapping[str, str],
    *,
    top: int | None,
    from_events: bool,
) -> list[CostRow]:
    """EventStore.cost_by, inside a transaction."""
    _check(dimensions, where)
    columns = [_COLUMNS[name] for name in dimensions if name not in _BUCKETS]
    fixed = {_COLUMNS[name]: value for name, value in where.items()}
    since_ms = since_ms or 0
    size_ms = min((_BUCKETS[name] for name in dimensions if name in _BUCKETS), default=WEEK_MS)
    parts = pieces(since_ms, until_ms, {*columns, *fixed}, size_ms)
    if from_events:
        parts = [Piece(None, since_ms, until_ms)] if parts else []
    for part in parts:
        if part.rollup is None:
            check_complete(connection, part.since_ms, part.until_ms)
    known_span = recorded_span(connection, account_id)
    if known_span is None:
        return []
    last_ms = known_span[1]
    questions = [_Question(part, dimensions, account_id, fixed, last_ms) for part in parts]
    # A bucket that is asked for lies in one piece alone: the dearest of all are among each piece's dearest.
    apart = size_ms != WEEK_MS and all(part.rollup is not None for part in parts)
    found: dict[_Key, tuple[int, ...]] = {}
    for question in questions:
        limit = top if len(questions) == 1 or apart else None
        answer = question.ask(connection, limit)
        if not found:
            found = dict(answer)
            continue
        for key, sums in answer:
            known = found.get(key)
            found[key] = sums if known is None else tuple(map(add, known, sums))
    rows = sorted(found.items(), key=lambda row: (-row[1][_COST], -row[1][_EVENTS], row[0]))
    told = [_TOLD.get(name, _name) for name in dimensions]
    return [
        CostRow(tuple([tell(part) for tell, part in zip(told, key, strict=True)]), *sums)
        for key, sums in (rows if top is None else rows[:top])
    ]


def _check(dimensions: Sequence[str], where: Mapping[str, str]) -> None:
    for name in (*dimensions, *where):
        if name not in DIMENSIONS or dimensions.count(name) > 1:
            raise ValueError(
                f"{name!r} is not a dimension, or is given twice; known: {', '.join(DIMENSIONS)}"
            )
    for name in where:
        if name in _BUCKETS:
            raise ValueError(f"{name!r} is no name to ask for; give the span instead")


class _Question:
    """One piece of the span, asked."""

    def __init__(
        self,
        piece: Piece,
        dimensions: Sequence[str],
        account_id: str,
        fixed: Mapping[str, str],
        last_ms: int,
    ) -> None:
        self._piece = piece
        self._dimensions = dimensions
        self._account_id = account_id
        self._fixed = fixed
        self._last_ms = last_ms
        self._table: Table = events if piece.rollup is None else piece.rollup.table
        self._moment: ColumnElement[Any] = (
            self._table.c.started_ms if piece.rollup is None else self._table.c.bucket_ms
        )

    def ask(self, connection: Connection, limit: int | None) -> list[tuple[_Key, tuple[int, ...]]]:
        """Keys (of day and hour their first moment) and measures; with a limit the dearest alone."""
        keys = {name: self._key(name) for name in self._dimensions}
        query = sa.select(*keys.values(), *(whole_sum(self._table.c[name]) for name in MEASURES))
        query = self._inside(query).group_by(*self._in_the_order_of_the_table(keys))
        if limit is not None:
            cost, count = self._table.c.cost_nano, self._table.c.events
            query = query.order_by(sa.func.sum(cost).desc(), sa.func.sum(count).desc(), *keys.values())
            query = query.limit(limit)
        width = len(keys)
        rows = map(tuple, connection.execute(query).all())
        # Without groups SQL gives one row also where there is nothing.
        return [(row[:width], row[width:]) for row in rows if row[width] is not None]

    def _is_bucket(self, dimension: str) -> bool:
        """Whether the rollup's bucket is the one that is asked for."""
        rollup = self._piece.rollup
        return rollup is not None and rollup.bucket_ms == _BUCKETS.get(dimension)

    def _key(self, dimension: str) -> ColumnElement[Any]:
        if dimension not in _BUCKETS:
            return self._table.c[_COLUMNS[dimension]]
        # A bare column, where it will do, lets the groups be read in the order of the table.
        if self._is_bucket(dimension):
            return self._moment
        return self._moment - self._moment % sa.literal_column(str(_BUCKETS[dimension]), BigInteger)

    def _in_the_order_of_the_table(
        self, keys: Mapping[str, ColumnElement[Any]]
    ) -> Sequence[ColumnElement[Any]]:
        order = ["day", "hour"]
        if self._piece.rollup is not None:
            order += [*self._piece.rollup.columns]

        def place(name: str) -> int:
            column = _COLUMNS.get(name, name)
            return order.index(column) if column in order else len(order)

        return [keys[name] for name in sorted(keys, key=place)]

    def _inside(self, query: Select[Any]) -> Select[Any]:
        piece, table = self._piece, self._table
        query = query.where(table.c.account_id == self._account_id)
        for name, value in self._fixed.items():
            query = query.where(table.c[name] == value)
        found = buckets(piece, self._fixed, self._last_ms)
        if found is not None:
            return query.where(self._moment.in_(found))
        query = query.where(self._moment >= piece.since_ms)
        return query if piece.until_ms is None else query.where(self._moment < piece.until_ms)


def _name(value: str) -> str | None:
    return value or None


@lru_cache(maxsize=4_096)
def _day(moment_ms: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment_ms // 1_000))


@lru_cache(maxsize=4_096)
def _hour(moment_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:00Z", time.gmtime(moment_ms // 1_000))


_TOLD: Mapping[str, Callable[[Any], str | None]] = {"day": _day, "hour": _hour}
