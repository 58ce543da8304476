"""Cost by dimensions: the sums that reports are made of, from rollups where one knows the dimensions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Select

from metering.eventtable import events
from metering.rollup import DAY_MS, DIMENSIONS, MEASURES, Piece, pieces
from metering.statement import whole_sum

_COLUMNS = {name: "key_id" if name == "key" else name for name in DIMENSIONS if name != "day"}


@dataclass(frozen=True, slots=True)
class CostRow:
    """Summed measures of the events that share `key`, one value for each dimension asked (None: absent).

    `cost_nano` sums what is known, corrections included; of `unpriced` events that is not the whole cost.
    `unknown_nano` is how much the true cost may lie above. `revenue_nano` sums the `revenue_known` events
    that have one.
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
    cost_nano: int
    wasted_nano: int
    unpriced: int
    unknown_nano: int
    doubted_nano: int
    revenue_nano: int
    revenue_known: int


def cost_by(
    connection: Connection,
    dimensions: Sequence[str],
    since_ms: int | None,
    until_ms: int | None,
    account_id: str,
    *,
    from_events: bool,
) -> list[CostRow]:
    """EventStore.cost_by, inside a transaction."""
    for name in dimensions:
        if name not in DIMENSIONS or dimensions.count(name) > 1:
            raise ValueError(
                f"{name!r} is not a dimension, or is given twice; known: {', '.join(DIMENSIONS)}"
            )
    columns = [_COLUMNS[name] for name in dimensions if name != "day"]
    since_ms = since_ms or 0
    parts = [Piece(None, since_ms, until_ms)] if from_events else pieces(since_ms, until_ms, columns)
    if not parts:
        return []
    source = sa.union_all(*(_measures_of(piece, columns, account_id) for piece in parts)).subquery()
    keys = [source.c[_COLUMNS.get(name, name)] for name in dimensions]
    query = sa.select(*keys, *(whole_sum(source.c[name]) for name in MEASURES)).group_by(*keys)
    found = connection.execute(query).all()
    width = len(keys)
    rows = [
        CostRow(tuple(map(_key_part, dimensions, row[:width])), *row[width:]) for row in found if row[width]
    ]
    rows.sort(key=lambda row: (-row.cost_nano, -row.events, [part or "" for part in row.key]))
    return rows


def _measures_of(piece: Piece, columns: Sequence[str], account_id: str) -> Select[Any]:
    """The rows of one piece: the columns, the UTC day as a number, and the measures."""
    table = events if piece.rollup is None else piece.rollup.table
    moment = table.c.started_ms if piece.rollup is None else table.c.bucket_ms
    query = sa.select(
        *(table.c[name] for name in columns),
        (moment // DAY_MS).label("day"),
        *(table.c[name] for name in MEASURES),
    ).where(table.c.account_id == account_id, moment >= piece.since_ms)
    if piece.until_ms is not None:
        query = query.where(moment < piece.until_ms)
    return query


def _key_part(dimension: str, value: str | int) -> str | None:
    if dimension == "day":
        return time.strftime("%Y-%m-%d", time.gmtime(int(value) * DAY_MS // 1000))
    return str(value) or None
