"""Publishing: everything at once, in few steps, in the right order, and nothing that is gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, text

from accounts.key import KeyRecord
from accounts.keyring import Keyring, NewLimit
from accounts.limitbook import LimitBook
from accounts.publishing import Publisher
from accounts.tables import CUSTOMER_TERMS, LIMITS, new_limit, row_of
from accounts.terms import AccountTerms, CustomerTerms
from budgets.names import names_of, shard_of
from budgets.rows import LedgerRows
from metering.database import open_database, writing

ACCOUNT = "default"
NAMES = names_of(ACCOUNT)


def set_many(engine: Engine, count: int) -> None:
    """A month's limit of its own for each of so many customers, as if set one by one."""
    customers = [f"customer-{number}" for number in range(count)]
    wish = NewLimit("month", 25 * 10**9, thresholds=(80,))
    rows = [row_of(ACCOUNT, new_limit("customer", customer, wish, 1)) for customer in customers]
    terms = [{"account_id": ACCOUNT, "customer": customer, "version": 1} for customer in customers]
    with writing(engine) as connection:
        connection.execute(sa.insert(LIMITS), rows)
        connection.execute(sa.insert(CUSTOMER_TERMS), terms)


@pytest.mark.wide
def test_thousands_of_customers_are_published_in_a_few_steps(engine: Engine, redis: Any) -> None:
    set_many(engine, 5_000)
    redis.config_resetstat()
    received = redis.info("stats")["total_reads_processed"]
    published = LimitBook(engine, LedgerRows(redis)).publish_all()
    assert (published.limits, published.customers) == (5_000, 5_000)
    assert redis.hlen(NAMES.limits) == 5_000
    assert redis.info("commandstats")["cmdstat_hset"]["calls"] >= 5_000
    # One by one these would be 10,000 round trips. (A pipeline may arrive in several pieces.)
    assert redis.info("stats")["total_reads_processed"] - received < 1_500
    for number in (0, 999, 1_000, 4_999):
        version, document = redis.hmget(f"{NAMES.customer}{ACCOUNT}:customer-{number}", "ver", "doc")
        (limit,) = CustomerTerms.from_document(document).limits
        assert (int(version), limit.scope_id, limit.thresholds) == (1, f"customer-{number}", (80,))


def test_values_of_limits_that_are_gone_are_taken_away_on_every_shard(engine: Engine, redis: Any) -> None:
    book = LimitBook(engine, LedgerRows(redis))
    other = next(f"account-{n}" for n in range(1_000) if shard_of(f"account-{n}") == shard_of(ACCOUNT))
    far = next(f"account-{n}" for n in range(1_000) if shard_of(f"account-{n}") != shard_of(ACCOUNT))
    kept = book.set("feature", "chat", "money", "day", 1).limit
    neighbour = book.set("feature", "chat", "money", "day", 2, account_id=other).limit
    redis.hset(NAMES.limits, "lim_gone", 5)
    redis.hset(names_of(far).limits, "lim_gone", 5)
    assert book.publish_all().dropped == 2
    assert set(redis.hkeys(NAMES.limits)) == {kept.id.encode(), neighbour.id.encode()}
    assert redis.exists(names_of(far).limits) == 0


def test_a_document_never_names_a_limit_whose_value_is_not_in_force(engine: Engine, redis: Any) -> None:
    class Strict(LedgerRows):
        def put_account(self, account_id: str, version: int, document: bytes) -> None:
            self.require(limit.id for limit in AccountTerms.from_document(document).limits)
            super().put_account(account_id, version, document)

        def put_customers(self, account_id: str, lists: Sequence[tuple[str, int, bytes]]) -> None:
            for _, _, document in lists:
                self.require(limit.id for limit in CustomerTerms.from_document(document).limits)
            super().put_customers(account_id, lists)

        def put_keys(self, account_id: str, keys: Sequence[Any]) -> None:
            for key in keys:
                self.require(limit.id for limit in KeyRecord.from_document(key.document).limits)
            super().put_keys(account_id, keys)

        def require(self, ids: Any) -> None:
            known = redis.hkeys(NAMES.limits)
            assert all(limit_id.encode() in known for limit_id in ids)

    keys, book = Keyring(engine, Strict(redis)), LimitBook(engine, Strict(redis))
    _, record = keys.create("app", limits=[NewLimit("day", 1)])
    for scope, scope_id in (
        ("key", record.id),
        ("customer", "acme"),
        ("customer", "*"),
        ("account", ACCOUNT),
    ):
        for zone in ("UTC", "Asia/Tokyo"):
            book.set(scope, scope_id, "money", "month", 1, time_zone=zone)
        book.clear(scope, scope_id, "money", "month")
        book.set(scope, scope_id, "money", "month", 1)
    redis.flushall()
    book.publish_all()


def test_an_account_without_limits_has_an_empty_list(engine: Engine, redis: Any) -> None:
    Publisher(engine, LedgerRows(redis)).publish_all()
    terms = AccountTerms.from_document(redis.get(NAMES.account + ACCOUNT))
    assert terms == AccountTerms(0, (), has_customer_terms=False)


def test_limits_of_an_earlier_version_are_kept(tmp_path: Path, redis: Any) -> None:
    steps = tmp_path / "steps"
    steps.mkdir()
    source = Path(__file__).parents[2] / "metering" / "migrations" / "sqlite"
    for step in sorted(source.glob("000[12]_*.sql")):
        (steps / step.name).write_text(step.read_text())
    path = tmp_path / "tollkeeper.db"
    old = open_database(path, migrations=steps)
    with writing(old) as connection:
        connection.execute(
            text(
                "INSERT INTO keys (id, account_id, name, digest, display, version, status, created_ms, "
                "scopes, assertion, customers, features) "
                "VALUES ('key_1', 'default', 'app', 'd', 'wxyz', 3, 'active', 5, '[]', 'none', '[]', '[]')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO limits "
                "VALUES ('lim_1', 'default', 'key', 'key_1', 'month', 'money', 'hard', 7, 2, 5)"
            )
        )
    old.dispose()
    engine = open_database(path)
    try:
        (record,) = Keyring(engine, None).list()
        (limit,) = record.limits
        assert (record.on_ledger_down, record.allowance_nano, record.version) == ("closed", 0, 3)
        assert (limit.id, limit.value, limit.version, limit.created_ms) == ("lim_1", 7, 2, 5)
        assert (limit.time_zone, limit.anchor, limit.thresholds) == ("UTC", 1, ())
        LimitBook(engine, LedgerRows(redis)).publish_all()
        assert redis.hget(NAMES.limits, "lim_1") == b"7"
    finally:
        engine.dispose()
