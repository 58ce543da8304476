"""Publishing: bringing what requests are decided by up to the record in SQL.

Everything is read and published under the database's write lock, so of two changes at once the copy shows
both, and the last one published is the last one recorded. Values of limits go before the documents that name
them, since a document that names a limit without a value stops its requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from accounts.key import KeyLimit, KeyRecord, document_name
from accounts.plantables import (
    CUSTOMERS,
    PLANS,
    overridden_values,
    plan_versions_of,
    policy_of,
    registered_of,
    subscriptions_of,
)
from accounts.subscription import Subscription
from accounts.tables import (
    ACCOUNT_TERMS,
    CUSTOMER_TERMS,
    FORMER_SECRETS,
    KEYS,
    LIMITS,
    held_by,
    key_and_below,
    limit_of,
    records_of,
    select_keys,
    select_limits,
)
from accounts.terms import AccountTerms, CustomerTerms
from metering.database import writing

ACCOUNT = "default"
BATCH = 1_000
"""How many documents are made before they are sent."""
PublishSome = Callable[[Connection, "EnforcedCopy", str, Sequence[str]], None]
"""Publishes those of an account that have these names."""


class KeyNotFound(LookupError):
    """No key has this id, or several have ids that begin like it; the text says which."""


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A key as it is published: what is checked of it, and the document that callers read."""

    key_id: str
    status: str
    version: int
    expires_ms: int | None
    document_name: str
    document: bytes


class EnforcedCopy(Protocol):
    """Where requests are decided: what `open` checks of keys, limits, and the documents that callers read.

    Every call holds for the next request when it returns. Its errors go to the caller.
    """

    def now_ms(self, account_id: str) -> int:
        """The clock by which the account's requests are decided."""

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
        """Publish a key and its document."""

    def put_keys(self, account_id: str, keys: Sequence[PublishedKey]) -> None:
        """Publish many keys at once."""

    def put_former(self, documents: Sequence[tuple[str, bytes, int]]) -> None:
        """Publish documents under other names (name, document, the moment (ms) at which it goes)."""

    def drop_documents(self, names: Sequence[str]) -> None:
        """Forget documents of keys: who has the secret then has none."""

    def put_limits(self, account_id: str, limits: Sequence[KeyLimit]) -> None:
        """Put the values of these limits in force."""

    def put_plans(self, account_id: str, documents: Mapping[str, bytes], values: Mapping[str, int]) -> None:
        """Publish versions of plans by their labels, after the values that they name."""

    def put_values(self, account_id: str, values: Mapping[str, int]) -> None:
        """Put values in force that plans and customers on them name."""

    def drop_limit(self, account_id: str, limit_id: str) -> None:
        """Forget the value of a limit that no document names any more."""

    def keep_limits(self, kept: Mapping[str, Iterable[str]]) -> int:
        """Forget every value but those of these names of each account; returns how many were forgotten."""

    def put_account(self, account_id: str, version: int, document: bytes) -> None:
        """Publish the account's document and its version in one step."""

    def put_customers(self, account_id: str, lists: Sequence[tuple[str, int, bytes]]) -> None:
        """Publish documents of customers (customer, version, document), each with its version in one step."""


@dataclass(frozen=True, slots=True)
class Published:
    """What `publish_all` copied, and how many values of limits that are gone it took away."""

    keys: int
    limits: int
    customers: int
    dropped: int
    plans: int = 0


class Publisher:
    """Copies from the record to the enforced copy. Without a copy nothing is published."""

    def __init__(self, engine: Engine, copy: EnforcedCopy | None) -> None:
        self._engine = engine
        self.copy = copy

    def now_ms(self, account_id: str) -> int:
        """The ledger's clock where it can be asked, so that a limit's age compares with its counters'."""
        return self.copy.now_ms(account_id) if self.copy is not None else wall_ms()

    def publish(
        self,
        account_id: str,
        *,
        key_id: str | None = None,
        customer: str | None = None,
        gone: Sequence[str] = (),
    ) -> None:
        """Bring the account's list up to the record, and this key's documents or this customer's list.

        A key's children are published with it: its limits are theirs. `gone`: digests of its secrets that no
        longer lead to it.
        """
        copy = self.copy
        if copy is None:
            return
        with writing(self._engine) as connection:
            if customer is not None:
                _publish_customers(connection, copy, account_id, [customer])
            if key_id is not None:
                copy.drop_documents([document_name(each) for each in gone])
                rows = connection.execute(select_keys().where(key_and_below(key_id))).mappings().all()
                records = records_of(connection, rows)
                copy.put_former(_former(connection, records, copy.now_ms(account_id)))
                for row, record in zip(rows, records, strict=True):
                    copy.put_limits(account_id, record.limits)
                    self.put_key(record, row["digest"])
            _publish_account(connection, copy, account_id)

    def publish_customers(self, account_id: str, customers: Sequence[str]) -> None:
        """Bring many customers' documents up to the record; the lock is let go between batches."""
        if self.copy is None:
            return
        for start in range(0, len(customers), BATCH):
            with writing(self._engine) as connection:
                _publish_customers(connection, self.copy, account_id, customers[start : start + BATCH])

    def publish_plans(self, account_id: str) -> None:
        """Publish every version of every plan, and then the account's document, which may name them."""
        if self.copy is None:
            return
        with writing(self._engine) as connection:
            _publish_plans(connection, self.copy, account_id)
            _publish_account(connection, self.copy, account_id)

    def put_key(self, record: KeyRecord, key_digest: str) -> None:
        """Publish one key as this record has it, without waiting for the database."""
        if self.copy is not None:
            self.copy.put_key(
                account_id=record.account_id,
                key_id=record.id,
                status=record.status,
                version=record.version,
                expires_ms=record.expires_ms,
                document_name=document_name(key_digest),
                document=record.to_document(),
            )

    def publish_all(self) -> Published:
        """Copy every key and limit of every account, and take away values of limits that are gone.

        The lock is let go between batches, so that other writers need not wait for all of it.
        """
        copy = self.copy
        if copy is None:
            return Published(0, 0, 0, 0)
        keys = customers = plans = 0
        with self._engine.connect() as connection:
            accounts = _accounts(connection)
        for account_id in accounts:
            with writing(self._engine) as connection:
                plans += _publish_plans(connection, copy, account_id)
            customers += self._publish_each(copy, account_id, CUSTOMER_TERMS.c.customer, _publish_customers)
            keys += self._publish_each(copy, account_id, KEYS.c.id, _publish_keys)
            with writing(self._engine) as connection:
                _publish_account(connection, copy, account_id)
        with writing(self._engine) as connection:
            kept: dict[str, set[str]] = {account_id: set() for account_id in accounts}
            for account_id, limit_id in connection.execute(sa.select(LIMITS.c.account_id, LIMITS.c.id)):
                kept.setdefault(account_id, set()).add(limit_id)
            limits = sum(map(len, kept.values()))
            for account_id, ids in kept.items():
                ids.update(plan_values(connection, account_id))
            dropped = copy.keep_limits(kept)
        return Published(keys, limits, customers, dropped, plans)

    def _publish_each(
        self, copy: EnforcedCopy, account_id: str, column: sa.Column[Any], publish: PublishSome
    ) -> int:
        """Publish all of the account that this column names, batch by batch; returns how many."""
        last, count = "", 0
        while True:
            with writing(self._engine) as connection:
                query = sa.select(column).where(column.table.c.account_id == account_id, column > last)
                names = connection.execute(query.order_by(column).limit(BATCH)).scalars().all()
                if not names:
                    return count
                publish(connection, copy, account_id, names)
            last, count = names[-1], count + len(names)


def wall_ms() -> int:
    """This machine's clock."""
    return time.time_ns() // 1_000_000


def _accounts(connection: Connection) -> list[str]:
    """Every account of which anything is recorded, and the one that every installation has."""
    tables = (KEYS, LIMITS, ACCOUNT_TERMS, CUSTOMER_TERMS, PLANS)
    query = sa.union(*(sa.select(table.c.account_id) for table in tables))
    return sorted({ACCOUNT, *connection.execute(query).scalars()})


def _publish_account(connection: Connection, copy: EnforcedCopy, account_id: str) -> None:
    limits = _limits(connection, held_by(account_id, "account", [account_id])).get(account_id, ())
    query = sa.select(ACCOUNT_TERMS.c.version).where(ACCOUNT_TERMS.c.account_id == account_id)
    version = connection.execute(query).scalar() or 0
    policy = policy_of(connection, account_id)
    terms = AccountTerms(version, tuple(limits), has_customer_terms(connection, account_id), policy)
    copy.put_limits(account_id, limits)
    copy.put_account(account_id, version, terms.to_document())


def _publish_customers(
    connection: Connection, copy: EnforcedCopy, account_id: str, names: Sequence[str]
) -> None:
    """These customers' lists. An empty one too: it tells that older copies are old."""
    query = sa.select(CUSTOMER_TERMS.c.customer, CUSTOMER_TERMS.c.version).where(
        CUSTOMER_TERMS.c.account_id == account_id, CUSTOMER_TERMS.c.customer.in_(names)
    )
    versions = connection.execute(query).all()
    limits = _limits(connection, held_by(account_id, "customer", names))
    copy.put_limits(account_id, [limit for each in limits.values() for limit in each])
    registered = registered_of(connection, account_id, names)
    subscriptions = subscriptions_of(connection, account_id, names)
    copy.put_values(
        account_id, {k: v for each in subscriptions.values() for one in each for k, v in one.values().items()}
    )
    now_ms = wall_ms()
    lists = []
    for name, version in versions:
        mine = tuple(limits.get(name, ()))
        spans = present_and_later(subscriptions.get(name, ()), now_ms)
        lists.append((name, version, CustomerTerms(version, mine, name in registered, spans).to_document()))
    copy.put_customers(account_id, lists)


def _publish_plans(connection: Connection, copy: EnforcedCopy, account_id: str) -> int:
    versions = plan_versions_of(connection, account_id)
    values: dict[str, int] = {}
    for version in versions:
        values |= version.values()
    copy.put_plans(account_id, {version.label: version.to_document() for version in versions}, values)
    return len(versions)


def plan_values(connection: Connection, account_id: str) -> dict[str, int]:
    """Value ids and values of all plans, and of what customers have otherwise."""
    values = overridden_values(connection, account_id)
    for version in plan_versions_of(connection, account_id):
        values |= version.values()
    return values


def present_and_later(subscriptions: Sequence[Subscription], now_ms: int) -> tuple[Subscription, ...]:
    """What a customer's document has of its subscriptions: of those that have ended only the last."""
    ended = [each for each in subscriptions if each.ends_ms is not None and each.ends_ms <= now_ms]
    return tuple(ended[-1:]) + tuple(each for each in subscriptions if each not in ended)


def _publish_keys(connection: Connection, copy: EnforcedCopy, account_id: str, ids: Sequence[str]) -> None:
    rows = connection.execute(select_keys().where(KEYS.c.id.in_(ids))).mappings().all()
    records = records_of(connection, rows)
    copy.put_former(_former(connection, records, copy.now_ms(account_id)))
    copy.put_limits(account_id, [limit for record in records for limit in record.limits])
    copy.put_keys(
        account_id, [_published(record, row["digest"]) for row, record in zip(rows, records, strict=True)]
    )


def _former(
    connection: Connection, records: Sequence[KeyRecord], now_ms: int
) -> list[tuple[str, bytes, int]]:
    """Name, document and end of every earlier secret of these keys that still works."""
    mine = {record.id: record for record in records}
    query = sa.select(FORMER_SECRETS).where(
        FORMER_SECRETS.c.key_id.in_(list(mine)), FORMER_SECRETS.c.ends_ms > now_ms
    )
    return [
        (
            document_name(row.digest),
            replace(mine[row.key_id], display=row.display, secret_ends_ms=row.ends_ms).to_document(),
            row.ends_ms,
        )
        for row in connection.execute(query)
    ]


def _published(record: KeyRecord, key_digest: str) -> PublishedKey:
    return PublishedKey(
        key_id=record.id,
        status=record.status,
        version=record.version,
        expires_ms=record.expires_ms,
        document_name=document_name(key_digest),
        document=record.to_document(),
    )


def has_customer_terms(connection: Connection, account_id: str) -> bool:
    """Whether some customer of the account is recorded or has limits of its own, so has a document."""
    queries = (
        sa.select(CUSTOMERS.c.customer).where(CUSTOMERS.c.account_id == account_id),
        sa.select(LIMITS.c.id).where(LIMITS.c.account_id == account_id, LIMITS.c.holder == "customer"),
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in queries)


def _limits(connection: Connection, which: sa.ColumnElement[bool]) -> dict[str, list[KeyLimit]]:
    """Limits by the id of their holder."""
    found: dict[str, list[KeyLimit]] = {}
    for row in connection.execute(select_limits().where(which)):
        found.setdefault(row.holder_id, []).append(limit_of(row))
    return found
