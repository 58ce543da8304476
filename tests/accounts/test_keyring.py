"""The keyring: what is recorded, what is published, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from accounts.key import KeyRecord, digest, document_name
from accounts.keyring import KeyNotFound, Keyring, NewLimit
from accounts.limitbook import LimitBook
from budgets.limit import AMOUNT_MAX
from budgets.names import names_of
from budgets.rows import LedgerRows

NAMES = names_of("default")


def published(redis: Any, secret: str) -> KeyRecord:
    return KeyRecord.from_document(redis.get(document_name(digest(secret))))


def key_row(redis: Any, record: KeyRecord) -> tuple[str, int, str]:
    st, ver, exp = redis.hmget(NAMES.key + record.id, "st", "ver", "exp")
    return st.decode(), int(ver), exp.decode()


def test_a_new_key_is_recorded_and_published_without_its_secret(
    keyring: Keyring, engine: Engine, redis: Any
) -> None:
    secret, record = keyring.create("app", expires_ms=99, limits=[NewLimit("month", 25 * 10**9)])
    assert keyring.list() == [record] == [keyring.find(record.id)]
    assert published(redis, secret) == record
    assert key_row(redis, record) == ("active", 1, "99")
    (limit,) = record.limits
    assert abs(limit.created_ms - LedgerRows(redis).now_ms("default")) < 5_000
    assert redis.hgetall(NAMES.limits) == {limit.id.encode(): b"25000000000"}
    assert (limit.window, limit.kind, limit.enforcement, limit.version) == ("month", "money", "hard", 1)
    assert record.display == secret[-4:]
    with engine.connect() as connection:
        stored = repr(connection.execute(text("SELECT * FROM keys")).all())
    assert secret not in stored
    assert secret not in repr([redis.get(name) for name in redis.keys("t2:key:*")])


def test_what_a_key_may_assert_follows_from_its_bindings_unless_told(keyring: Keyring) -> None:
    assert keyring.create("plain")[1].assertion == "listed"
    assert keyring.create("bound", customer="acme")[1].assertion == "none"
    assert keyring.create("part", customer="acme", features=["a", "b"])[1].assertion == "listed"
    assert keyring.create("first", assertion="any")[1].assertion == "any"
    with pytest.raises(ValueError, match="assertion 'all' is unknown; known: none, listed, any"):
        keyring.create("x", assertion="all")
    with pytest.raises(ValueError, match="need the assertion listed"):
        keyring.create("x", assertion="any", customers=["a"])


def test_a_key_with_a_limit_is_closed_when_the_ledger_is_away_unless_told(
    keyring: Keyring, limitbook: LimitBook
) -> None:
    _, record = keyring.create("free")
    assert (record.on_ledger_down, record.ledger_down_chosen) == ("open", False)
    limitbook.set("key", record.id, "money", "day", 1)
    assert keyring.find(record.id).on_ledger_down == "closed"
    _, brave = keyring.create("brave", limits=[NewLimit("day", 1)], on_ledger_down="open")
    assert (brave.on_ledger_down, brave.ledger_down_chosen) == ("open", True)


def test_an_allowance_goes_with_its_choice_alone(keyring: Keyring, redis: Any) -> None:
    secret, record = keyring.create("app", on_ledger_down="allowance", allowance_nano=5 * 10**9)
    assert (record.on_ledger_down, record.allowance_nano) == ("allowance", 5 * 10**9)
    assert published(redis, secret) == record
    for choice, nano, complaint in (
        ("allowance", 0, "needs an amount"),
        ("open", 5, "goes with the choice allowance, not with open"),
        (None, 5, "not with the default"),
        ("ajar", 0, "'ajar' is no way to go on"),
    ):
        with pytest.raises(ValueError, match=complaint):
            keyring.create("x", on_ledger_down=choice, allowance_nano=nano)
    with pytest.raises(IntegrityError):
        keyring.create("x", on_ledger_down="allowance", allowance_nano=AMOUNT_MAX + 1)
    assert len(keyring.list()) == 1


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


def test_a_revocation_holds_at_once_and_for_good(keyring: Keyring, limitbook: LimitBook, redis: Any) -> None:
    secret, record = keyring.create("app")
    revoked = keyring.revoke(record.id)
    assert (revoked.status, revoked.version) == ("revoked", 2)
    assert key_row(redis, record) == ("revoked", 2, "")
    assert published(redis, secret) == revoked
    assert keyring.revoke(record.id) == revoked
    limitbook.set("key", record.id, "money", "day", 5)
    assert key_row(redis, record)[0] == "revoked"


class Unreachable(LedgerRows):
    """A copy whose server goes away when a key is to be revoked."""

    def put_key(self, account_id: str, key: Any) -> None:
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


def test_a_key_has_one_limit_of_a_kind_for_each_window(keyring: Keyring) -> None:
    limits = [
        NewLimit("day", 1),
        NewLimit("day", 2, kind="tokens"),
        NewLimit("minute", 3, kind="requests_per_minute"),
    ]
    assert len(keyring.create("app", limits=limits)[1].limits) == 3
    with pytest.raises(ValueError, match="at most one limit of a kind for each window"):
        keyring.create("x", limits=[NewLimit("day", 1), NewLimit("day", 2)])
    for impossible in (NewLimit("day", AMOUNT_MAX + 1), NewLimit("decade", 1), NewLimit("day", 1, "firm")):
        with pytest.raises(IntegrityError):
            keyring.create("x", limits=[impossible])
    assert len(keyring.list()) == 1


def test_a_revocation_between_the_reading_and_the_writing_of_another_change_is_not_undone(
    keyring: Keyring, engine: Engine, redis: Any
) -> None:
    _, record = keyring.create("app")

    class Interrupted(LedgerRows):
        """While it publishes a change, a revocation reaches the copy: before or after, it must stand."""

        done = False

        def put_keys(self, account_id: str, keys: Sequence[Any]) -> None:
            if not self.done:
                self.done = True
                revoked = [replace(key, status="revoked") for key in keys]
                LedgerRows(redis).put_keys(account_id, revoked)  # another process' first step
            super().put_keys(account_id, keys)

    LimitBook(engine, Interrupted(redis)).set("key", record.id, "money", "day", 5)
    assert key_row(redis, record)[0] == "active"  # overwritten for a moment ...
    keyring.revoke(record.id)  # ... until the other process' later steps
    assert key_row(redis, record)[0] == "revoked"
