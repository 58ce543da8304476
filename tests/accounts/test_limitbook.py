"""The limit book: what is recorded, what is published, which copies become stale, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from accounts.key import KeyLimit, KeyRecord
from accounts.keyring import KeyNotFound, Keyring, NewLimit
from accounts.limitbook import LimitBook
from accounts.publishing import Published
from accounts.terms import AccountTerms, CustomerTerms
from budgets.limit import AMOUNT_MAX, check_terms
from budgets.names import names_of
from budgets.rows import LedgerRows
from metering.database import writing

ACCOUNT = "default"
NAMES = names_of(ACCOUNT)


def values(redis: Any) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in redis.hgetall(NAMES.limits).items()}


def account_list(redis: Any) -> AccountTerms:
    terms = AccountTerms.from_document(redis.get(NAMES.account + ACCOUNT))
    assert int(redis.hget(NAMES.meta, f"ver:{ACCOUNT}")) == terms.version
    return terms


def customer_list(redis: Any, customer: str) -> CustomerTerms | None:
    version, document = redis.hmget(f"{NAMES.customer}{ACCOUNT}:{customer}", "ver", "doc")
    if document is None:
        return None
    terms = CustomerTerms.from_document(document)
    assert int(version) == terms.version
    return terms


def key_row_version(redis: Any, record: KeyRecord) -> int:
    return int(redis.hget(NAMES.key + record.id, "ver"))


def test_a_limit_of_the_account_goes_into_its_list_and_its_value_into_force(
    limitbook: LimitBook, redis: Any
) -> None:
    change = limitbook.set(
        *("feature", "chat", "tokens", "month", 5_000),
        enforcement="soft",
        time_zone="Europe/Berlin",
        anchor=15,
        thresholds=(50, 80),
    )
    limit = change.limit
    assert (change.before, change.restarted) == (None, False)
    assert account_list(redis) == AccountTerms(1, (limit,), has_customer_terms=False)
    assert values(redis) == {limit.id: 5_000}
    assert limitbook.list() == [limit]
    assert (limit.time_zone, limit.anchor, limit.thresholds) == ("Europe/Berlin", 15, (50, 80))
    assert abs(limit.created_ms - LedgerRows(redis).now_ms(ACCOUNT)) < 5_000


def test_limits_on_one_customer_go_into_its_own_list(limitbook: LimitBook, redis: Any) -> None:
    first = limitbook.set("customer", "acme", "money", "month", 1).limit
    assert customer_list(redis, "acme") == CustomerTerms(1, (first,))
    assert account_list(redis) == AccountTerms(1, (), has_customer_terms=True)
    second = limitbook.set("workspace", "acme\x1feu", "requests", "day", 2).limit
    third = limitbook.set("customer_feature", "acme\x1f*", "concurrency", "now", 3).limit
    assert customer_list(redis, "acme") == CustomerTerms(3, (first, second, third))
    assert account_list(redis).version == 1  # it already said that customers have lists
    assert customer_list(redis, "bolt") is None
    assert values(redis) == {first.id: 1, second.id: 2, third.id: 3}


def test_the_account_says_whether_any_customer_has_a_list(limitbook: LimitBook, redis: Any) -> None:
    for customer in ("acme", "bolt"):
        limitbook.set("customer", customer, "money", "month", 1)
    limitbook.clear("customer", "acme", "money", "month")
    assert account_list(redis) == AccountTerms(1, (), has_customer_terms=True)
    limitbook.clear("customer", "bolt", "money", "month")
    assert account_list(redis) == AccountTerms(2, (), has_customer_terms=False)


def test_a_list_that_became_empty_stays_so_that_older_copies_of_it_are_stale(
    limitbook: LimitBook, redis: Any
) -> None:
    limitbook.set("customer", "acme", "money", "month", 1)
    limitbook.clear("customer", "acme", "money", "month")
    assert customer_list(redis, "acme") == CustomerTerms(2, ())
    again = limitbook.set("customer", "acme", "money", "month", 1).limit
    assert customer_list(redis, "acme") == CustomerTerms(3, (again,))


def test_a_limit_on_a_key_goes_into_the_keys_document(
    keyring: Keyring, limitbook: LimitBook, redis: Any
) -> None:
    _, record = keyring.create("app")
    limit = limitbook.set("key", record.id, "money", "day", 5).limit
    assert keyring.find(record.id).limits == (limit,)
    assert key_row_version(redis, record) == 2
    each = limitbook.set("key", "*", "money", "day", 7).limit
    assert keyring.find(record.id).limits == (limit,)
    assert account_list(redis).limits == (each,)
    assert limitbook.clear("key", record.id, "money", "day") == limit
    assert key_row_version(redis, record) == 3
    assert keyring.find(record.id).limits == ()
    assert values(redis) == {each.id: 7}


def test_a_key_that_the_account_does_not_have_gets_no_limit(limitbook: LimitBook) -> None:
    with pytest.raises(KeyNotFound, match="no key has the id 'key_x'"):
        limitbook.set("key", "key_x", "money", "day", 5)
    assert limitbook.list() == []


class Watching(LedgerRows):
    """Notes what was recorded whenever values of limits are put in force."""

    def __init__(self, redis: Any, engine: Engine) -> None:
        super().__init__(redis)
        self.engine = engine
        self.recorded: list[int] = []

    def put_limits(self, account_id: str, limits: Sequence[Any]) -> None:
        if limits:
            with self.engine.connect() as connection:
                self.recorded.append(connection.execute(text("SELECT value FROM limits")).scalar_one())
        super().put_limits(account_id, limits)


@pytest.mark.parametrize(("scope", "scope_id"), [("customer", "acme"), ("account", "default"), ("plan", "*")])
def test_a_value_needs_no_new_copies_and_a_lowered_one_comes_to_the_ledger_first(
    limitbook: LimitBook, engine: Engine, redis: Any, scope: str, scope_id: str
) -> None:
    before = limitbook.set(scope, scope_id, "money", "month", 100).limit
    versions = account_list(redis).version, customer_list(redis, "acme")
    raised = limitbook.set(scope, scope_id, "money", "month", 200).limit
    assert (raised.id, raised.value, raised.version) == (before.id, 200, 2)
    assert values(redis) == {before.id: 200}
    watching = Watching(redis, engine)
    LimitBook(engine, watching).set(scope, scope_id, "money", "month", 50)
    assert watching.recorded[0] == 200  # told before it was recorded
    assert values(redis) == {before.id: 50}
    watching.recorded.clear()
    LimitBook(engine, watching).set(scope, scope_id, "money", "month", 70)
    assert watching.recorded[0] == 70
    now = account_list(redis).version, customer_list(redis, "acme")
    assert now[0] == versions[0]
    assert (now[1] and now[1].version) == (versions[1] and versions[1].version)


def test_a_lowered_value_is_in_force_even_when_it_could_not_be_recorded(
    limitbook: LimitBook, engine: Engine, redis: Any, engine_name: str
) -> None:
    limit = limitbook.set("plan", "pro", "money", "month", 100).limit
    with writing(engine) as connection:
        trigger = "CREATE TRIGGER none BEFORE UPDATE ON limits"
        if engine_name == "sqlite":
            connection.execute(text(f"{trigger} BEGIN SELECT RAISE(ABORT, 'full'); END"))
        else:
            connection.execute(text(f"{trigger} FOR EACH ROW EXECUTE FUNCTION plan_versions_stay()"))
    with pytest.raises(IntegrityError):
        limitbook.set("plan", "pro", "money", "month", 10)
    assert values(redis) == {limit.id: 10}


@pytest.mark.parametrize(
    "change", [{"enforcement": "shadow"}, {"thresholds": (90,)}, {"thresholds": ()}], ids=str
)
def test_changed_terms_make_copies_stale_and_keep_what_was_counted(
    limitbook: LimitBook, redis: Any, change: dict[str, Any]
) -> None:
    before = limitbook.set("route", "gpt-4o", "money", "month", 100, thresholds=(50,)).limit
    after = limitbook.set("route", "gpt-4o", "money", "month", 100, **change)
    assert (after.limit.id, after.limit.created_ms) == (before.id, before.created_ms)
    assert not after.restarted
    assert account_list(redis) == AccountTerms(2, (after.limit,), has_customer_terms=False)
    kept = limitbook.set("route", "gpt-4o", "money", "month", 90).limit
    assert (kept.enforcement, kept.thresholds) == (after.limit.enforcement, after.limit.thresholds)
    assert account_list(redis).version == 2


@pytest.mark.parametrize("change", [{"time_zone": "Asia/Tokyo"}, {"anchor": 10}], ids=str)
def test_other_windows_make_a_new_limit_that_counts_from_now_on(
    limitbook: LimitBook, redis: Any, change: dict[str, Any]
) -> None:
    before = limitbook.set("customer", "acme", "money", "month", 100, enforcement="soft").limit
    changed = limitbook.set("customer", "acme", "money", "month", 100, **change)
    assert changed.restarted
    assert changed.limit.id != before.id
    assert (changed.limit.version, changed.limit.enforcement) == (1, "soft")
    assert changed.limit.created_ms >= before.created_ms
    assert values(redis) == {changed.limit.id: 100}
    assert customer_list(redis, "acme") == CustomerTerms(2, (changed.limit,))
    same = limitbook.set("customer", "acme", "money", "month", 50, **change)
    assert not same.restarted


def test_a_cleared_limit_is_gone_everywhere(limitbook: LimitBook, redis: Any) -> None:
    limit = limitbook.set("trace", "*", "money", "lifetime", 5).limit
    assert limitbook.clear("trace", "*", "money", "lifetime") == limit
    assert values(redis) == {}
    assert account_list(redis) == AccountTerms(2, (), has_customer_terms=False)
    assert limitbook.clear("trace", "*", "money", "lifetime") is None
    assert limitbook.set("trace", "*", "money", "lifetime", 5).limit.id != limit.id


def test_limits_are_listed_by_scope_by_what_they_are_on_and_by_customer(limitbook: LimitBook) -> None:
    def ids(limits: Sequence[KeyLimit]) -> set[str]:
        return {limit.scope_id for limit in limits}

    for scope, scope_id in (
        *(("customer", "acme"), ("customer", "bolt"), ("customer", "*"), ("feature", "acme")),
        *(("workspace", "acme\x1feu"), ("workspace", "bolt\x1f*"), ("customer_feature", "acme\x1fchat")),
    ):
        limitbook.set(scope, scope_id, "money", "day", 1)
    assert len(limitbook.list()) == 7
    assert ids(limitbook.list(scope="customer")) == {"acme", "bolt", "*"}
    assert ids(limitbook.list(scope="customer", scope_ids=["acme", "*"])) == {"acme", "*"}
    assert ids(limitbook.list(customer="acme")) == {"acme", "acme\x1feu", "acme\x1fchat"}
    assert limitbook.list("another account") == []


def test_what_the_ledger_could_not_count_is_refused_before_it_is_recorded(
    limitbook: LimitBook, redis: Any
) -> None:
    for terms, more, complaint in (
        (("customer", "a", "money", "day", AMOUNT_MAX + 1), {}, "from 0 to"),
        (("customer", "a", "money", "minute", 1), {}, "window"),
        (("galaxy", "a", "money", "day", 1), {}, "galaxy"),
        (("customer", "a", "money", "day", 1), {"time_zone": "Mars/Base"}, "Mars/Base"),
        (("customer", "a", "money", "week", 1), {"anchor": 8}, "anchor"),
        (("customer", "a", "money", "day", 1), {"thresholds": (80, 50)}, "rising"),
        (("customer", "a", "requests_per_minute", "minute", 0), {}, "rate"),
    ):
        with pytest.raises(ValueError, match=complaint):
            limitbook.set(*terms, **more)
    assert (limitbook.list(), values(redis)) == ([], {})


@pytest.mark.parametrize(
    ("terms", "more"),
    [
        (("galaxy", "a", "money", "day", 1), {}),
        (("account", "other", "money", "day", 1), {}),
        (("customer", "a", "smiles", "day", 1), {}),
        (("customer", "a", "money", "minute", 1), {}),
        (("customer", "a", "concurrency", "day", 1), {}),
        (("trace", "a", "money", "day", 1), {}),
        (("customer", "a", "tokens_per_minute", "minute", 0), {}),
        (("customer", "a", "money", "day", -1), {}),
        (("customer", "a", "money", "day", 1), {"enforcement": "firm"}),
        (("customer", "a", "money", "day", 1), {"anchor": 2}),
        (("customer", "a", "money", "week", 1), {"anchor": 8}),
        (("customer", "a", "money", "month", 1), {"anchor": 32}),
        (("customer", "a", "money", "lifetime", 1), {"time_zone": "Asia/Tokyo"}),
        (("customer", "a", "concurrency", "now", 1), {"thresholds": (50,)}),
    ],
    ids=str,
)
def test_the_database_refuses_it_too(engine: Engine, terms: tuple[Any, ...], more: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        LimitBook(engine, None).set(*terms, **more)


def test_without_a_copy_changes_are_recorded_and_published_later(engine: Engine, redis: Any) -> None:
    alone, keys = LimitBook(engine, None), Keyring(engine, None)
    _, record = keys.create("app", limits=[NewLimit("day", 5)])
    _, gone = keys.create("gone")
    keys.revoke(gone.id)
    alone.set("key", record.id, "money", "day", 4)
    alone.set("customer", "acme", "money", "day", 3)
    alone.set("customer", "bolt", "money", "day", 3)
    alone.clear("customer", "bolt", "money", "day")
    alone.set("feature", "chat", "tokens_per_minute", "minute", 2)
    assert alone.publish_all() == Published(0, 0, 0, 0)
    assert redis.keys("*") == []
    published = LimitBook(engine, LedgerRows(redis), check_terms).publish_all()
    assert published == Published(keys=2, limits=3, customers=2, dropped=0)
    assert sorted(values(redis).values()) == [2, 3, 4]
    feature = tuple(alone.list(scope="feature"))
    assert account_list(redis) == AccountTerms(2, feature, has_customer_terms=True)
    assert customer_list(redis, "acme") == CustomerTerms(1, tuple(alone.list(customer="acme")))
    assert customer_list(redis, "bolt") == CustomerTerms(2, ())
    assert redis.hget(NAMES.key + gone.id, "st") == b"revoked"
    assert key_row_version(redis, record) == keys.find(record.id).version


def test_a_change_that_could_not_be_published_is_made_good_by_repeating_it(
    limitbook: LimitBook, engine: Engine, redis: Any
) -> None:
    class Gone(LedgerRows):
        def put_account(self, *_: Any) -> None:
            raise RedisConnectionError("gone")

    with pytest.raises(RedisConnectionError):
        LimitBook(engine, Gone(redis)).set("plan", "pro", "money", "day", 5)
    assert redis.get(NAMES.account + ACCOUNT) is None
    limit = limitbook.set("plan", "pro", "money", "day", 5).limit
    assert account_list(redis).limits == (limit,)
    with pytest.raises(RedisConnectionError):
        LimitBook(engine, Gone(redis)).clear("plan", "pro", "money", "day")
    assert account_list(redis).limits == (limit,)
    assert limitbook.clear("plan", "pro", "money", "day") is None
    assert account_list(redis).limits == ()
