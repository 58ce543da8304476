"""Cost by dimensions: the sums that reports are made of, from rollups where one knows the dimensions.

A span is answered piece by piece (metering.rollup.signed_pieces), and each piece is grouped in the order in
which its table lies; what the pieces have in common is added up and taken off here.
"""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import add, sub
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import BigInteger, ColumnElement, Connection, Select, Table

from metering.eventcolumns import events
from metering.removal import check_complete
from metering.rollup import DAY_MS, DIMENSIONS, HOUR_MS, MEASURES, WEEK_MS, Piece, buckets, signed_pieces
from metering.span import recorded_span
from metering.statement import column_sum, is_postgresql

BUCKETS = {"day": DAY_MS, "hour": HOUR_MS}
"""Dimensions that are spans of time, and how long these are."""
RawKey = tuple[Any, ...]
"""A group's names as they lie in the tables: "" for none, of day and hour their first moment."""
RawRow = tuple[RawKey, tuple[int, ...]]
"""A group and its measures."""
_FEW = 20
"""So many values of a name are looked up among single events one by one."""
_COST, _EVENTS = MEASURES.index("cost_nano"), MEASURES.index("events")
_FORMATS = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H:00Z"}
_COLUMNS = {name: "key_id" if name == "key" else name for name in DIMENSIONS if name not in BUCKETS}


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
    asked = questions(connection, dimensions, since_ms, until_ms, account_id, where, from_events=from_events)
    if top is None or len(asked) > 1:
        found = summed(connection, asked)
    else:
        found = dict(row for question in asked for row in question.dearest(connection, top))
    rows = sorted(found.items(), key=lambda row: (-row[1][_COST], -row[1][_EVENTS], row[0]))
    return told(dimensions, rows if top is None else rows[:top])


def questions(
    connection: Connection,
    dimensions: Sequence[str],
    since_ms: int | None,
    until_ms: int | None,
    account_id: str,
    where: Mapping[str, str],
    *,
    of: Sequence[str] | None = None,
    from_events: bool = False,
) -> list[Question]:
    """What has to be asked for the span, piece by piece, for `summed`: of some pieces what they say is taken
    off. `of`: the values of the first dimension that are wanted, "" for none; by default all. Raises
    ValueError, EventsRemoved."""
    _check(dimensions, where)
    columns = [_COLUMNS[name] for name in dimensions if name not in BUCKETS]
    fixed = {_COLUMNS[name]: value for name, value in where.items()}
    since_ms = since_ms or 0
    size_ms = min((BUCKETS[name] for name in dimensions if name in BUCKETS), default=WEEK_MS)
    # Of buckets that are told apart, those from which something is taken off must not be among the others.
    apart = any(name in BUCKETS for name in dimensions)
    parts = signed_pieces(since_ms, until_ms, {*columns, *fixed}, size_ms, apart=apart)
    if from_events:
        parts = [Piece(None, since_ms, until_ms)] if parts else []
    for part in parts:
        if part.rollup is None:
            check_complete(connection, part.since_ms, part.until_ms)
    known_span = recorded_span(connection, account_id)
    if known_span is None:
        return []
    return [Question(part, dimensions, account_id, fixed, known_span[1], of) for part in parts]


def summed(
    connection: Connection,
    asked: Iterable[Question],
    measures: Sequence[str] = MEASURES,
    only: Sequence[RawKey] | None = None,
) -> dict[RawKey, tuple[int, ...]]:
    """What the pieces say of each key (`only` of these), added up and taken off.

    Keys of which nothing is left have no event in the span; `events` are among the measures.
    """
    found: dict[RawKey, tuple[int, ...]] = {}
    emptied: list[RawKey] = []
    for question in asked:
        answer = question.ask(connection, measures, only)
        if not found and question.piece.sign > 0:
            found = dict(answer)
            continue
        combine = add if question.piece.sign > 0 else sub
        for key, sums in answer:
            known = found.get(key)
            if known is None and combine is add:
                found[key] = sums
                continue
            found[key] = left = tuple(map(combine, known or (0,) * len(sums), sums))
            if not any(left):
                emptied.append(key)
    for key in emptied:
        if not any(found.get(key, (1,))):
            del found[key]
    return found


def told(dimensions: Sequence[str], rows: Iterable[RawRow]) -> list[CostRow]:
    """Rows with all measures, as they are answered."""
    tell = telling(dimensions)
    return [CostRow(tell(key), *sums) for key, sums in rows]


def telling(dimensions: Sequence[str]) -> Callable[[RawKey], tuple[str | None, ...]]:
    """What makes of a key of the tables one that is answered: "" is None, a moment the text of its bucket."""
    tellers = [_TOLD.get(name, _name) for name in dimensions]
    return lambda key: tuple([tell(part) for tell, part in zip(tellers, key, strict=True)])


def raw_key(dimensions: Sequence[str], key: Sequence[str | None]) -> RawKey:
    """What `telling` made a key of. ValueError where a day or an hour is none."""
    return tuple(
        (part or "") if name not in BUCKETS else timegm(time.strptime(part or "", _FORMATS[name])) * 1_000
        for name, part in zip(dimensions, key, strict=True)
    )


def _check(dimensions: Sequence[str], where: Mapping[str, str]) -> None:
    for name in (*dimensions, *where):
        if name not in DIMENSIONS or dimensions.count(name) > 1:
            raise ValueError(
                f"{name!r} is not a dimension, or is given twice; known: {', '.join(DIMENSIONS)}"
            )
    for name in where:
        if name in BUCKETS:
            raise ValueError(f"{name!r} is no name to ask for; give the span instead")


class Question:
    """One piece of the span, asked by some names."""

    def __init__(
        self,
        piece: Piece,
        dimensions: Sequence[str],
        account_id: str,
        fixed: Mapping[str, str],
        last_ms: int,
        of: Sequence[str] | None,
    ) -> None:
        self.piece = piece
        self._dimensions = dimensions
        self._account_id = account_id
        self._fixed = fixed
        self._last_ms = last_ms
        self._of = of
        self._table: Table = events if piece.rollup is None else piece.rollup.table
        self._moment: ColumnElement[Any] = (
            self._table.c.started_ms if piece.rollup is None else self._table.c.bucket_ms
        )
        self.keys: dict[str, ColumnElement[Any]] = {name: self._key(name) for name in dimensions}

    def sum_of(self, measure: str) -> ColumnElement[int]:
        """The measure of a group."""
        return column_sum(self._table.c[measure])

    def grouped(self, *columns: ColumnElement[Any]) -> Select[Any]:
        """These columns of each group."""
        query = self._inside(sa.select(*columns))
        return query.group_by(*self._in_the_order_of_the_table(self.keys))

    def ask(
        self,
        connection: Connection,
        measures: Sequence[str] = MEASURES,
        only: Sequence[RawKey] | None = None,
    ) -> list[RawRow]:
        """The groups with these measures; `only` those of these keys."""
        if self._table is events and self.keys and tuple(measures) == ("events",):
            return self._rows(connection, self._counting())
        query = self.grouped(*self.keys.values(), *(self.sum_of(name) for name in measures))
        if only is not None:
            query = query.where(sa.tuple_(*self.keys.values()).in_(self._listed(connection, only)))
        return self._rows(connection, query)

    def _counting(self) -> Select[Any]:
        """How many events each group has, which the index of starts alone can tell. To read one that is in
        the order of a name, all of the record, must not look like the better way."""
        keys = [
            key if name in BUCKETS else sa.func.coalesce(key, sa.literal_column("''")).label(f"k{place}")
            for place, (name, key) in enumerate(self.keys.items())
        ]
        count = sa.cast(sa.func.count(), BigInteger)
        return self._inside(sa.select(*keys, count)).group_by(*keys)

    def _listed(self, connection: Connection, only: Sequence[RawKey]) -> Any:
        """The keys for IN. PostgreSQL tests a plain list key by key for each row, and joins a table."""
        if not is_postgresql(connection):
            return only
        names = [sa.column(f"k{place}", key.type) for place, key in enumerate(self.keys.values())]
        table = sa.values(*names, name="only").data([tuple(key) for key in only])
        return sa.select(*table.c)

    def dearest(self, connection: Connection, limit: int) -> list[RawRow]:
        """So many groups that cost most, with all measures."""
        query = self.grouped(*self.keys.values(), *(self.sum_of(name) for name in MEASURES))
        order = (self.sum_of("cost_nano").desc(), self.sum_of("events").desc(), *self.keys.values())
        return self._rows(connection, query.order_by(*order).limit(limit))

    def _rows(self, connection: Connection, query: Select[Any]) -> list[RawRow]:
        width = len(self.keys)
        rows = map(tuple, connection.execute(query).all())
        # Without groups SQL gives one row also where there is nothing.
        return [(row[:width], row[width:]) for row in rows if row[width] is not None]

    def _is_bucket(self, dimension: str) -> bool:
        """Whether the rollup's bucket is the one that is asked for."""
        rollup = self.piece.rollup
        return rollup is not None and rollup.bucket_ms == BUCKETS.get(dimension)

    def _key(self, dimension: str) -> ColumnElement[Any]:
        if dimension not in BUCKETS:
            return self._table.c[_COLUMNS[dimension]]
        # A bare column, where it will do, lets the groups be read in the order of the table.
        if self._is_bucket(dimension):
            return self._moment
        return self._moment - self._moment % sa.literal_column(str(BUCKETS[dimension]), BigInteger)

    def _in_the_order_of_the_table(
        self, keys: Mapping[str, ColumnElement[Any]]
    ) -> Sequence[ColumnElement[Any]]:
        order = ["day", "hour"]
        if self.piece.rollup is not None:
            order += [*self.piece.rollup.columns]

        def place(name: str) -> int:
            column = _COLUMNS.get(name, name)
            return order.index(column) if column in order else len(order)

        return [keys[name] for name in sorted(keys, key=place)]

    def _inside(self, query: Select[Any]) -> Select[Any]:
        piece, table = self.piece, self._table
        query = query.where(table.c.account_id == self._account_id)
        for name, value in self._fixed.items():
            query = query.where(table.c[name] == value)
        named = set(self._fixed)
        if self._of is not None:
            name = _COLUMNS[self._dimensions[0]]
            column: ColumnElement[Any] = table.c[name]
            if table is events and len(self._of) > _FEW:
                # Looked up one by one they lie apart from each other; the span's events lie together.
                column = sa.func.coalesce(column, sa.literal_column("''"))
            query = query.where(column.in_(self._of))
            named.add(name)
        found = buckets(piece, named, self._last_ms)
        if found is not None:
            return query.where(self._moment.in_(found))
        query = query.where(self._moment >= piece.since_ms)
        return query if piece.until_ms is None else query.where(self._moment < piece.until_ms)


def _name(value: str) -> str | None:
    return value or None


@lru_cache(maxsize=4_096)
def _day(moment_ms: int) -> str:
    return time.strftime(_FORMATS["day"], time.gmtime(moment_ms // 1_000))


@lru_cache(maxsize=4_096)
def _hour(moment_ms: int) -> str:
    return time.strftime(_FORMATS["hour"], time.gmtime(moment_ms // 1_000))


_TOLD: Mapping[str, Callable[[Any], str | None]] = {"day": _day, "hour": _hour}
