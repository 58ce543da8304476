"""The keyring: the record of keys and their limits, and its copy where requests are decided.

SQL is the record and is written first, but for what takes something away: a revocation and a lowered limit
go to the enforced copy first, so that nothing is admitted between the two. Every change ends with publishing
what is recorded under the database's write lock, so of two changes at once the copy shows both. Without an
enforced copy (the server is not running) a change is recorded, and `publish_all` at the next start copies it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from accounts.key import (
    ALPHABET,
    ASSERTIONS,
    DEFAULT_SCOPES,
    KeyLimit,
    KeyRecord,
    document_name,
    mint,
)
from accounts.tables import KEYS, LIMITS, limit_of, records_of, select_keys, select_limits
from metering.database import writing

ACCOUNT = "default"


class EnforcedCopy(Protocol):
    """Where requests are decided: what `open` checks of keys, limits, and the documents that callers read.

    Each call is one atomic write. Its errors go to the caller.
    """

    def now_ms(self) -> int:
        """The clock by which requests are decided."""

    def put_key(
        self,
        *,
        account_id: str,
        key_id: str,
        status: str,
        version: int,
        expires_ms: int | None,
        document_name: str,
        document: bytes,
    ) -> None:
        """Publish a key and its document together."""

    def put_limit(self, account_id: str, limit: KeyLimit, *, created_ms: int) -> None:
        """Define or change a limit."""

    def drop_limit(self, account_id: str, limit_id: str) -> None:
        """Forget a limit."""


class KeyNotFound(LookupError):
    """No key has this id, or several have ids that begin like it; the text says which."""


@dataclass(frozen=True, slots=True)
class NewLimit:
    """A limit to be set with a new key."""

    window: str
    value_nano: int
    enforcement: str = "hard"


class Keyring:
    """Keys and their limits. `engine` is on a migrated database; errors of SQL and of the copy are theirs."""

    def __init__(self, engine: Engine, copy: EnforcedCopy | None) -> None:
        self._engine = engine
        self._copy = copy

    def create(
        self,
        name: str,
        *,
        account_id: str = ACCOUNT,
        expires_ms: int | None = None,
        scopes: Sequence[str] = DEFAULT_SCOPES,
        customer: str | None = None,
        feature: str | None = None,
        assertion: str | None = None,
        customers: Sequence[str] = (),
        features: Sequence[str] = (),
        default_customer: str | None = None,
        default_feature: str | None = None,
        limits: Sequence[NewLimit] = (),
        on_ledger_down: str | None = None,
    ) -> tuple[str, KeyRecord]:
        """Make a key; its secret is returned here and never again.

        `assertion` is by default none for a bound key without lists, else listed. `on_ledger_down` is by
        default closed for a key with a limit, else open. ValueError names what cannot be.
        """
        if assertion is None:
            bound = customer is not None or feature is not None
            assertion = "none" if bound and not customers and not features else "listed"
        if assertion not in ASSERTIONS:
            raise ValueError(f"assertion {assertion!r} is unknown; known: {', '.join(ASSERTIONS)}")
        if (customers or features) and assertion != "listed":
            raise ValueError(f"lists of customers or features need the assertion listed, not {assertion}")
        windows = [limit.window for limit in limits]
        if len(set(windows)) < len(windows):
            raise ValueError("a key has at most one limit for each window")
        now_ms = self._now_ms()
        secret, key_digest = mint()
        key_id = _new_id("key_")
        row = {
            "id": key_id,
            "account_id": account_id,
            "name": name,
            "digest": key_digest,
            "display": secret[-4:],
            "version": 1,
            "status": "active",
            "created_ms": now_ms,
            "expires_ms": expires_ms,
            "scopes": _list(scopes),
            "customer": customer,
            "feature": feature,
            "assertion": assertion,
            "customers": _list(customers),
            "features": _list(features),
            "default_customer": default_customer,
            "default_feature": default_feature,
            "on_ledger_down": on_ledger_down,
        }
        with writing(self._engine) as connection:
            connection.execute(sa.insert(KEYS).values(row))
            for wish in limits:
                limit_row = _new_limit_row(account_id, key_id, wish, now_ms)
                connection.execute(sa.insert(LIMITS).values(limit_row))
        self._publish(key_id)
        return secret, self.find(key_id)

    def list(self, account_id: str = ACCOUNT) -> list[KeyRecord]:
        """All keys of the account, the oldest first, revoked ones too."""
        with self._engine.connect() as connection:
            rows = connection.execute(select_keys().where(KEYS.c.account_id == account_id)).mappings().all()
            return records_of(connection, rows)

    def find(self, reference: str, account_id: str = ACCOUNT) -> KeyRecord:
        """The key with this id, or the only one whose id (with or without `key_`) begins like it, or whose
        name it is. Raises KeyNotFound.
        """
        with self._engine.connect() as connection:
            mine = select_keys().where(KEYS.c.account_id == account_id)
            for fits in (
                KEYS.c.id == reference,
                KEYS.c.id.startswith(reference, autoescape=True)
                | KEYS.c.id.startswith(f"key_{reference}", autoescape=True),
                KEYS.c.name == reference,
            ):
                rows = connection.execute(mine.where(fits)).mappings().all() if reference else []
                if len(rows) > 1:
                    ids = ", ".join(row["id"] for row in rows[:5])
                    raise KeyNotFound(f"{reference!r} fits {len(rows)} keys ({ids}); give more of the id")
                if rows:
                    return records_of(connection, rows)[0]
        raise KeyNotFound(f"no key has the id or name {reference!r}; `tollkeeper keys list` shows them")

    def revoke(self, key_id: str) -> KeyRecord:
        """End the key for good, in the enforced copy first. The record is written even if that fails."""
        row = self._row(key_id)
        if row["status"] == "revoked":
            self._publish(key_id)  # perhaps the copy could not be told then
            return self.find(key_id)
        revoked = {"status": "revoked", "version": row["version"] + 1}
        try:
            if self._copy is not None:
                record = replace(self.find(key_id), **revoked)
                self._put(self._copy, record, row["digest"])
        finally:
            with writing(self._engine) as connection:
                change = sa.update(KEYS).where(KEYS.c.id == key_id, KEYS.c.status == "active")
                connection.execute(change.values(**revoked, revoked_ms=self._wall_ms()))
        self._publish(key_id)
        return self.find(key_id)

    def set_limit(
        self, key_id: str, window: str, value_nano: int, enforcement: str | None = None
    ) -> KeyLimit:
        """Set what the key may spend in each such window. A new limit (hard unless told otherwise) counts
        from now on; an existing one keeps what it has counted, and its enforcement unless told otherwise.
        """
        row = self._row(key_id)
        known = {limit.window: limit for limit in self.find(key_id).limits}
        before = known.get(window)
        if before is None:
            wish = NewLimit(window, value_nano, enforcement or "hard")
            values = _new_limit_row(row["account_id"], key_id, wish, self._now_ms())
            with writing(self._engine) as connection:
                connection.execute(sa.insert(LIMITS).values(values))
                _bump(connection, key_id)
            self._publish(key_id)
        else:
            after = replace(
                before,
                value_nano=value_nano,
                enforcement=enforcement or before.enforcement,
                version=before.version + 1,
            )
            if self._copy is not None and value_nano < before.value_nano:
                self._copy.put_limit(row["account_id"], after, created_ms=self._created_ms(before.id))
            with writing(self._engine) as connection:
                change = sa.update(LIMITS).where(LIMITS.c.id == before.id)
                connection.execute(
                    change.values(value_nano=value_nano, enforcement=after.enforcement, version=after.version)
                )
                if after.enforcement != before.enforcement:
                    _bump(connection, key_id)  # workers go by it when they ask; the value they do not need
            self._publish(key_id)
        return next(limit for limit in self.find(key_id).limits if limit.window == window)

    def clear_limit(self, key_id: str, window: str) -> bool:
        """Take the limit away; False when there was none. Running requests still settle on its counters."""
        row = self._row(key_id)
        with writing(self._engine) as connection:
            mine = (LIMITS.c.scope == "key", LIMITS.c.scope_id == key_id, LIMITS.c.window_kind == window)
            limit_id = connection.execute(sa.select(LIMITS.c.id).where(*mine)).scalar()
            if limit_id is None:
                return False
            connection.execute(sa.delete(LIMITS).where(*mine))
            _bump(connection, key_id)
        self._publish(key_id)
        if self._copy is not None:
            self._copy.drop_limit(row["account_id"], limit_id)
        return True

    def list_limits(self, account_id: str = ACCOUNT, key_id: str | None = None) -> Sequence[KeyLimit]:
        """All limits of the account, or of one key, in the order of their making."""
        query = select_limits().where(LIMITS.c.account_id == account_id)
        if key_id is not None:
            query = query.where(LIMITS.c.scope == "key", LIMITS.c.scope_id == key_id)
        with self._engine.connect() as connection:
            return [limit_of(row) for row in connection.execute(query).mappings()]

    def publish_all(self) -> int:
        """Copy every key and limit from the record to the enforced copy; returns the number of keys."""
        if self._copy is None:
            return 0
        return self._copy_out(self._copy, select_keys(), select_limits())

    def _publish(self, key_id: str) -> None:
        """Bring the enforced copy of one key up to the record."""
        if self._copy is not None:
            mine = select_limits().where(LIMITS.c.scope == "key", LIMITS.c.scope_id == key_id)
            self._copy_out(self._copy, select_keys().where(KEYS.c.id == key_id), mine)

    def _copy_out(self, copy: EnforcedCopy, keys: sa.Select[Any], limits: sa.Select[Any]) -> int:
        """Publish limits, then keys, since keys name them; returns the number of keys."""
        with writing(self._engine) as connection:
            for row in connection.execute(limits).mappings():
                copy.put_limit(row["account_id"], limit_of(row), created_ms=row["created_ms"])
            rows = connection.execute(keys).mappings().all()
            for row, record in zip(rows, records_of(connection, rows), strict=True):
                self._put(copy, record, row["digest"])
        return len(rows)

    def _put(self, copy: EnforcedCopy, record: KeyRecord, key_digest: str) -> None:
        copy.put_key(
            account_id=record.account_id,
            key_id=record.id,
            status=record.status,
            version=record.version,
            expires_ms=record.expires_ms,
            document_name=document_name(key_digest),
            document=record.to_document(),
        )

    def _row(self, key_id: str) -> Any:
        with self._engine.connect() as connection:
            row = connection.execute(select_keys().where(KEYS.c.id == key_id)).mappings().first()
        if row is None:
            raise KeyNotFound(f"no key has the id {key_id!r}")
        return row

    def _created_ms(self, limit_id: str) -> int:
        with self._engine.connect() as connection:
            query = sa.select(LIMITS.c.created_ms).where(LIMITS.c.id == limit_id)
            return int(connection.execute(query).scalar_one())

    def _now_ms(self) -> int:
        """The ledger's clock where it can be asked, so that a limit's age compares with its counters'."""
        return self._copy.now_ms() if self._copy is not None else self._wall_ms()

    @staticmethod
    def _wall_ms() -> int:
        return time.time_ns() // 1_000_000


def _new_limit_row(account_id: str, key_id: str, wish: NewLimit, now_ms: int) -> dict[str, Any]:
    return {
        "id": _new_id("lim_"),
        "account_id": account_id,
        "scope": "key",
        "scope_id": key_id,
        "window_kind": wish.window,
        "kind": "money",
        "enforcement": wish.enforcement,
        "value_nano": wish.value_nano,
        "version": 1,
        "created_ms": now_ms,
    }


def _bump(connection: Connection, key_id: str) -> None:
    """Make every caller's copy of the key stale."""
    connection.execute(sa.update(KEYS).where(KEYS.c.id == key_id).values(version=KEYS.c.version + 1))


def _list(words: Sequence[str]) -> str:
    return orjson.dumps([*words]).decode()


def _new_id(prefix: str) -> str:
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(16))
