"""A worker's copy of keys: how old it may be, and how large."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from accounts.key import KeyRecord, digest, document_name, mint
from accounts.keycache import KeyCache
from tests.accounts.test_key import RECORD


class Published:
    """Published documents, and how often each was asked for."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.now = 0.0
        self.cache = KeyCache(self.fetch, entries_max=3, clock=lambda: self.now)

    async def fetch(self, name: str) -> bytes | None:
        self.asked.append(name)
        return self.documents.get(name)

    def put(self, record: KeyRecord = RECORD, secret: str | None = None) -> str:
        secret = secret or mint()[0]
        self.documents[document_name(digest(secret))] = record.to_document()
        return secret


@pytest.fixture
def published() -> Published:
    return Published()


IN_FORCE = replace(RECORD, expires_ms=None)


async def test_a_key_is_asked_for_once_until_it_is_invalidated(published: Published) -> None:
    secret = published.put()
    assert await published.cache.find(secret) == RECORD
    published.put(replace(RECORD, version=4), secret)
    published.now = 1_000_000.0
    assert (await published.cache.find(secret)) == RECORD
    assert published.asked == [document_name(digest(secret))]
    published.cache.invalidate(secret)
    found = await published.cache.find(secret)
    assert found is not None
    assert found.version == 4


async def test_calls_without_the_ledger_see_a_change_within_five_seconds(published: Published) -> None:
    secret = published.put(IN_FORCE)
    assert await published.cache.find_fresh(secret) == IN_FORCE
    published.put(replace(IN_FORCE, status="revoked"), secret)
    published.now = 4.9
    assert await published.cache.find_fresh(secret) == IN_FORCE
    published.now = 5.0
    assert await published.cache.find_fresh(secret) is None
    found = await published.cache.find(secret)
    assert found is not None
    assert found.status == "revoked"  # the ledger refuses it, and says why


async def test_a_document_that_has_not_changed_is_asked_for_and_not_read_again(published: Published) -> None:
    cache = KeyCache(published.fetch, fresh_s=0)
    secret = published.put(IN_FORCE)
    first = await cache.find_fresh(secret)
    assert await cache.find_fresh(secret) is first
    published.put(replace(IN_FORCE, scopes=("events.write",)), secret)
    assert await cache.find_fresh(secret) == replace(IN_FORCE, scopes=("events.write",))
    assert published.asked == [document_name(digest(secret))] * 3


async def test_calls_without_the_ledger_refuse_an_expired_key(published: Published) -> None:
    now_ms = time.time_ns() // 1_000_000
    old, new = (
        published.put(replace(RECORD, expires_ms=now_ms - 1)),
        published.put(replace(RECORD, expires_ms=now_ms + 60_000)),
    )
    assert await published.cache.find_fresh(old) is None
    assert await published.cache.find_fresh(new) is not None


async def test_an_absent_key_is_remembered_for_five_seconds(published: Published) -> None:
    secret = mint()[0]
    assert await published.cache.find(secret) is None
    published.put(secret=secret)
    published.now = 4.9
    assert await published.cache.find(secret) is None
    assert len(published.asked) == 1
    published.now = 5.0
    assert await published.cache.find(secret) == RECORD


async def test_an_absent_key_that_was_just_made_is_found_after_invalidation(published: Published) -> None:
    secret = mint()[0]
    assert await published.cache.find_fresh(secret) is None
    published.put(IN_FORCE, secret)
    published.cache.invalidate(secret)
    assert await published.cache.find_fresh(secret) == IN_FORCE


async def test_the_least_used_keys_give_way_and_invented_ones_push_none_out(published: Published) -> None:
    kept, dropped, third = published.put(), published.put(), published.put()
    for secret in (kept, dropped, third, kept):
        await published.cache.find(secret)
    for _ in range(50):
        assert await published.cache.find(mint()[0]) is None
    await published.cache.find(published.put())  # a fourth: one must go
    published.asked.clear()
    assert await published.cache.find(kept) == RECORD
    assert published.asked == []
    assert await published.cache.find(dropped) == RECORD
    assert len(published.asked) == 1
    assert len(published.cache._absent) == 3


async def test_a_key_that_vanished_is_forgotten(published: Published) -> None:
    secret = published.put(IN_FORCE)
    await published.cache.find_fresh(secret)
    published.documents.clear()
    published.now = 6.0
    assert await published.cache.find_fresh(secret) is None
    assert await published.cache.find(secret) is None


async def test_faults_of_the_store_reach_the_caller_and_are_not_remembered(published: Published) -> None:
    secret = published.put()

    async def broken(name: str) -> bytes | None:
        raise ConnectionError(name)

    cache = KeyCache(broken)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await cache.find(secret)
