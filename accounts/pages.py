"""Pages of what is recorded: keys, limits, plans and subscriptions, a part of a list at a time.

Every function takes the account, without which nothing is read, the place after which the page begins (None:
the list's beginning), and how many rows it may have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from accounts.key import KeyLimit, KeyRecord
from accounts.plantables import SUBSCRIPTIONS, subscription_of
from accounts.scope import ADMIN, KEYS_WRITE
from accounts.subscription import Subscription
from accounts.tables import KEYS, LIMITS, key_and_below, limit_of, records_of, select_keys

Place = tuple[int, str]
"""A moment (ms) and an id: where a row stands in a list, the oldest first."""


@dataclass(frozen=True, slots=True)
class RecordedKey:
    """A key with when it was made and ended, which requests need not know."""

    record: KeyRecord
    created_ms: int
    revoked_ms: int | None


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """A subscription and whose it is."""

    customer: str
    subscription: Subscription
    created_ms: int

    @property
    def place(self) -> Place:
        """Where it stands in a list."""
        return self.subscription.starts_ms, self.subscription.id


def key_page(
    connection: Connection,
    account_id: str,
    *,
    limit: int,
    after: Place | None = None,
    within: str | None = None,
    status: str | None = None,
) -> list[RecordedKey]:
    """Keys, the oldest first: all, or one (`within`) with those below it; of one status, or of any."""
    query = select_keys().where(KEYS.c.account_id == account_id)
    if within is not None:
        query = query.where(key_and_below(within))
    if status is not None:
        query = query.where(KEYS.c.status == status)
    if after is not None:
        query = query.where(_after(KEYS.c.created_ms, KEYS.c.id, after))
    return _keys(connection, query.limit(limit))


def find_key(connection: Connection, account_id: str, key_id: str) -> RecordedKey | None:
    """The account's key with exactly this id."""
    query = select_keys().where(KEYS.c.account_id == account_id, KEYS.c.id == key_id)
    found = _keys(connection, query)
    return found[0] if found else None


def key_named(connection: Connection, account_id: str, name: str) -> bool:
    """Whether an active key of the account is called so."""
    query = sa.select(KEYS.c.id).where(
        KEYS.c.account_id == account_id, KEYS.c.name == name, KEYS.c.status == "active"
    )
    return connection.execute(query.limit(1)).first() is not None


def managers_beside(connection: Connection, account_id: str, key_id: str, now_ms: int) -> tuple[bool, bool]:
    """Of usable keys that can make keys: whether this one or one below it is, and whether any other is."""
    query = sa.select(KEYS.c.id, KEYS.c.scopes, key_and_below(key_id)).where(
        KEYS.c.account_id == account_id,
        KEYS.c.status == "active",
        sa.or_(KEYS.c.expires_ms.is_(None), KEYS.c.expires_ms > now_ms),
        sa.or_(KEYS.c.scopes.contains(f'"{ADMIN}"'), KEYS.c.scopes.contains(f'"{KEYS_WRITE}"')),
    )
    inside = [bool(row[2]) for row in connection.execute(query)]
    return any(inside), not all(inside)


def limit_page(
    connection: Connection,
    account_id: str,
    *,
    limit: int,
    after: Place | None = None,
    scope: str | None = None,
    scope_ids: Sequence[str] | None = None,
    customer: str | None = None,
    kind: str | None = None,
) -> list[KeyLimit]:
    """Limits, the oldest first, of all filters that are told. `customer`: on it, on its workspaces and on its
    use of features, not those on each customer."""
    query = sa.select(LIMITS).where(LIMITS.c.account_id == account_id)
    if customer is not None:
        query = query.where(LIMITS.c.holder == "customer", LIMITS.c.holder_id == customer)
    for column, value in ((LIMITS.c.scope, scope), (LIMITS.c.kind, kind)):
        if value is not None:
            query = query.where(column == value)
    if scope_ids is not None:
        query = query.where(LIMITS.c.scope_id.in_(scope_ids))
    if after is not None:
        query = query.where(_after(LIMITS.c.created_ms, LIMITS.c.id, after))
    rows = connection.execute(query.order_by(LIMITS.c.created_ms, LIMITS.c.id).limit(limit))
    return [limit_of(row) for row in rows]


def find_limit(connection: Connection, account_id: str, limit_id: str) -> KeyLimit | None:
    """The account's limit with this id."""
    query = sa.select(LIMITS).where(LIMITS.c.account_id == account_id, LIMITS.c.id == limit_id)
    row = connection.execute(query).first()
    return None if row is None else limit_of(row)


def subscription_page(
    connection: Connection,
    account_id: str,
    *,
    limit: int,
    now_ms: int,
    after: Place | None = None,
    customer: str | None = None,
    plan: str | None = None,
    status: str | None = None,
    dealt: bool = False,
) -> list[SubscriptionRow]:
    """Subscriptions by their start. `status`: pending, active or ended at `now_ms`. `dealt`: only those for
    which the customer pays otherwise than the plan says."""
    query = sa.select(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.account_id == account_id)
    starts, ends = SUBSCRIPTIONS.c.starts_ms, SUBSCRIPTIONS.c.ends_ms
    for column, value in ((SUBSCRIPTIONS.c.customer, customer), (SUBSCRIPTIONS.c.plan, plan)):
        if value is not None:
            query = query.where(column == value)
    if dealt:
        of = SUBSCRIPTIONS.c
        query = query.where(sa.or_(of.price_nano.is_not(None), of.quantity != 1, of.discount_ppm != 0))
    if status == "pending":
        query = query.where(starts > now_ms)
    elif status == "active":
        query = query.where(starts <= now_ms, sa.or_(ends.is_(None), ends > now_ms))
    elif status == "ended":
        query = query.where(ends <= now_ms)
    if after is not None:
        query = query.where(_after(starts, SUBSCRIPTIONS.c.id, after))
    rows = connection.execute(query.order_by(starts, SUBSCRIPTIONS.c.id).limit(limit))
    return [SubscriptionRow(row.customer, subscription_of(row), row.created_ms) for row in rows]


def find_subscription(
    connection: Connection, account_id: str, subscription_id: str
) -> SubscriptionRow | None:
    """The account's subscription with this id."""
    query = sa.select(SUBSCRIPTIONS).where(
        SUBSCRIPTIONS.c.account_id == account_id, SUBSCRIPTIONS.c.id == subscription_id
    )
    row = connection.execute(query).first()
    return None if row is None else SubscriptionRow(row.customer, subscription_of(row), row.created_ms)


def _keys(connection: Connection, query: sa.Select[Any]) -> list[RecordedKey]:
    rows = connection.execute(query).mappings().all()
    return [
        RecordedKey(record, row["created_ms"], row["revoked_ms"])
        for row, record in zip(rows, records_of(connection, rows), strict=True)
    ]


def _after(moment: sa.Column[int], identity: sa.Column[str], place: Place) -> sa.ColumnElement[bool]:
    at_ms, last = place
    return sa.or_(moment > at_ms, sa.and_(moment == at_ms, identity > last))
