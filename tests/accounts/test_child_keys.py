"""Child keys, rotation and changes of keys: what is recorded, published, and ended with its parent."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import Engine

from accounts.key import KeyRecord, digest, document_name
from accounts.keyring import KeyNotFound, Keyring, NewLimit
from accounts.limitbook import LimitBook
from budgets.names import names_of
from budgets.rows import LedgerRows

NAMES = names_of("default")


def published(redis: Any, secret: str) -> KeyRecord | None:
    document = redis.get(document_name(digest(secret)))
    return None if document is None else KeyRecord.from_document(document)


def row(redis: Any, key_id: str) -> tuple[str, int]:
    status, version = redis.hmget(NAMES.key + key_id, "st", "ver")
    return status.decode(), int(version)


def test_a_child_is_as_its_parent_where_nothing_else_is_told(keyring: Keyring, redis: Any) -> None:
    _, parent = keyring.create(
        "team",
        expires_ms=2**50,
        scopes=("proxy.chat", "usage.read"),
        customer="acme",
        routes=("gpt-4*",),
        required=("Observe-Task-Id",),
        limits=[NewLimit("month", 10**9)],
    )
    secret, child = keyring.create("app", parent=parent.id)
    assert child.parent_id == parent.id
    assert child.scopes == ("proxy.chat",)
    assert (child.customer, child.assertion, child.expires_ms) == ("acme", "none", 2**50)
    assert (child.routes, child.required) == (("gpt-4*",), ("Observe-Task-Id",))
    assert child.limits == parent.limits
    assert child.own_limits == ()
    assert child.on_ledger_down == "closed"
    assert published(redis, secret) == child
    with pytest.raises(ValueError, match="would be above its parent"):
        keyring.create("greedy", parent=parent.id, scopes=("proxy.chat", "alerts.read"))
    assert len(keyring.list()) == 2


def test_a_childs_limits_are_its_own_and_all_those_above_it(
    keyring: Keyring, limitbook: LimitBook, redis: Any
) -> None:
    _, parent = keyring.create("team", limits=[NewLimit("month", 10)])
    _, child = keyring.create("app", parent=parent.id, limits=[NewLimit("day", 5)])
    secret, grandchild = keyring.create("job", parent=child.id)
    assert [limit.value for limit in grandchild.limits] == [5, 10]
    _, version = row(redis, grandchild.id)
    limitbook.set("key", parent.id, "money", "day", 7)
    found = published(redis, secret)
    assert found is not None
    assert [limit.value for limit in found.limits] == [5, 10, 7]
    assert row(redis, grandchild.id) == ("active", version + 1)  # so workers learn of it with their next open
    limitbook.clear("key", parent.id, "money", "day")
    found = published(redis, secret)
    assert found is not None
    assert [limit.value for limit in found.limits] == [5, 10]


def test_a_parent_ends_with_its_children(keyring: Keyring, redis: Any) -> None:
    _, parent = keyring.create("team")
    _, other = keyring.create("other")
    secret, child = keyring.create("app", parent=parent.id)
    _, grandchild = keyring.create("job", parent=child.id)
    keyring.revoke(parent.id)
    for each in (parent, child, grandchild):
        assert keyring.find(each.id).status == "revoked"
        assert row(redis, each.id)[0] == "revoked"
    assert published(redis, secret) == keyring.find(child.id)
    assert keyring.find(other.id).status == "active"
    with pytest.raises(ValueError, match="is revoked or expired"):
        keyring.create("late", parent=parent.id)
    with pytest.raises(ValueError, match="is revoked; make a new one"):
        keyring.rotate(child.id)


def test_a_child_ends_alone(keyring: Keyring, redis: Any) -> None:
    _, parent = keyring.create("team")
    _, child = keyring.create("app", parent=parent.id)
    keyring.revoke(child.id)
    assert row(redis, parent.id)[0] == "active"
    assert keyring.find(parent.id).status == "active"


def test_children_are_revoked_in_the_record_even_when_the_copy_cannot_be_told(
    keyring: Keyring, engine: Engine, redis: Any
) -> None:
    class Unreachable(LedgerRows):
        def put_key(self, account_id: str, key: Any) -> None:
            raise RedisConnectionError("gone")

    _, parent = keyring.create("team")
    _, child = keyring.create("app", parent=parent.id)
    with pytest.raises(RedisConnectionError):
        Keyring(engine, Unreachable(redis)).revoke(parent.id)
    assert keyring.find(child.id).status == "revoked"
    keyring.revoke(parent.id)
    assert row(redis, child.id)[0] == "revoked"


def test_a_parent_is_found_before_its_children(keyring: Keyring) -> None:
    _, parent = keyring.create("team")
    _, child = keyring.create("app", parent=parent.id)
    assert keyring.find(parent.id[:9]).id == parent.id
    assert keyring.find(child.id[: len(parent.id) + 4]).id == child.id
    _, sibling = keyring.create("app2", parent=parent.id)
    with pytest.raises(KeyNotFound, match="fits 2 keys"):
        keyring.find(parent.id + ".")
    assert keyring.find(sibling.id) == sibling


# Changes.


def test_a_change_holds_for_the_next_request(keyring: Keyring, redis: Any) -> None:
    secret, record = keyring.create("app", customers=["acme"])
    changed = keyring.update(record.id, name="web", models=("gpt-4o*",), on_ledger_down="open")
    assert (changed.name, changed.models, changed.ledger_down_chosen) == ("web", ("gpt-4o*",), True)
    assert changed.version == record.version + 1
    assert row(redis, record.id) == ("active", 2)
    assert published(redis, secret) == changed
    assert keyring.update(record.id, on_ledger_down=None).ledger_down_chosen is False
    with pytest.raises(ValueError, match="unknown scopes"):
        keyring.update(record.id, scopes=("all",))
    keyring.revoke(record.id)
    with pytest.raises(ValueError, match="is revoked"):
        keyring.update(record.id, name="x")


def test_a_parent_cannot_be_lowered_below_its_children_nor_a_child_raised(keyring: Keyring) -> None:
    _, parent = keyring.create("team", scopes=("proxy.chat", "usage.read"))
    _, child = keyring.create("app", parent=parent.id, scopes=("usage.read",))
    with pytest.raises(ValueError, match=r"key 'app' would be above its parent .*: scope usage\.read"):
        keyring.update(parent.id, scopes=("proxy.chat",))
    with pytest.raises(ValueError, match=r"scope events\.read"):
        keyring.update(child.id, scopes=("events.read",))
    keyring.revoke(child.id)
    assert keyring.update(parent.id, scopes=("proxy.chat",)).scopes == ("proxy.chat",)


# Rotation.


def test_both_secrets_lead_to_the_key_until_the_overlap_ends(keyring: Keyring, redis: Any) -> None:
    old, record = keyring.create("app")
    new, rotated = keyring.rotate(record.id, overlap_ms=60_000)
    assert new != old
    assert (rotated.id, rotated.display, rotated.version) == (record.id, new[-4:], 2)
    found = published(redis, old)
    assert found is not None
    assert (found.id, found.display, found.version) == (record.id, old[-4:], 2)
    now_ms = int(time.time() * 1_000)
    assert found.secret_ends_ms is not None
    assert abs(found.secret_ends_ms - now_ms - 60_000) < 5_000
    assert found.usable(now_ms)
    assert not found.usable(found.secret_ends_ms)
    assert 0 < redis.pttl(document_name(digest(old))) <= 60_000
    assert published(redis, new) == rotated
    assert rotated.secret_ends_ms is None
    assert [each.display for each in keyring.former_secrets(record.id)] == [old[-4:]]


def test_without_an_overlap_no_earlier_secret_works(keyring: Keyring, redis: Any) -> None:
    first, record = keyring.create("app")
    second, _ = keyring.rotate(record.id, overlap_ms=60_000)
    third, rotated = keyring.rotate(record.id)
    assert published(redis, first) is None
    assert published(redis, second) is None
    assert published(redis, third) == rotated
    assert row(redis, record.id) == ("active", 3)
    assert keyring.former_secrets(record.id) == []


def test_a_former_secret_follows_every_change_and_the_revocation(
    keyring: Keyring, limitbook: LimitBook, redis: Any
) -> None:
    old, record = keyring.create("app")
    keyring.rotate(record.id, overlap_ms=60_000)
    keyring.update(record.id, routes=("fast",))
    limitbook.set("key", record.id, "money", "day", 5)
    found = published(redis, old)
    assert found is not None
    assert (found.routes, [limit.value for limit in found.limits]) == (("fast",), [5])
    redis.flushall()
    limitbook.publish_all()
    again = published(redis, old)
    assert again is not None
    assert again.secret_ends_ms == found.secret_ends_ms
    keyring.revoke(record.id)
    ended = published(redis, old)
    assert ended is not None
    assert ended.status == "revoked"
