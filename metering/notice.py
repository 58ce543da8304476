"""Notices of limits: one of a limit's thresholds was crossed, told once in each window.

The ledger writes them to a stream while it counts; the recorder moves them here. Append-only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Table, Text

from metering.rollup import metadata
from metering.statement import InsertNew

limit_notices = Table(
    "limit_notices",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("account_id", Text, nullable=False),
    Column("limit_id", Text, nullable=False),
    Column("row", Text, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in ("percent", "spent", "value", "at_ms")),
)


@dataclass(frozen=True, slots=True)
class Notice:
    """What was spent of a limit when it crossed `percent` of its value.

    `id`: the shard and the entry's id in its stream, so one notice has one id however often it is read.
    `row`: which of the limit's rows, its id or `<its id>:<scope key>`. `spent` and `value` are nano-USD or a
    count, as the limit's kind says; `at_ms` is the ledger's time.
    """

    id: str
    account_id: str
    limit_id: str
    row: str
    percent: int
    spent: int
    value: int
    at_ms: int


def insert_notices(connection: Connection, notices: Sequence[Notice]) -> int:
    """Add those whose ids are new, and give their number."""
    if not notices:
        return 0
    return _INSERT.add(connection, map(astuple, notices))


def find_notices(connection: Connection, account_id: str, since_ms: int, limit: int) -> list[Notice]:
    """The account's oldest `limit` notices at or after `since_ms`, oldest first."""
    columns = [column for column in limit_notices.columns if column.name != "seq"]
    rows = connection.execute(
        sa.select(*columns)
        .where(limit_notices.c.account_id == account_id, limit_notices.c.at_ms >= since_ms)
        .order_by(limit_notices.c.at_ms, limit_notices.c.seq)
        .limit(limit)
    )
    return [Notice(*row) for row in rows]


_INSERT = InsertNew(limit_notices)
