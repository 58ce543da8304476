"""The SQL tables of keys and limits, as metering/migrations leave them, and their rows."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text

from accounts.key import ALPHABET, KeyLimit, KeyRecord
from accounts.terms import Holder, NewLimit, holder_of
from metering.ids import CHILD, key_and_above

_metadata = MetaData()
_IDS_MAX = 1_000
"""How many ids one query names: statements have a limit of parameters."""

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
    Column("allowance_nano", BigInteger),
    Column("routes", Text),
    Column("models", Text),
    Column("sources", Text),
    Column("required", Text),
)

FORMER_SECRETS = Table(
    "former_secrets",
    _metadata,
    Column("digest", Text, primary_key=True),
    Column("key_id", Text),
    Column("display", Text),
    Column("ends_ms", BigInteger),
)

LIMITS = Table(
    "limits",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text),
    Column("scope_id", Text),
    Column("window_kind", Text),
    Column("kind", Text),
    Column("enforcement", Text),
    Column("value", BigInteger),
    Column("version", BigInteger),
    Column("time_zone", Text),
    Column("anchor", BigInteger),
    Column("thresholds", Text),
    Column("created_ms", BigInteger),
    Column("account_id", Text),
    Column("holder", Text),
    Column("holder_id", Text),
)
_FIELDS, _THRESHOLDS = len(KeyLimit.__slots__), KeyLimit.__slots__.index("thresholds")
"""A limit's fields, in their order, are the first columns."""

ACCOUNT_TERMS = Table(
    "account_terms",
    _metadata,
    Column("account_id", Text, primary_key=True),
    Column("version", BigInteger),
)

CUSTOMER_TERMS = Table(
    "customer_terms",
    _metadata,
    Column("account_id", Text, primary_key=True),
    Column("customer", Text, primary_key=True),
    Column("version", BigInteger),
)

OLDEST_FIRST = (LIMITS.c.created_ms, LIMITS.c.kind, LIMITS.c.window_kind, LIMITS.c.id)


class KeyNotFound(LookupError):
    """No key has this id, or several have ids that begin like it; the text says which."""


def select_keys() -> sa.Select[Any]:
    """Rows of keys, the oldest first."""
    return sa.select(KEYS).order_by(KEYS.c.created_ms, KEYS.c.id)


def select_limits() -> sa.Select[Any]:
    """Rows of limits, the oldest first."""
    return sa.select(LIMITS).order_by(*OLDEST_FIRST)


def held_by(account_id: str, holder: Holder, ids: Sequence[str]) -> sa.ColumnElement[bool]:
    """The limits in the documents of these holders."""
    return sa.and_(LIMITS.c.account_id == account_id, LIMITS.c.holder == holder, LIMITS.c.holder_id.in_(ids))


def limits_held(connection: Connection, which: sa.ColumnElement[bool]) -> dict[str, list[KeyLimit]]:
    """These limits, the oldest first, by the id of their holder."""
    found: dict[str, list[KeyLimit]] = {}
    for row in connection.execute(select_limits().where(which)):
        found.setdefault(row.holder_id, []).append(limit_of(row))
    return found


def key_and_below(key_id: str) -> sa.ColumnElement[bool]:
    """The key and all its children, and theirs."""
    after = key_id + chr(ord(CHILD) + 1)
    return sa.or_(KEYS.c.id == key_id, sa.and_(KEYS.c.id >= key_id + CHILD, KEYS.c.id < after))


def begins_with(column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
    """Whether the column begins so, letter by letter. (LIKE means other letters on each engine.)"""
    return sa.func.substr(column, 1, len(text)) == text


def records_of(connection: Connection, rows: Sequence[Any]) -> list[KeyRecord]:
    """The records of these key rows of one account, each with its limits and those of the keys above it."""
    limits: dict[str, list[KeyLimit]] = {}
    ids = list(dict.fromkeys(each for row in rows for each in key_and_above(row["id"])))
    for start in range(0, len(ids), _IDS_MAX):
        mine = held_by(rows[0]["account_id"], "key", ids[start : start + _IDS_MAX])
        limits |= limits_held(connection, mine)
    return [
        _record(row, tuple(limit for each in key_and_above(row["id"]) for limit in limits.get(each, ())))
        for row in rows
    ]


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
        allowance_nano=row["allowance_nano"],
        ledger_down_chosen=row["on_ledger_down"] is not None,
        routes=tuple(orjson.loads(row["routes"])),
        models=tuple(orjson.loads(row["models"])),
        sources=tuple(orjson.loads(row["sources"])),
        required=tuple(orjson.loads(row["required"])),
    )


def key_row(record: KeyRecord) -> dict[str, Any]:
    """What of a key's row an operator chooses."""
    return {
        "name": record.name,
        "expires_ms": record.expires_ms,
        "scopes": _list(record.scopes),
        "customer": record.customer,
        "feature": record.feature,
        "assertion": record.assertion,
        "customers": _list(record.customers),
        "features": _list(record.features),
        "default_customer": record.default_customer,
        "default_feature": record.default_feature,
        "on_ledger_down": record.on_ledger_down if record.ledger_down_chosen else None,
        "allowance_nano": record.allowance_nano,
        "routes": _list(record.routes),
        "models": _list(record.models),
        "sources": _list(record.sources),
        "required": _list(record.required),
    }


def _list(words: Sequence[str]) -> str:
    return orjson.dumps(words).decode()


def limit_of(row: Any) -> KeyLimit:
    """The limit in a row of `select_limits`, whose first columns are the limit's fields."""
    fields = list(row[:_FIELDS])
    fields[_THRESHOLDS] = () if fields[_THRESHOLDS] == "[]" else tuple(orjson.loads(fields[_THRESHOLDS]))
    return KeyLimit(*fields)


def new_limit(scope: str, scope_id: str, wish: NewLimit, now_ms: int) -> KeyLimit:
    """A limit with an id of its own that counts from now on."""
    return KeyLimit(
        id=new_id("lim_"),
        scope=scope,
        scope_id=scope_id,
        window=wish.window,
        kind=wish.kind,
        enforcement=wish.enforcement,
        value=wish.value,
        time_zone=wish.time_zone,
        anchor=wish.anchor,
        thresholds=wish.thresholds,
        created_ms=now_ms,
    )


def row_of(account_id: str, limit: KeyLimit) -> dict[str, Any]:
    """The limit as a row."""
    holder, holder_id = holder_of(account_id, limit.scope, limit.scope_id)
    return {
        "id": limit.id,
        "account_id": account_id,
        "scope": limit.scope,
        "scope_id": limit.scope_id,
        "kind": limit.kind,
        "window_kind": limit.window,
        "time_zone": limit.time_zone,
        "anchor": limit.anchor,
        "enforcement": limit.enforcement,
        "value": limit.value,
        "thresholds": orjson.dumps(limit.thresholds).decode(),
        "version": limit.version,
        "created_ms": limit.created_ms,
        "holder": holder,
        "holder_id": holder_id,
    }


def new_id(prefix: str) -> str:
    """The prefix and 16 random letters and digits."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(16))


def touch(connection: Connection, account_id: str, customer: str | None = None) -> None:
    """Make copies of the customer's document stale, or of the account's."""
    table = ACCOUNT_TERMS if customer is None else CUSTOMER_TERMS
    mine = {"account_id": account_id} | ({} if customer is None else {"customer": customer})
    where = [table.c[name] == value for name, value in mine.items()]
    changed = connection.execute(sa.update(table).where(*where).values(version=table.c.version + 1))
    if not changed.rowcount:
        connection.execute(sa.insert(table).values(version=1, **mine))
