"""The keyring: the record of keys, and its copy where requests are decided.

SQL is the record and is written first, but for a revocation, which goes to the enforced copy first, so that
nothing is admitted between the two. Without an enforced copy (the server is not running) a change is
recorded, and published at the next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from accounts.enforcedcopy import EnforcedCopy
from accounts.key import KeyRecord, mint
from accounts.keyterms import check_child, check_key
from accounts.publishing import ACCOUNT, Publisher, wall_ms
from accounts.scope import DEFAULT_SCOPES, allows
from accounts.tables import (
    FORMER_SECRETS,
    KEYS,
    LIMITS,
    KeyNotFound,
    begins_with,
    key_and_below,
    key_row,
    new_id,
    new_limit,
    records_of,
    row_of,
    select_keys,
)
from accounts.terms import NewLimit
from metering.database import writing
from metering.ids import CHILD

__all__ = ["ACCOUNT", "EnforcedCopy", "FormerSecret", "KeyNotFound", "Keyring", "NewLimit"]


@dataclass(frozen=True, slots=True)
class FormerSecret:
    """A secret that a rotation replaced: its last four characters, and until when it works."""

    display: str
    ends_ms: int


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
        parent: str | None = None,
        expires_ms: int | None = None,
        scopes: Sequence[str] | None = None,
        customer: str | None = None,
        feature: str | None = None,
        assertion: str | None = None,
        customers: Sequence[str] = (),
        features: Sequence[str] = (),
        default_customer: str | None = None,
        default_feature: str | None = None,
        routes: Sequence[str] = (),
        models: Sequence[str] = (),
        sources: Sequence[str] = (),
        required: Sequence[str] = (),
        limits: Sequence[NewLimit] = (),
        on_ledger_down: str | None = None,
        allowance_nano: int = 0,
    ) -> tuple[str, KeyRecord]:
        """Make a key; its secret is returned here and never again.

        `parent`: the id of the key that it is a child of; what is not told is then as the parent has it.
        `assertion` is by default none for a bound key without lists, else listed. `on_ledger_down` is by
        default closed where a limit applies, else open; `allowance_nano` is what may be spent meanwhile with
        the choice allowance. ValueError names what cannot be.
        """
        above = None if parent is None else self.find(parent, account_id)
        if above is not None:
            customer, feature = customer or above.customer, feature or above.feature
            expires_ms = above.expires_ms if expires_ms is None else expires_ms
            routes, models = routes or above.routes, models or above.models
            required = required or above.required
        if scopes is None:
            scopes = [each for each in DEFAULT_SCOPES if above is None or allows(above.scopes, each)]
        if assertion is None:
            bound = customer is not None or feature is not None
            assertion = "none" if bound and not customers and not features else "listed"
        bounds = [(limit.kind, limit.window) for limit in limits]
        if len(set(bounds)) < len(bounds):
            raise ValueError("a key has at most one limit of a kind for each window")
        now_ms = self._publisher.now_ms(account_id)
        secret, key_digest = mint()
        limited = bool(limits or (above is not None and above.limits))
        record = KeyRecord(
            id=new_id("key_") if above is None else new_id(above.id + CHILD),
            account_id=account_id,
            name=name,
            version=1,
            status="active",
            expires_ms=expires_ms,
            scopes=tuple(scopes),
            customer=customer,
            feature=feature,
            assertion=assertion,
            customers=tuple(customers),
            features=tuple(features),
            default_customer=default_customer,
            default_feature=default_feature,
            limits=(),
            on_ledger_down=on_ledger_down or ("closed" if limited else "open"),
            display=secret[-4:],
            allowance_nano=allowance_nano,
            ledger_down_chosen=on_ledger_down is not None,
            routes=tuple(routes),
            models=tuple(models),
            sources=tuple(sources),
            required=tuple(required),
        )
        check_key(record)
        fixed = {"id": record.id, "account_id": account_id, "digest": key_digest, "display": record.display}
        with writing(self._engine) as connection:
            if above is not None:
                _check_under(connection, record, now_ms)
            row = key_row(record) | fixed | {"version": 1, "status": "active", "created_ms": now_ms}
            connection.execute(sa.insert(KEYS).values(row))
            for wish in limits:
                limit = new_limit("key", record.id, wish, now_ms)
                connection.execute(sa.insert(LIMITS).values(row_of(account_id, limit)))
        self._publisher.publish(account_id, key_id=record.id)
        return secret, self.find(record.id, account_id)

    def update(self, key_id: str, **changes: Any) -> KeyRecord:
        """Change what an operator chooses of a key, by the names of KeyRecord; holds for the next request.

        ValueError where the key would be above its parent, or a child of it above the key. `on_ledger_down`
        None goes back to the default.
        """
        if "on_ledger_down" in changes:
            changes["ledger_down_chosen"] = changes["on_ledger_down"] is not None
            if changes["on_ledger_down"] is None:
                changes["on_ledger_down"] = "open"
        with writing(self._engine) as connection:
            before = _find(connection, key_id)
            if before.status != "active":
                raise ValueError(f"key {key_id} is revoked")
            after = replace(before, **changes)
            if not after.ledger_down_chosen:
                after = replace(after, on_ledger_down="closed" if after.limits else "open")
            check_key(after)
            if after.parent_id is not None:
                _check_under(connection, after, self._publisher.now_ms(after.account_id))
            for child in _children(connection, after):
                check_child(after, child)
            change = sa.update(KEYS).where(KEYS.c.id == key_id)
            connection.execute(change.values(version=KEYS.c.version + 1, **key_row(after)))
        self._publisher.publish(after.account_id, key_id=key_id)
        return self.find(key_id, after.account_id)

    def rotate(self, key_id: str, *, overlap_ms: int = 0) -> tuple[str, KeyRecord]:
        """Give the key a new secret, which is returned here and never again.

        The former one works for `overlap_ms` more; without an overlap no earlier secret does from now on.
        """
        secret, key_digest = mint()
        with writing(self._engine) as connection:
            row = _row(connection, key_id)
            account_id = row["account_id"]
            if row["status"] != "active":
                raise ValueError(f"key {key_id} is revoked; make a new one")
            ends_ms = self._publisher.now_ms(account_id) + overlap_ms
            if overlap_ms > 0:
                former = {"digest": row["digest"], "key_id": key_id, "display": row["display"]}
                connection.execute(sa.insert(FORMER_SECRETS).values(ends_ms=ends_ms, **former))
                gone = []
            else:
                mine = FORMER_SECRETS.c.key_id == key_id
                gone = [*connection.scalars(sa.select(FORMER_SECRETS.c.digest).where(mine)), row["digest"]]
                connection.execute(sa.delete(FORMER_SECRETS).where(mine))
            new = {"digest": key_digest, "display": secret[-4:], "version": KEYS.c.version + 1}
            connection.execute(sa.update(KEYS).where(KEYS.c.id == key_id).values(new))
        self._publisher.publish(account_id, key_id=key_id, gone=gone)
        return secret, self.find(key_id, account_id)

    def former_secrets(self, key_id: str) -> list[FormerSecret]:
        """The earlier secrets of a key that still work, the one that ends first, first."""
        former = FORMER_SECRETS.c
        query = sa.select(former.display, former.ends_ms).order_by(former.ends_ms)
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(former.key_id == key_id, former.ends_ms > wall_ms()))
            return [FormerSecret(row.display, row.ends_ms) for row in rows]

    def list(self, account_id: str = ACCOUNT) -> list[KeyRecord]:
        """All keys of the account, the oldest first, revoked ones too."""
        with self._engine.connect() as connection:
            rows = connection.execute(select_keys().where(KEYS.c.account_id == account_id)).mappings().all()
            return records_of(connection, rows)

    def find(self, reference: str, account_id: str = ACCOUNT) -> KeyRecord:
        """The key with this id, or the only one whose id (with or without `key_`) begins like it, or whose
        name it is; a key rather than its children. Raises KeyNotFound.
        """
        with self._engine.connect() as connection:
            mine = select_keys().where(KEYS.c.account_id == account_id)
            for fits in (
                KEYS.c.id == reference,
                begins_with(KEYS.c.id, reference) | begins_with(KEYS.c.id, f"key_{reference}"),
                KEYS.c.name == reference,
            ):
                rows = connection.execute(mine.where(fits)).mappings().all() if reference else []
                highest = min((row["id"] for row in rows), key=len, default="")
                others = [row for row in rows if not row["id"].startswith(highest + CHILD)]
                if len(others) > 1:
                    ids = ", ".join(row["id"] for row in others[:5])
                    raise KeyNotFound(f"{reference!r} fits {len(others)} keys ({ids}); give more of the id")
                if others:
                    return records_of(connection, others)[0]
        raise KeyNotFound(f"no key has the id or name {reference!r}; `tollkeeper keys list` shows them")

    def revoke(self, key_id: str) -> KeyRecord:
        """End the key and its children for good, in the enforced copy first.

        The record is written even if that fails.
        """
        below = key_and_below(key_id)
        with self._engine.connect() as connection:
            account_id = _row(connection, key_id)["account_id"]
            active = select_keys().where(below, KEYS.c.status == "active")
            rows = connection.execute(active).mappings().all()
            records = records_of(connection, rows)
        try:
            for row, record in zip(rows, records, strict=True):
                revoked = replace(record, status="revoked", version=record.version + 1)
                self._publisher.put_key(revoked, row["digest"])
        finally:
            if rows:
                with writing(self._engine) as connection:
                    change = sa.update(KEYS).where(below, KEYS.c.status == "active")
                    connection.execute(
                        change.values(status="revoked", version=KEYS.c.version + 1, revoked_ms=wall_ms())
                    )
        # Also for a key that is revoked: perhaps the copy could not be told then.
        self._publisher.publish(account_id, key_id=key_id)
        return self.find(key_id, account_id)


def _row(connection: Connection, key_id: str) -> Any:
    row = connection.execute(select_keys().where(KEYS.c.id == key_id)).mappings().first()
    if row is None:
        raise KeyNotFound(f"no key has the id {key_id!r}")
    return row


def _find(connection: Connection, key_id: str) -> KeyRecord:
    return records_of(connection, [_row(connection, key_id)])[0]


def _check_under(connection: Connection, child: KeyRecord, now_ms: int) -> None:
    """ValueError where the child's parent cannot have it."""
    assert child.parent_id is not None
    parent = _find(connection, child.parent_id)
    if not parent.usable(now_ms):
        raise ValueError(f"its parent {parent.id} is revoked or expired")
    check_child(parent, child)


def _children(connection: Connection, parent: KeyRecord) -> list[KeyRecord]:
    """The active keys directly under this one."""
    query = select_keys().where(key_and_below(parent.id), KEYS.c.status == "active")
    rows = [
        row for row in connection.execute(query).mappings() if row["id"].rpartition(CHILD)[0] == parent.id
    ]
    return records_of(connection, rows)
