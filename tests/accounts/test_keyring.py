"""The keyring: what is recorded, what is published, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from accounts.key import KeyLimit, KeyRecord, digest, document_name
from accounts.keyring import KeyNotFound, Keyring, NewLimit
from budgets.limit import AMOUNT_MAX
from budgets.names import names_of
from budgets.rows import LedgerRows

NAMES = names_of("default")


def published(redis: Any, secret: str) -> KeyRecord:
    return KeyRecord.from_document(redis.get(document_name(digest(secret))))


def key_row(redis: Any, record: KeyRecord) -> tuple[str, int, str]:
    st, ver, exp = redis.hmget(NAMES.key + record.id, "st", "ver", "exp")
    return st.decode(), int(ver), exp.decode()


def limit_row(redis: Any, limit: KeyLimit) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in redis.hgetall(NAMES.limit + limit.id).items()}


def test_a_new_key_is_recorded_and_published_without_its_secret(
    keyring: Keyring, engine: Engine, redis: Any
) -> None:
    secret, record = keyring.create("app", expires_ms=99, limits=[NewLimit("month", 25 * 10**9)])
    assert keyring.list() == [record] == [keyring.find(record.id)]
    assert published(redis, secret) == record
    assert key_row(redis, record) == ("active", 1, "99")
    (limit,) = record.limits
    row = limit_row(redis, limit)
    assert abs(int(row.pop("created")) - LedgerRows(redis).now_ms()) < 5_000
    assert row == {
        "value": "25000000000",
        "kind": "money",
        "enforcement": "hard",
        "version": "1",
        "window": "month",
    }
    assert record.display == secret[-4:]
    with engine.connect() as connection:
        stored = repr(connection.execute(text("SELECT * FROM keys")).all())
    assert secret not in stored
    assert secret not in repr([redis.get(name) for name in redis.keys("t1:key:*")])


def test_what_a_key_may_assert_follows_from_its_bindings_unless_told(keyring: Keyring) -> None:
    assert keyring.create("plain")[1].assertion == "listed"
    assert keyring.create("bound", customer="acme")[1].assertion == "none"
    assert keyring.create("part", customer="acme", features=["a", "b"])[1].assertion == "listed"
    assert keyring.create("first", assertion="any")[1].assertion == "any"
    with pytest.raises(ValueError, match="assertion 'all' is unknown; known: none, listed, any"):
        keyring.create("x", assertion="all")
    with pytest.raises(ValueError, match="need the assertion listed"):
        keyring.create("x", assertion="any", customers=["a"])


def test_a_key_with_a_limit_is_closed_when_the_ledger_is_away_unless_told(keyring: Keyring) -> None:
    _, record = keyring.create("free")
    assert record.on_ledger_down == "open"
    keyring.set_limit(record.id, "day", 1)
    assert keyring.find(record.id).on_ledger_down == "closed"
    assert (
        keyring.create("brave", limits=[NewLimit("day", 1)], on_ledger_down="open")[1].on_ledger_down
        == "open"
    )


def test_a_key_is_found_by_id_by_its_beginning_or_by_name(keyring: Keyring) -> None:
    _, record = keyring.create("app")
    _, other = keyring.create("twin")
    keyring.create("twin")
    for reference in (record.id, record.id[:12], record.id.removeprefix("key_")[:8], "app"):
        assert keyring.find(reference).id == record.id
    for reference in ("nobody", "", "%", "key!"):
        with pytest.raises(KeyNotFound, match="no key has the id or name"):
            keyring.find(reference)
    with pytest.raises(KeyNotFound, match="fits 3 keys"):
        keyring.find("key_")
    with pytest.raises(KeyNotFound, match=f"fits 2 keys .*{other.id}"):
        keyring.find("twin")


def test_a_revocation_holds_at_once_and_for_good(keyring: Keyring, redis: Any) -> None:
    secret, record = keyring.create("app")
    revoked = keyring.revoke(record.id)
    assert (revoked.status, revoked.version) == ("revoked", 2)
    assert key_row(redis, record) == ("revoked", 2, "")
    assert published(redis, secret) == revoked
    assert keyring.revoke(record.id) == revoked
    keyring.set_limit(record.id, "day", 5)
    assert key_row(redis, record)[0] == "revoked"


class Unreachable(LedgerRows):
    """A copy whose server goes away when a key is to be published."""

    def put_key(self, **fields: Any) -> None:
        raise RedisConnectionError("gone")


def test_a_revocation_is_recorded_even_when_the_copy_cannot_be_told(
    keyring: Keyring, engine: Engine, redis: Any
) -> None:
    _, record = keyring.create("app")
    with pytest.raises(RedisConnectionError):
        Keyring(engine, Unreachable(redis)).revoke(record.id)
    assert keyring.find(record.id).status == "revoked"
    assert key_row(redis, record)[0] == "active"
    keyring.revoke(record.id)  # repeated when the server is back
    assert key_row(redis, record)[0] == "revoked"


def test_raising_a_limit_needs_no_new_copy_of_the_key_and_lowering_comes_to_the_ledger_first(
    keyring: Keyring, engine: Engine, redis: Any
) -> None:
    _, record = keyring.create("app", limits=[NewLimit("month", 100)])
    raised = keyring.set_limit(record.id, "month", 200)
    assert (raised.id, raised.value_nano, raised.version) == (record.limits[0].id, 200, 2)
    assert limit_row(redis, raised)["value"] == "200"
    assert keyring.find(record.id).version == 1

    class Watching(LedgerRows):
        recorded: list[int]

        def put_limit(self, account_id: str, limit: Any, *, created_ms: int) -> None:
            with engine.connect() as connection:
                self.recorded.append(connection.execute(text("SELECT value_nano FROM limits")).scalar_one())
            super().put_limit(account_id, limit, created_ms=created_ms)

    watching = Watching(redis)
    watching.recorded = []
    Keyring(engine, watching).set_limit(record.id, "month", 50)
    assert watching.recorded[0] == 200  # told before it was recorded
    assert limit_row(redis, raised)["value"] == "50"
    watching.recorded.clear()
    Keyring(engine, watching).set_limit(record.id, "month", 70)
    assert watching.recorded[0] == 70


def test_a_changed_enforcement_makes_copies_stale_and_keeps_the_rest(keyring: Keyring, redis: Any) -> None:
    secret, record = keyring.create("app", limits=[NewLimit("month", 100)])
    created = limit_row(redis, record.limits[0])["created"]
    soft = keyring.set_limit(record.id, "month", 100, "soft")
    assert keyring.find(record.id).version == 2
    assert published(redis, secret).limits == (soft,)
    assert limit_row(redis, soft) | {"enforcement": "hard", "version": "1"} == {
        **limit_row(redis, record.limits[0]),
        "enforcement": "hard",
        "version": "1",
    }
    assert limit_row(redis, soft)["created"] == created
    assert keyring.set_limit(record.id, "month", 90).enforcement == "soft"


def test_a_new_and_a_cleared_limit_make_copies_stale(keyring: Keyring, redis: Any) -> None:
    secret, record = keyring.create("app")
    limit = keyring.set_limit(record.id, "day", 5)
    assert key_row(redis, record)[1] == 2
    assert published(redis, secret).limits == (limit,)
    assert keyring.clear_limit(record.id, "day") is True
    assert key_row(redis, record)[1] == 3
    assert published(redis, secret).limits == ()
    assert redis.exists(NAMES.limit + limit.id) == 0
    assert keyring.clear_limit(record.id, "day") is False
    assert keyring.set_limit(record.id, "day", 5).id != limit.id


def test_limits_are_listed_for_all_keys_or_one(keyring: Keyring) -> None:
    _, one = keyring.create("one", limits=[NewLimit("day", 1), NewLimit("month", 2)])
    _, two = keyring.create("two", limits=[NewLimit("lifetime", 3, "shadow")])
    assert {limit.value_nano for limit in keyring.list_limits()} == {1, 2, 3}
    assert list(keyring.list_limits(key_id=two.id)) == list(two.limits)
    assert len(one.limits) == 2


def test_the_database_refuses_what_the_ledger_could_not_count(keyring: Keyring) -> None:
    _, record = keyring.create("app", limits=[NewLimit("day", AMOUNT_MAX)])
    for window, value, enforcement in (
        ("day", AMOUNT_MAX + 1, "hard"),
        ("week", 1, "hard"),
        ("month", -1, "hard"),
        ("month", 1, "firm"),
    ):
        with pytest.raises((IntegrityError, ValueError)):
            keyring.set_limit(record.id, window, value, enforcement)
    with pytest.raises(ValueError, match="at most one limit for each window"):
        keyring.create("x", limits=[NewLimit("day", 1), NewLimit("day", 2)])
    assert [limit.value_nano for limit in keyring.find(record.id).limits] == [AMOUNT_MAX]


def test_without_a_copy_changes_are_recorded_and_published_later(engine: Engine, redis: Any) -> None:
    alone = Keyring(engine, None)
    secret, record = alone.create("app", limits=[NewLimit("day", 5)])
    alone.set_limit(record.id, "day", 4)
    alone.set_limit(record.id, "month", 9)
    _, gone = alone.create("gone")
    alone.revoke(gone.id)
    assert alone.publish_all() == 0
    assert redis.keys("*") == []
    assert Keyring(engine, LedgerRows(redis)).publish_all() == 2
    assert published(redis, secret) == alone.find(record.id)
    assert [limit_row(redis, limit)["value"] for limit in alone.find(record.id).limits] == ["4", "9"]
    assert key_row(redis, gone)[0] == "revoked"


def test_a_revocation_between_the_reading_and_the_writing_of_another_change_is_not_undone(
    keyring: Keyring, engine: Engine, redis: Any
) -> None:
    _, record = keyring.create("app")

    class Interrupted(LedgerRows):
        """While it publishes a change, a revocation reaches the copy: before or after, it must stand."""

        done = False

        def put_key(self, **fields: Any) -> None:
            if not self.done:
                self.done = True
                LedgerRows(redis).put_key(**{**fields, "status": "revoked"})  # another process' first step
            super().put_key(**fields)

    Keyring(engine, Interrupted(redis)).set_limit(record.id, "day", 5)
    assert key_row(redis, record)[0] == "active"  # overwritten for a moment ...
    keyring.revoke(record.id)  # ... until the other process' later steps
    assert key_row(redis, record)[0] == "revoked"
