"""The SQL tables of keys and limits, as metering/migrations/0002_keys.sql makes them, and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text

from accounts.key import KeyLimit, KeyRecord

_metadata = MetaData()

KEYS = Table(
    "keys",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text),
    Column("name", Text),
    Column("digest", Text),
    Column("display", Text),
    Column("version", BigInteger),
    Column("status", Text),
    Column("created_ms", BigInteger),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("scopes", Text),
    Column("customer", Text),
    Column("feature", Text),
    Column("assertion", Text),
    Column("customers", Text),
    Column("features", Text),
    Column("default_customer", Text),
    Column("default_feature", Text),
    Column("on_ledger_down", Text),
)

LIMITS = Table(
    "limits",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text),
    Column("scope", Text),
    Column("scope_id", Text),
    Column("window_kind", Text),
    Column("kind", Text),
    Column("enforcement", Text),
    Column("value_nano", BigInteger),
    Column("version", BigInteger),
    Column("created_ms", BigInteger),
)


def select_keys() -> sa.Select[Any]:
    """Rows of keys, the oldest first."""
    return sa.select(KEYS).order_by(KEYS.c.created_ms, KEYS.c.id)


def select_limits() -> sa.Select[Any]:
    """Rows of limits, the oldest first."""
    return sa.select(LIMITS).order_by(LIMITS.c.created_ms, LIMITS.c.window_kind)


def records_of(connection: Connection, rows: Sequence[Any]) -> list[KeyRecord]:
    """The records of these key rows, each with its limits, read in one query."""
    query = select_limits().where(LIMITS.c.scope == "key")
    if len(rows) == 1:
        query = query.where(LIMITS.c.scope_id == rows[0]["id"])
    limits: dict[str, list[KeyLimit]] = {}
    for row in connection.execute(query).mappings():
        limits.setdefault(row["scope_id"], []).append(limit_of(row))
    return [_record(row, tuple(limits.get(row["id"], ()))) for row in rows]


def _record(row: Any, limits: tuple[KeyLimit, ...]) -> KeyRecord:
    return KeyRecord(
        id=row["id"],
        account_id=row["account_id"],
        name=row["name"],
        version=row["version"],
        status=row["status"],
        expires_ms=row["expires_ms"],
        scopes=tuple(orjson.loads(row["scopes"])),
        customer=row["customer"],
        feature=row["feature"],
        assertion=row["assertion"],
        customers=tuple(orjson.loads(row["customers"])),
        features=tuple(orjson.loads(row["features"])),
        default_customer=row["default_customer"],
        default_feature=row["default_feature"],
        limits=limits,
        on_ledger_down=row["on_ledger_down"] or ("closed" if limits else "open"),
        display=row["display"],
    )


def limit_of(row: Any) -> KeyLimit:
    """The limit in a row."""
    return KeyLimit(
        id=row["id"],
        scope=row["scope"],
        scope_id=row["scope_id"],
        window=row["window_kind"],
        kind=row["kind"],
        enforcement=row["enforcement"],
        value_nano=row["value_nano"],
        version=row["version"],
    )
