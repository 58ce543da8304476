"""The keyring: the record of keys, and its copy where requests are decided.

SQL is the record and is written first, but for a revocation, which goes to the enforced copy first, so that
nothing is admitted between the two. Without an enforced copy (the server is not running) a change is
recorded, and published at the next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Engine

from accounts.key import ASSERTIONS, ON_LEDGER_DOWN, KeyRecord, mint
from accounts.publishing import ACCOUNT, EnforcedCopy, KeyNotFound, Publisher, wall_ms
from accounts.scope import DEFAULT_SCOPES, check_scopes
from accounts.tables import KEYS, LIMITS, new_id, new_limit, records_of, row_of, select_keys
from accounts.terms import NewLimit
from metering.database import writing

__all__ = ["ACCOUNT", "EnforcedCopy", "KeyNotFound", "Keyring", "NewLimit"]


class Keyring:
    """Keys. `engine` is on a migrated database; errors of SQL and of the copy are theirs."""

    def __init__(self, engine: Engine, copy: EnforcedCopy | None) -> None:
        self._engine = engine
        self._publisher = Publisher(engine, copy)

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
        allowance_nano: int = 0,
    ) -> tuple[str, KeyRecord]:
        """Make a key; its secret is returned here and never again.

        `assertion` is by default none for a bound key without lists, else listed. `on_ledger_down` is by
        default closed where a limit applies, else open; `allowance_nano` is what may be spent meanwhile with
        the choice allowance. ValueError names what cannot be.
        """
        if assertion is None:
            bound = customer is not None or feature is not None
            assertion = "none" if bound and not customers and not features else "listed"
        check_scopes(scopes)
        if assertion not in ASSERTIONS:
            raise ValueError(f"assertion {assertion!r} is unknown; known: {', '.join(ASSERTIONS)}")
        if (customers or features) and assertion != "listed":
            raise ValueError(f"lists of customers or features need the assertion listed, not {assertion}")
        bounds = [(limit.kind, limit.window) for limit in limits]
        if len(set(bounds)) < len(bounds):
            raise ValueError("a key has at most one limit of a kind for each window")
        _check_ledger_down(on_ledger_down, allowance_nano)
        now_ms = self._publisher.now_ms(account_id)
        secret, key_digest = mint()
        key_id = new_id("key_")
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
            "allowance_nano": allowance_nano,
        }
        with writing(self._engine) as connection:
            connection.execute(sa.insert(KEYS).values(row))
            for wish in limits:
                limit = new_limit("key", key_id, wish, now_ms)
                connection.execute(sa.insert(LIMITS).values(row_of(account_id, limit)))
        self._publisher.publish(account_id, key_id=key_id)
        return secret, self.find(key_id, account_id)

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
        account_id = row["account_id"]
        if row["status"] == "active":
            revoked = {"status": "revoked", "version": row["version"] + 1}
            try:
                self._publisher.put_key(replace(self.find(key_id, account_id), **revoked), row["digest"])
            finally:
                with writing(self._engine) as connection:
                    change = sa.update(KEYS).where(KEYS.c.id == key_id, KEYS.c.status == "active")
                    connection.execute(
                        change.values(status="revoked", version=KEYS.c.version + 1, revoked_ms=wall_ms())
                    )
        # Also for a key that is revoked: perhaps the copy could not be told then.
        self._publisher.publish(account_id, key_id=key_id)
        return self.find(key_id, account_id)

    def _row(self, key_id: str) -> Any:
        with self._engine.connect() as connection:
            row = connection.execute(select_keys().where(KEYS.c.id == key_id)).mappings().first()
        if row is None:
            raise KeyNotFound(f"no key has the id {key_id!r}")
        return row


def _check_ledger_down(choice: str | None, allowance_nano: int) -> None:
    if choice is not None and choice not in ON_LEDGER_DOWN:
        raise ValueError(
            f"{choice!r} is no way to go on without the ledger; known: {', '.join(ON_LEDGER_DOWN)}"
        )
    if choice == "allowance" and allowance_nano < 1:
        raise ValueError("the choice allowance needs an amount that may be spent while the ledger is away")
    if choice != "allowance" and allowance_nano:
        raise ValueError(f"an allowance goes with the choice allowance, not with {choice or 'the default'}")


def _list(words: Sequence[str]) -> str:
    return orjson.dumps([*words]).decode()
