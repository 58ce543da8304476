"""Publishing: bringing what requests are decided by up to the record in SQL.

Everything is read and published under the database's write lock, so of two changes at once the copy shows
both, and the last one published is the last one recorded. Values of limits go before the documents that name
them, since a document that names a limit without a value stops its requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from accounts.enforcedcopy import EnforcedCopy, PublishedKey
from accounts.key import KeyRecord, document_name
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
    limits_held,
    records_of,
    select_keys,
)
from accounts.terms import AccountTerms, CustomerTerms
from metering.database import writing
from metering.statement import among, listed, written

ACCOUNT = "default"
BATCH = 1_000
"""How many documents are made before they are sent."""
PublishSome = Callable[[Connection, EnforcedCopy, str, Sequence[str]], None]
"""Publishes those of an account that have these names."""


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
                _publish_keys_where(connection, copy, account_id, key_and_below(key_id))
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
            self.copy.put_key(record.account_id, PublishedKey.of(record, key_digest))

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
    limits = limits_held(connection, held_by(account_id, "account", [account_id])).get(account_id, ())
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
    found = _TERMS_VERSIONS.run(connection, (account_id, listed(connection, names)))
    versions = [(row.customer, row.version) for row in found]
    limits = limits_held(connection, held_by(account_id, "customer", names))
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
    _publish_keys_where(connection, copy, account_id, KEYS.c.id.in_(ids))


def _publish_keys_where(
    connection: Connection, copy: EnforcedCopy, account_id: str, which: sa.ColumnElement[bool]
) -> None:
    rows = connection.execute(select_keys().where(which)).mappings().all()
    records = records_of(connection, rows)
    copy.put_former(_former(connection, records, copy.now_ms(account_id)))
    copy.put_limits(account_id, [limit for record in records for limit in record.limits])
    copy.put_keys(
        account_id,
        [PublishedKey.of(record, row["digest"]) for row, record in zip(rows, records, strict=True)],
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


def has_customer_terms(connection: Connection, account_id: str) -> bool:
    """Whether some customer of the account is recorded or has limits of its own, so has a document."""
    queries = (
        sa.select(CUSTOMERS.c.customer).where(CUSTOMERS.c.account_id == account_id),
        sa.select(LIMITS.c.id).where(LIMITS.c.account_id == account_id, LIMITS.c.holder == "customer"),
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in queries)


_TERMS_VERSIONS = written(
    lambda engine: sa.select(CUSTOMER_TERMS.c.customer, CUSTOMER_TERMS.c.version).where(
        CUSTOMER_TERMS.c.account_id == sa.bindparam("of_account"), among(engine, CUSTOMER_TERMS.c.customer)
    )
)
