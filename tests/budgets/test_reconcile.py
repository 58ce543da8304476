"""Comparing the ledger with the record: what is corrected, when, and what is left alone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from budgets.counted import Counted, LimitIndex, counted_event
from budgets.holds import OPEN_MAX
from budgets.limit import Attribution
from budgets.movements import Movements
from budgets.reconcile import Reconciler
from metering.adjustment import encode_adjustment
from metering.event import encode
from metering.eventstore import EventStore
from tests.budgets.bookkeeping import Books, event_for
from tests.budgets.conftest import EVERY_ENGINE
from tests.budgets.test_seed import adjustment
from tests.budgets.world import ACCOUNT, KEY, World

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)
CUSTOMER = Attribution(ACCOUNT, KEY, "acme")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "tollkeeper.db")
    yield store
    store.close()


@pytest.fixture
def books(world: World, store: EventStore) -> Books:
    return Books(world, store)


@pytest.fixture
def reconciler(books: Books) -> Reconciler:
    return Reconciler(books.world.redis, books.store)


def compare(books: Books, reconciler: Reconciler, *, nightly: bool = False) -> None:
    reconciler.compare_now(books.world.names.shard, [books.index], nightly=nightly)


async def test_a_true_ledger_is_left_as_it_is(books: Books, reconciler: Reconciler) -> None:
    world = books.world
    limits = [
        world.limit(10_000),
        world.limit(10_000, scope="account", window="lifetime", enforcement="soft"),
    ]
    limits.append(world.limit(10_000, scope="customer", scope_id="*", window="day", thresholds=(1, 50)))
    running = world.limit(9, kind="concurrency", window="now")
    for number in range(6):
        await books.spend(100 + number, 7, of=CUSTOMER)
        if number == 2:
            books.record()
        if number == 3:
            books.record(delete=False)
    open_still = await world.granted(500, of=CUSTOMER)
    rows = {limit.id: world.counters(limit, CUSTOMER) for limit in (*limits, running)}
    for nightly in (False, True, False):
        compare(books, reconciler, nightly=nightly)
    assert {limit.id: world.counters(limit, CUSTOMER) for limit in (*limits, running)} == rows
    counters = reconciler.counters
    assert counters.compared == 9
    assert (counters.raised, counters.lowered, counters.freed, counters.waiting_nano) == (0, 0, 0, 0)
    await books.end(open_still.lease, 1, of=CUSTOMER)


async def test_what_a_row_lacks_is_added_at_once(books: Books, reconciler: Reconciler) -> None:
    world = books.world
    limit, count = world.limit(10_000), world.limit(10, kind="requests", window="day")
    await books.spend(100, 30)
    books.record()
    await books.spend(20)
    held = await world.granted(500)
    world.set_counters(limit, spent=5, reserved=500, doubted=2)
    world.redis.delete(world.row(count).hash)
    compare(books, reconciler)
    assert world.counters(limit) == (120, 500, 30)
    assert world.counters(count)[0] == 2
    assert world.redis.pttl(world.row(count).hash) > 0
    assert (reconciler.counters.raised, reconciler.counters.up_nano) == (2, 115 + 28)
    await books.end(held.lease, 1)


async def test_what_a_row_has_too_much_is_taken_away_at_night(books: Books, reconciler: Reconciler) -> None:
    world = books.world
    limit, other = world.limit(10_000), world.limit(10_000, scope="customer", scope_id="*")
    await books.spend(100, 30, of=CUSTOMER)
    world.set_counters(limit, spent=900, doubted=70)
    stranger = Attribution(ACCOUNT, KEY, "nobody")
    row = world.row(other, stranger)
    world.redis.hset(row.hash, row.field, (50).to_bytes(8, "little") + bytes(16))
    compare(books, reconciler)
    assert world.counters(limit) == (900, 0, 70)
    assert (reconciler.counters.lowered, reconciler.counters.waiting_nano) == (0, 800 + 40 + 50)
    compare(books, reconciler, nightly=True)
    assert world.counters(limit) == (100, 0, 30)
    assert world.counters(other, stranger) == (0, 0, 0)
    assert (reconciler.counters.lowered, reconciler.counters.down_nano) == (2, 890)
    compare(books, reconciler)
    assert reconciler.counters.waiting_nano == 0


async def test_a_row_that_is_none_is_made_anew_with_its_holds(books: Books, reconciler: Reconciler) -> None:
    world = books.world
    limit, running = world.limit(10_000), world.limit(9, kind="concurrency", window="now")
    await books.spend(100, 30)
    opened = await world.granted(500)
    for each in (limit, running):
        world.redis.hset(world.row(each).hash, each.id, b"garbage")
    compare(books, reconciler)
    assert world.counters(limit) == (100, 500, 30)
    assert world.counters(running) == (0, 1, 0)
    await books.end(opened.lease, 1)
    assert world.counters(limit) == (101, 0, 30)


async def test_holds_of_nobody_are_freed_after_two_comparisons(books: Books, reconciler: Reconciler) -> None:
    world = books.world
    limit, running = world.limit(10_000), world.limit(9, kind="concurrency", window="now")
    opened = await world.granted(500)
    for each, reserved in ((limit, 3_500), (running, 7)):
        world.set_counters(each, reserved=reserved)
    compare(books, reconciler)
    assert world.counters(limit) == (0, 3_500, 0)
    compare(books, reconciler)
    assert world.counters(limit) == (0, 500, 0)
    assert world.counters(running) == (0, 1, 0)
    assert reconciler.counters.freed == 2
    world.set_counters(limit, reserved=-9)
    world.redis.hdel(world.row(running).hash, running.id)
    for _ in range(2):
        compare(books, reconciler)
    assert world.counters(limit) == (0, 500, 0)
    assert world.counters(running) == (0, 1, 0)
    await books.end(opened.lease, 1)


async def test_holds_are_not_counted_in_one_step_where_too_many_requests_run(
    books: Books, reconciler: Reconciler
) -> None:
    world = books.world
    limit = world.limit(10_000)
    world.set_counters(limit, reserved=7)
    world.redis.zadd(world.names.leases, {f"r{n}": 1 for n in range(OPEN_MAX + 1)})
    for _ in range(2):
        compare(books, reconciler)
    assert world.counters(limit) == (0, 7, 0)
    world.redis.delete(world.names.leases)
    compare(books, reconciler)
    assert world.counters(limit) == (0, 0, 0)


async def test_rows_that_say_nothing_are_removed(books: Books, reconciler: Reconciler) -> None:
    world = books.world
    # A request is a minute of this rate: what "busy" used stays worth a row however long the test takes.
    rate = world.limit(1, kind="requests_per_minute", window="minute", scope="customer", scope_id="*")
    running = world.limit(9, kind="concurrency", window="now", scope="customer", scope_id="*")
    await books.spend(1, of=CUSTOMER)
    kept = await world.granted(1, of=Attribution(ACCOUNT, KEY, "busy"))
    names = world.names
    assert (world.redis.hlen(names.rates), world.redis.hlen(names.now)) == (2, 2)
    world.redis.hset(names.rates, f"{rate.id}:acme", 5)
    world.redis.hset(names.rates, f"{rate.id}:bad", b"?")
    compare(books, reconciler)
    assert world.redis.hkeys(names.rates) == [f"{rate.id}:busy".encode()]
    assert world.redis.hkeys(names.now) == [f"{running.id}:busy".encode()]
    assert reconciler.counters.pruned == 3
    await books.end(kept.lease, 1)


async def test_traces_are_compared_each_in_its_own_place(books: Books, reconciler: Reconciler) -> None:
    world = books.world
    limit = world.limit(10_000, scope="trace", scope_id="*", window="lifetime")
    one, two = (Attribution(ACCOUNT, KEY, trace_id=name) for name in ("t1", "t2"))
    await books.spend(100, of=one)
    await books.spend(30, of=two)
    books.record()
    row = world.row(limit, one)
    world.redis.hset(row.hash, row.field, bytes(24))
    world.redis.delete(world.row(limit, two).hash)
    compare(books, reconciler)
    assert world.counters(limit, one) == (100, 0, 0)
    assert world.counters(limit, two) == (30, 0, 0)
    assert world.redis.pttl(world.row(limit, two).hash) > 39 * 86_400_000


class Meanwhile(Movements):
    """Lets something happen right before a reading."""

    acts: ClassVar[list[Any]] = []

    def _act(self) -> None:
        if self.acts:
            self.acts.pop(0)()

    def read_outbox(self) -> None:
        self._act()
        super().read_outbox()

    def read_outbox_until(self, last_id: str) -> None:
        self._act()
        super().read_outbox_until(last_id)

    def read_record(self, **options: Any) -> None:
        self._act()
        super().read_record(**options)


@pytest.mark.parametrize("recorded", range(7))
@pytest.mark.parametrize("ended", range(6))
async def test_what_ends_and_moves_meanwhile_is_no_drift(
    books: Books, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch, ended: int, recorded: int
) -> None:
    world = books.world
    limit = world.limit(10_000)
    each = world.limit(10_000, scope="customer", scope_id="*")
    await books.spend(100, of=CUSTOMER)
    await books.spend(20, 6, of=CUSTOMER)

    def ends() -> None:  # a close's two effects, in one step
        event = event_for(CUSTOMER, 7, 1)
        pipeline = world.redis.pipeline(transaction=True)
        for row in LimitIndex(ACCOUNT, [limit, each]).rows(_counted(event)):
            found = world.redis.hget(row.hash, row.field)
            spent, doubted = int.from_bytes(found[:8], "little") + 7, int.from_bytes(found[16:], "little") + 1
            content = spent.to_bytes(8, "little") + bytes(8) + doubted.to_bytes(8, "little")
            pipeline.hset(row.hash, row.field, content)
        pipeline.xadd(world.names.outbox, {"e": encode(event)})
        pipeline.execute()

    acts: list[Any] = [lambda: None] * 8
    acts[ended] = ends

    def both() -> None:
        ends()
        books.record()

    acts[recorded] = both if recorded == ended else books.record
    monkeypatch.setattr(Meanwhile, "acts", acts)
    monkeypatch.setattr("budgets.drift.Movements", Meanwhile)
    compare(books, reconciler, nightly=True)
    counters = reconciler.counters
    assert (counters.raised, counters.lowered) == (0, 0)
    assert counters.compared + counters.unsure == 2
    for act in Meanwhile.acts:
        act()  # what there was no reading for
    assert world.counters(limit) == (127, 0, 7)


def _counted(event: Any) -> Counted:
    return counted_event(event)


async def test_a_lost_event_among_moving_ones_is_noticed(
    books: Books, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = books.world
    limit = world.limit(10_000)
    await books.spend(100)
    books.store.append([event_for(world.of, 5)])  # counted nowhere
    monkeypatch.setattr(Meanwhile, "acts", [lambda: None] * 3 + [books.record])
    monkeypatch.setattr("budgets.drift.Movements", Meanwhile)
    compare(books, reconciler)
    assert world.counters(limit) == (105, 0, 0)


async def test_corrections_of_costs_are_no_drift(books: Books, reconciler: Reconciler) -> None:
    world = books.world
    limit = world.limit(10_000)
    event = await books.spend(100, 50)
    world.redis.xadd(world.names.outbox, {"a": encode_adjustment(adjustment(event, 11, -50))})
    world.set_counters(limit, spent=111)
    compare(books, reconciler, nightly=True)
    books.record()
    compare(books, reconciler, nightly=True)
    assert world.counters(limit) == (111, 0, 0)
    assert (reconciler.counters.raised, reconciler.counters.lowered) == (0, 0)


async def test_a_shard_that_is_not_whole_is_not_corrected(books: Books, reconciler: Reconciler) -> None:
    world = books.world
    limit = world.limit(10_000)
    await books.spend(100)
    world.set_counters(limit, spent=1)
    world.redis.hdel(world.names.meta, "complete_since")
    compare(books, reconciler, nightly=True)
    assert world.counters(limit) == (1, 0, 0)


async def test_a_backlog_is_waited_for(
    books: Books, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = books.world
    limit = world.limit(10_000)
    await books.spend(100)
    await books.spend(100)
    world.set_counters(limit, spent=1)
    monkeypatch.setattr("budgets.reconcile.BACKLOG_MAX", 1)
    compare(books, reconciler)
    assert world.counters(limit) == (1, 0, 0)
    assert reconciler.counters.skipped == 1


async def test_each_shard_has_its_turn_once_a_minute_and_its_night_once_a_day(books: Books) -> None:
    world = books.world
    limit = world.limit(10_000)
    shard = world.names.shard
    moment = [datetime(2026, 11, 21, 2, 30, tzinfo=UTC)]
    reconciler = Reconciler(
        world.redis, books.store, now_ms=lambda: int(moment[0].timestamp() * 1_000), budget_s=9
    )
    world.set_counters(limit, spent=9)

    def advance(at_ms: int) -> int:
        before = reconciler.counters.compared
        reconciler.advance([shard], lambda _: [books.index], at_ms)
        return reconciler.counters.compared - before

    assert [advance(ms) for ms in (0, 59_999, 60_000, 60_001, 119_999, 120_000)] == [0, 0, 1, 0, 0, 1]
    assert world.counters(limit) == (9, 0, 0)
    moment[0] = datetime(2026, 11, 21, 3, 1, tzinfo=UTC)
    assert advance(180_000) == 1
    assert world.counters(limit) == (0, 0, 0)
    world.set_counters(limit, spent=9)
    advance(240_000)
    assert world.counters(limit) == (9, 0, 0)
    moment[0] = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
    advance(300_000)
    assert world.counters(limit) == (0, 0, 0)


async def test_a_comparison_is_cut_into_steps(books: Books) -> None:
    world = books.world
    for window in ("day", "week", "month"):
        world.limit(10_000, window=window)
    await books.spend(1)
    reconciler = Reconciler(world.redis, books.store, budget_s=0)
    counts = []
    for at_ms in range(0, 180_000, 60_000):
        for _ in range(7):
            reconciler.advance([world.names.shard], lambda _: [books.index], at_ms)
            counts.append(reconciler.counters.compared)
    assert counts[:13] == [0] * 7 + [1, 2, 3, 3, 3, 3]


@pytest.mark.wide
async def test_traffic_and_recorders_at_full_speed_are_no_drift(books: Books, reconciler: Reconciler) -> None:
    """Two recorders drain what requests put in, while the ledger is compared again and again."""
    world = books.world
    limits = [world.limit(10**12), world.limit(10**12, scope="customer", scope_id="*", window="day")]
    over = threading.Event()

    def while_it_lasts(act: Callable[[], object]) -> None:
        while not over.is_set():
            act()

    async def traffic(number: int) -> int:
        count = 0
        while not over.is_set():
            await books.spend(100 + number, 3, of=Attribution(ACCOUNT, KEY, f"c{count % 7}"))
            count += 1
        return count * (100 + number)

    with ThreadPoolExecutor(3) as pool:
        working = [
            pool.submit(while_it_lasts, books.record),
            pool.submit(while_it_lasts, books.record),
            pool.submit(while_it_lasts, lambda: compare(books, reconciler, nightly=True)),
        ]
        asyncio.get_running_loop().call_later(1.5, over.set)
        spent = sum(await asyncio.gather(*(traffic(number) for number in range(4))))
    for each in working:
        each.result()
    counters = reconciler.counters
    assert (counters.raised, counters.lowered, counters.freed) == (0, 0, 0)
    assert counters.compared > 10
    print(counters)
    assert world.counters(limits[0])[0] == spent


@pytest.mark.slow
async def test_a_hundred_thousand_rows_are_compared_and_the_wrong_one_is_found(books: Books) -> None:
    world = books.world
    limit = world.limit(10_000, scope="customer", scope_id="*")
    many = [event_for(Attribution(ACCOUNT, KEY, f"customer-{n}"), 5) for n in range(100_000)]
    for start in range(0, len(many), 5_000):
        books.store.append(many[start : start + 5_000])
    world.redis.hdel(world.names.meta, "complete_since")
    assert books.seed() is not None
    row = world.row(limit, Attribution(ACCOUNT, KEY, "customer-77"))
    world.redis.hset(row.hash, row.field, bytes(24))
    reconciler = Reconciler(world.redis, books.store)
    began, used = time.perf_counter(), time.process_time()
    compare(books, reconciler)
    print(f"compared in {time.perf_counter() - began:.2f} s, cpu {time.process_time() - used:.2f} s")
    assert reconciler.counters.compared == 100_000
    assert reconciler.counters.raised == 1
