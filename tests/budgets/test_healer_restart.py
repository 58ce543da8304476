"""The healer and servers that die, and come back with or without what they knew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from budgets.connection import RedisConnection
from budgets.healer import Healer
from budgets.ledger import LedgerUnavailable, Refused
from metering.eventstore import EventStore
from tests.budgets.bookkeeping import Books
from tests.budgets.server import Server
from tests.budgets.test_healer import GRACE_MS, BookTerms, healer_of
from tests.budgets.world import World


@pytest.fixture
async def durable(own_server: Server, tmp_path: Path) -> AsyncIterator[Books]:
    connection = await RedisConnection.connect(own_server.url, patience_s=60)
    world = World(own_server.client, connection)
    store = EventStore(tmp_path / "tollkeeper.db")
    yield Books(world, store)
    store.close()
    await connection.close()


async def refused(world: World) -> Refused:
    """The first answer after the connection has come back."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await world.refused(1)
            except LedgerUnavailable:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("emptied", [False, True])
async def test_a_killed_server_is_compared_with_the_record_when_it_is_back(
    durable: Books, own_server: Server, tmp_path: Path, emptied: bool
) -> None:
    books, world, healer = durable, durable.world, healer_of(durable)
    for at_ms in (0, GRACE_MS):
        healer.pass_once(at_ms)
    limit = world.limit(10_000)
    await books.spend(700, 20)
    books.record()
    await books.spend(50)
    running = await world.granted(100)
    world.redis.hset(world.row(limit).hash, limit.id, bytes(24))  # as if its last writes were lost
    own_server.kill()
    if emptied:
        for file in tmp_path.glob("appendonlydir/*"):
            file.unlink()
    own_server.start()
    assert (await refused(world)).reason == "COLD"
    healer.pass_once(10_000)
    assert await world.ledger.restore(running.lease, 1)
    healer.pass_once(10_000 + GRACE_MS)
    spent = 700 if emptied else 750  # what was only in the outbox went with it
    assert world.counters(limit) == (spent, 100, 20)
    await books.end(running.lease, 5)
    assert world.counters(limit) == (spent + 5, 0, 20)


async def test_a_server_that_is_away_is_told_and_healed_when_it_is_back(
    durable: Books, own_server: Server
) -> None:
    healer = healer_of(durable)
    for at_ms in (0, GRACE_MS):
        healer.pass_once(at_ms)
    own_server.kill()
    with pytest.raises(RedisError):
        healer.pass_once(2 * GRACE_MS)
    own_server.start()
    for at_ms in (3 * GRACE_MS, 4 * GRACE_MS):
        healer.pass_once(at_ms)
    assert (healer.counters.reseeds, healer.counters.cold) == (2, 0)


def test_a_server_that_never_was_is_told(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "tollkeeper.db")
    absent: Any = Redis(unix_socket_path=str(tmp_path / "absent.sock"), retry=Retry(NoBackoff(), 0))
    terms: Any = BookTerms
    with pytest.raises(RedisError):
        Healer(absent, store, terms(None), lambda: None).pass_once(0)
    store.close()
