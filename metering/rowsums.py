"""What the rows of limits have counted, according to the record: sums of requests by any of their names.

Whole buckets of a span are summed from rollups where one knows the names, the ragged ends and names that no
rollup knows from single events. Spans may begin at any moment, because windows follow time zones and limits
begin when they are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select

from metering.eventcolumns import events
from metering.ids import CHILD
from metering.removal import check_complete
from metering.rollup import Piece, buckets, pieces
from metering.span import recorded_span
from metering.statement import whole_sum

ROW_COLUMNS = ("account_id", "key_id", "customer", "workspace", "feature", "plan", "trace_id", "route")
_SUMMED = ("cost_nano", "doubted_nano", "input_tokens", "output_tokens", "events")
_ACCOUNT = "account_id"


class Sums(NamedTuple):
    """What requests have counted: nano-USD, tokens, and their number. Input and output are inclusive totals.

    A plain tuple underneath, because a month may give a hundred thousand.
    """

    spent_nano: int
    doubted_nano: int
    input_tokens: int
    output_tokens: int
    requests: int


def row_sums(
    connection: Connection,
    account_id: str,
    columns: Sequence[str],
    where: Mapping[str, str],
    from_ms: int,
    to_ms: int | None,
) -> dict[tuple[str, ...], Sums]:
    """EventStore.row_sums, inside a transaction."""
    _check(columns, where)
    if where.get(_ACCOUNT, account_id) != account_id:
        return {}
    fixed = {name: value for name, value in where.items() if name != _ACCOUNT}
    grouped = [name for name in columns if name != _ACCOUNT]
    span = _span(connection, account_id, from_ms, to_ms)
    if span is None:
        return {}
    first_ms, until_ms, last_ms = span
    parts = pieces(first_ms, until_ms, {*grouped, *fixed})
    if not parts:
        return {}
    for part in parts:
        if part.rollup is None:
            check_complete(connection, part.since_ms, part.until_ms)
    source = sa.union_all(*(_piece(part, account_id, grouped, fixed, last_ms) for part in parts)).subquery()
    names = [
        sa.literal(account_id).label(_ACCOUNT) if name == _ACCOUNT else source.c[name] for name in columns
    ]
    sums = (whole_sum(source.c[name]) for name in _SUMMED)
    query = sa.select(*names, *sums).group_by(*(source.c[name] for name in grouped))
    width = len(columns)
    # Without groups SQL gives one row also where there is nothing.
    return {
        tuple(row[:width]): Sums(*row[width:]) for row in connection.execute(query) if row[-1] is not None
    }


def _check(columns: Sequence[str], where: Mapping[str, str]) -> None:
    for name in (*columns, *where):
        if name not in ROW_COLUMNS or columns.count(name) > 1:
            raise ValueError(
                f"{name!r} is not a name of rows, or is given twice; known: {', '.join(ROW_COLUMNS)}"
            )
    for name, value in where.items():
        if not value:
            raise ValueError(f"{name} is empty: no row counts requests without a name")


def _span(
    connection: Connection, account_id: str, from_ms: int, to_ms: int | None
) -> tuple[int, int | None, int] | None:
    """(from, to, last moment) with ends beyond all events taken to whole days, so that no piece of the
    future or of the time before has to be asked for; None when no event can lie inside."""
    span = recorded_span(connection, account_id)
    if span is None:
        return None
    first_ms, last_ms = span
    if from_ms > last_ms or (to_ms is not None and to_ms <= max(from_ms, first_ms)):
        return None
    return max(from_ms, first_ms), None if to_ms is None or to_ms > last_ms else to_ms, last_ms


def _piece(
    piece: Piece, account_id: str, grouped: Sequence[str], fixed: Mapping[str, str], last_ms: int
) -> Select[Any]:
    """The rows of one piece: the grouped names and what is summed."""
    if piece.rollup is None:
        table, moment = events, events.c.started_ms
        # The span leads to rows that lie together; a name must not look like the better way.
        columns: dict[str, ColumnElement[Any]] = {
            name: sa.func.coalesce(events.c[name], "") for name in {*grouped, *fixed}
        }
        summed = [*(table.c[name] for name in _SUMMED[:-1]), sa.literal_column("1").label(_SUMMED[-1])]
    else:
        table, moment = piece.rollup.table, piece.rollup.table.c.bucket_ms
        columns = dict(table.c.items())
        summed = [table.c[name] for name in _SUMMED]
    query = sa.select(*(table.c[name] for name in grouped), *summed).where(
        table.c.account_id == account_id,
        *(_named(columns[name], name, value) for name, value in fixed.items()),
        *(columns[name] != sa.literal_column("''") for name in grouped if name not in fixed),
    )
    found = buckets(piece, fixed, last_ms)
    if found is not None:
        return query.where(moment.in_(found))
    query = query.where(moment >= piece.since_ms)
    return query if piece.until_ms is None else query.where(moment < piece.until_ms)


def _named(column: ColumnElement[Any], name: str, value: str) -> ColumnElement[bool]:
    """Rows of this name; of a key also those of its children, whose ids begin with it and CHILD."""
    if name != "key_id":
        return column == value
    return sa.or_(column == value, sa.and_(column >= value + CHILD, column < value + chr(ord(CHILD) + 1)))
