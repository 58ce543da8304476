"""Making a shard whole: what is counted, and once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from redis import Redis

from budgets.counted import LimitIndex
from budgets.hold import Hold
from budgets.ledger import Closed
from budgets.limit import AMOUNT_MAX, Attribution, Limit
from budgets.movements import Movements
from budgets.names import names_of
from budgets.seed import Seeded, SeedError, is_whole, seed_shard
from budgets.tally import NAMED_MAX
from budgets.window import window_of
from metering.adjustment import Adjustment, encode_adjustment
from metering.event import encode
from metering.eventstore import EventStore
from tests.budgets.bookkeeping import Books, event_for
from tests.budgets.conftest import EVERY_ENGINE
from tests.budgets.world import ACCOUNT, KEY, World

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)
DAY_MS = 86_400_000
SEP = "\x1f"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "tollkeeper.db")
    yield store
    store.close()


@pytest.fixture
def books(world: World, store: EventStore) -> Books:
    return Books(world, store)


async def test_a_cold_shard_counts_what_is_recorded_and_then_admits(books: Books) -> None:
    world = books.world
    limits = [world.limit(1_000, window=window) for window in ("day", "month", "lifetime")]
    zoned = world.limit(1_000, window="week", scope="account", time_zone="Asia/Tokyo", anchor=3)
    now_ms = world.now_ms
    for ago_ms, spent in ((0, 10), (70 * DAY_MS, 500)):
        event = event_for(world.of, spent, 1, started_ms=now_ms - ago_ms)
        books.store.append([event])
    books.forget()
    assert (await world.refused(1)).reason == "COLD"
    seeded = books.seed()
    assert seeded == Seeded(rows=4, rounds=1)
    assert [world.counters(limit) for limit in limits] == [(10, 0, 1), (10, 0, 1), (510, 0, 2)]
    assert world.counters(zoned) == (10, 0, 1)
    assert (await world.granted(50)).remaining_nano == 1_000 - 510 - 2 - 50
    for limit in (*limits[:2], zoned):
        ends = window_of(limit, now_ms).end_ms + 40 * DAY_MS
        assert world.redis.pexpiretime(world.row(limit).hash) == ends
    assert world.redis.pttl(world.row(limits[2]).hash) == -1
    assert world.redis.exists(world.names.seeding) == 0


async def test_every_scope_and_kind_is_counted_by_its_own_names(books: Books) -> None:
    world = books.world
    of = Attribution(ACCOUNT, KEY, "acme", "lab", "sum", "pro", "t1", "fast")
    other = replace(of, customer="bolt", workspace="yard", feature="chat", trace_id="t2", route="slow")
    world.of = of
    limits = [
        world.limit(10**9, scope=scope, kind=kind, window="lifetime" if scope == "trace" else "day")
        for scope, kind in (
            ("account", "money"),
            ("key", "requests"),
            ("customer", "tokens"),
            ("workspace", "input_tokens"),
            ("feature", "output_tokens"),
            ("customer_feature", "money"),
            ("plan", "money"),
            ("trace", "money"),
            ("route", "money"),
        )
    ]
    each = [
        world.limit(10**9, scope=scope, scope_id=scope_id)
        for scope, scope_id in (
            ("customer", "*"),
            ("workspace", f"acme{SEP}*"),
            ("customer_feature", f"*{SEP}sum"),
            ("trace", "*"),
        )
        if scope != "trace"
    ]
    traces = world.limit(10**9, scope="trace", scope_id="*", window="lifetime")
    hold = Hold(500, 500, 500, input_tokens=99, output_tokens=(99, 99, 99))
    for whom, spent in ((of, 100), (other, 7)):
        opened = await world.granted(hold, of=whom)
        await books.end(opened.lease, spent, 5, of=whom, input_tokens=30, output_tokens=12)
    before = {
        (limit.id, whom.customer): world.counters(limit, whom)
        for limit in (*limits, *each, traces)
        for whom in (of, other)
        if limit.scope in ("account", "key", "plan") or limit in each or limit is traces or whom is of
    }
    assert before[limits[2].id, "acme"] == (42, 0, 0)
    assert before[each[0].id, "bolt"] == (7, 0, 5)
    for recorded in (False, True):
        if recorded:
            books.record()
        books.forget()
        if not recorded:
            for whom, spent in ((of, 100), (other, 7)):  # the outbox went with the rest
                event = event_for(whom, spent, 5, input_tokens=30, output_tokens=12)
                world.redis.xadd(world.names.outbox, {"e": encode(event)})
        assert books.seed() is not None
        after = {
            name: world.counters(_limit(world, name[0]), of if name[1] == "acme" else other)
            for name in before
        }
        assert after == before


def _limit(world: World, limit_id: str) -> Limit:
    return next(limit for limit in world.limits if limit.id == limit_id)


async def test_a_whole_shard_is_left_as_it_is(books: Books) -> None:
    limit = books.world.limit(1_000)
    await books.world.granted(100)
    books.store.append([event_for(books.world.of, 999)])
    assert books.seed() is None
    assert books.world.counters(limit) == (0, 100, 0)


async def test_a_shard_that_was_seeded_on_another_run_is_not_whole(books: Books) -> None:
    world = books.world
    limit = world.limit(1_000)
    world.redis.hset(world.names.meta, "run_id", "another")
    world.set_counters(limit, spent=5, reserved=7, doubted=9)
    assert not is_whole(world.redis, world.names, books.run_id)
    assert books.seed() is not None
    assert is_whole(world.redis, world.names, books.run_id)
    assert world.counters(limit) == (0, 0, 0)


async def test_open_requests_keep_their_holds_and_close_as_ever(books: Books) -> None:
    world = books.world
    limit, running = world.limit(1_000), world.limit(9, kind="concurrency", window="now")
    one, two = await world.granted(100), await world.granted(200)
    books.store.append([event_for(world.of, 40, 5)])
    world.redis.hset(world.names.meta, "run_id", "another")
    world.set_counters(limit, reserved=999)  # a leak ends here too
    assert books.seed() is not None
    assert world.counters(limit) == (40, 300, 5)
    assert world.counters(running) == (0, 2, 0)
    assert await world.close(one.lease, 60) == Closed.OK
    assert await world.close(two.lease, 70) == Closed.OK
    assert world.counters(limit) == (170, 0, 5)
    assert world.counters(running) == (0, 0, 0)


async def test_holds_that_their_workers_put_back_count(books: Books) -> None:
    world = books.world
    limit = world.limit(1_000)
    before, during, after = [await world.granted(100) for _ in range(3)]
    books.forget()
    assert await world.ledger.restore(before.lease, 1)
    assert await world.close(during.lease, 30) == Closed.MISSING
    assert books.seed() is not None
    assert world.counters(limit) == (30 if await _counted(books, during) else 0, 100, 0)
    assert await world.ledger.restore(after.lease, 1)
    for opened in (before, after):
        assert await world.close(opened.lease, 20) == Closed.OK
    assert world.counters(limit) == (70, 0, 0)


async def _counted(books: Books, opened: Any) -> bool:
    return opened.lease.request_id in [event["id"] for event in books.world.outbox()]


@pytest.mark.parametrize("place", ["recorded", "spilled", "outbox"])
async def test_open_records_whose_close_was_lost_hold_nothing_and_are_not_ended_again(
    books: Books, place: str
) -> None:
    """A replica that lagged has the record of a request that has ended, and whose event exists."""
    world = books.world
    limit, traced = world.limit(1_000), world.limit(1_000, scope="trace", scope_id="*", window="lifetime")
    of = replace(world.of, trace_id="t1")
    lost, running = await world.granted(300, of=of), await world.granted(50, of=of)
    record = world.redis.hgetall(world.names.open + lost.lease.request_id)
    lease_end = world.redis.zscore(world.names.leases, lost.lease.request_id)
    held = world.redis.hget(world.row(traced, of).hash, world.row(traced, of).field)
    await books.end(lost.lease, 40, of=of)
    if place == "recorded":
        books.record()
    elif place == "spilled":
        books.spill()
    world.redis.delete(world.names.open + lost.lease.request_id)
    world.redis.hset(world.names.open + lost.lease.request_id, mapping=record)
    world.redis.zadd(world.names.leases, {lost.lease.request_id: lease_end})
    world.redis.hset(world.row(traced, of).hash, world.row(traced, of).field, held)
    world.redis.hset(world.names.meta, "run_id", "another")
    books.seed()
    assert world.counters(limit) == (40, 50, 0)
    assert world.counters(traced, of) == (40, 50, 0)
    pulse = await world.ledger.heartbeat([(lost.lease, 1), (running.lease, 1)])
    assert (pulse.lost, pulse.missing) == ([lost.lease.request_id], [])
    assert world.redis.zrange(world.names.leases, 0, -1) == [running.lease.request_id.encode()]
    assert await world.close(lost.lease, 40) is Closed.CLOSED
    assert len(world.outbox()) == (place == "outbox")


async def test_what_waits_to_be_stored_is_counted_once(books: Books) -> None:
    world, redis = books.world, books.world.redis
    limit = world.limit(10_000)
    events = [await books.spend(spent, 1_000) for spent in (100, 20, 3)]
    books.store.append([events[2]])  # stored, and not taken out yet
    redis.xadd(world.names.outbox, {"e": encode(events[0])})  # delivered twice
    redis.xadd(world.names.outbox, {"e": b"no event"})
    redis.xadd(world.names.dead, {"reason": "x", "entry": "1-1", "e": encode(event_for(world.of, 4_000))})
    redis.hdel(world.names.meta, "complete_since")
    assert books.seed() is not None
    assert world.counters(limit) == (4_123, 0, 3_000)


async def test_what_was_spilled_to_files_is_counted_once(books: Books) -> None:
    world = books.world
    limit = world.limit(10_000)
    event = await books.spend(100, 40)
    world.redis.xadd(world.names.outbox, {"a": encode_adjustment(adjustment(event, 7, -40))})
    books.spill()
    other = await books.spend(20)
    books.store.append([other])
    books.forget()
    assert books.seed() is not None
    assert world.counters(limit) == (127, 0, 0)
    books.store.append([event])
    books.forget()
    assert books.seed() is not None
    assert world.counters(limit) == (127, 0, 0)


def adjustment(event: Any, cost: int, doubt: int = 0, name: str = "a1") -> Adjustment:
    return Adjustment(name, event.id, event.account_id, 1, "operator", "told", cost, doubt)


@pytest.mark.parametrize("event_stored", [True, False])
@pytest.mark.parametrize("adjustment_stored", [True, False])
async def test_corrections_count_with_their_events(
    books: Books, event_stored: bool, adjustment_stored: bool
) -> None:
    world = books.world
    limit = world.limit(10_000)
    event = await books.spend(100, 400)
    made = adjustment(event, 30, -400)
    if event_stored:
        books.record()
    if adjustment_stored:
        books.store.append_adjustments([made])
    else:
        world.redis.xadd(world.names.outbox, {"a": encode_adjustment(made)})
    world.redis.hdel(world.names.meta, "complete_since")
    assert books.seed() is not None
    assert world.counters(limit) == (130, 0, 0)


async def test_a_limit_counts_from_its_making_and_other_keys_do_not_count(books: Books) -> None:
    world = books.world
    now_ms = world.now_ms
    old, young, younger = (
        world.limit(10_000, window=window, created_ms=now_ms - age_ms)
        for window, age_ms in (("lifetime", 10_000), ("lifetime", 1_000), ("month", 500))
    )
    each = world.limit(10_000, window="lifetime", scope="customer", scope_id="*", created_ms=now_ms - 700)
    for age_ms, spent, key in (
        (20_000, 1, KEY),
        (9_000, 10, KEY),
        (900, 100, KEY),
        (400, 1_000, KEY),
        (1, 7, "key_2"),
    ):
        event = event_for(Attribution(ACCOUNT, key, "acme"), spent, started_ms=now_ms - age_ms)
        books.store.append([event])
    pending = event_for(Attribution(ACCOUNT, KEY, "acme"), 2_000, started_ms=now_ms - 600)
    world.redis.xadd(world.names.outbox, {"e": encode(pending)})
    world.redis.hdel(world.names.meta, "complete_since")
    assert books.seed() is not None
    assert [world.counters(limit)[0] for limit in (old, young, younger)] == [3_110, 3_100, 1_000]
    assert world.counters(each, Attribution(ACCOUNT, KEY, "acme"))[0] == 3_007


async def test_what_child_keys_spent_counts_on_the_keys_above_them(books: Books) -> None:
    world = books.world
    parent = world.limit(1_000, window="month")
    child = world.limit(900, window="month", scope_id=f"{KEY}.a")
    of_child, of_grandchild = replace(world.of, key_id=f"{KEY}.a"), replace(world.of, key_id=f"{KEY}.a.b")
    stranger = replace(world.of, key_id=f"{KEY}x")
    for of, spent in ((world.of, 1), (of_child, 20), (of_grandchild, 300), (stranger, 4_000)):
        books.store.append([event_for(of, spent)])
    books.forget()
    books.seed()
    assert world.counters(parent) == (321, 0, 0)
    assert world.counters(child) == (320, 0, 0)
    many = [world.limit(5_000 + n, window="month", scope_id=f"{KEY}.a.b{n}") for n in range(NAMED_MAX)]
    assert len(many) == NAMED_MAX  # so many that all keys are summed in one question
    books.forget()
    books.seed()
    assert world.counters(parent) == (321, 0, 0)
    assert world.counters(child) == (320, 0, 0)


async def test_many_limits_on_single_customers_are_summed_together_from_the_making_of_each(
    books: Books,
) -> None:
    world = books.world
    now_ms = world.now_ms
    made = [
        world.limit(
            10_000, scope="customer", scope_id=f"c{n}", window="lifetime", created_ms=now_ms - 1_000 * (n % 4)
        )
        for n in range(40)
    ]
    for n in range(40):
        for age_ms in range(500, 4_500, 1_000):
            event = event_for(Attribution(ACCOUNT, KEY, f"c{n}"), n + 1, started_ms=now_ms - age_ms)
            books.store.append([event])
    world.redis.hdel(world.names.meta, "complete_since")
    assert books.seed() is not None
    for n, limit in enumerate(made):
        row = world.row(limit, Attribution(ACCOUNT, KEY, f"c{n}"))
        found = world.redis.hget(row.hash, row.field)
        spent = int.from_bytes(found[:8], "little") if found else 0
        assert spent == (n + 1) * (n % 4), n


class Meanwhile(Movements):
    """Lets something happen right before a reading."""

    events: ClassVar[list[Any]] = []

    def read_outbox(self) -> None:
        if self.events:
            self.events.pop(0)()
        super().read_outbox()

    def read_record(self, **options: Any) -> None:
        if self.events:
            self.events.pop(0)()
        super().read_record(**options)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    Meanwhile.events = []
    monkeypatch.setattr("budgets.seed.Movements", Meanwhile)
    return Meanwhile.events


async def test_requests_that_end_while_sums_are_made_are_counted_once(
    books: Books, meanwhile: list[Any]
) -> None:
    world = books.world
    limit = world.limit(10_000)
    opened = [await world.granted(100) for _ in range(3)]
    world.redis.hset(world.names.meta, "run_id", "another")

    def ends(each: Any) -> Any:
        def act() -> None:  # as its worker would: the event, its marker, no lease
            event = event_for(world.of, 60, id=each.lease.request_id)
            world.redis.xadd(world.names.outbox, {"e": encode(event)})
            world.redis.delete(world.names.open + each.lease.request_id)
            world.redis.zrem(world.names.leases, each.lease.request_id)

        return act

    meanwhile += [
        lambda: None,
        ends(opened[0]),  # after the outbox was read: AGAIN
        books.record,  # and moved at once
        ends(opened[1]),
        lambda: books.record(delete=False),
    ]
    seeded = books.seed()
    assert seeded is not None
    assert seeded.rounds == 3
    assert world.counters(limit) == (120, 100, 0)


@pytest.mark.parametrize("when", range(4))
async def test_what_a_recorder_moves_meanwhile_is_counted_once(
    books: Books, meanwhile: list[Any], when: int
) -> None:
    world = books.world
    limit = world.limit(10_000)
    event = await books.spend(60)
    await books.spend(7)
    world.redis.xadd(world.names.outbox, {"a": encode_adjustment(adjustment(event, 3))})
    world.redis.hdel(world.names.meta, "complete_since")
    meanwhile += [lambda: None] * when + [lambda: books.record(delete=when != 1)]
    assert books.seed() is not None
    assert world.counters(limit) == (70, 0, 0)


async def test_rows_of_past_windows_and_other_names_stay(books: Books) -> None:
    world = books.world
    world.limit(10_000, window="day")
    past = f"{world.names.window}2020-01-01"
    world.redis.hset(past, "row", "content")
    world.redis.hset(world.names.rates, "row", "5")
    yesterday = event_for(world.of, 9, started_ms=world.now_ms - DAY_MS)
    world.redis.xadd(world.names.outbox, {"e": encode(yesterday)})
    world.redis.hdel(world.names.meta, "complete_since")
    assert books.seed() is not None
    assert world.redis.hgetall(past) == {b"row": b"content"}
    assert world.redis.hget(world.names.rates, "row") == b"5"


async def test_thresholds_that_were_crossed_before_are_not_told_again(books: Books) -> None:
    world = books.world
    limit = world.limit(1_000, enforcement="soft", thresholds=(50, 80, 100))
    await books.spend(810)
    books.record()
    assert world.redis.xlen(world.names.notices) == 1
    books.forget()
    assert books.seed() is not None
    await books.spend(10)
    assert world.redis.xlen(world.names.notices) == 0
    await books.spend(200)
    ((_, notice),) = world.redis.xrange(world.names.notices)
    assert (notice[b"percent"], notice[b"limit"].decode()) == (b"100", limit.id)


async def test_only_one_process_seeds_at_a_time(books: Books) -> None:
    redis, names = books.world.redis, books.world.names
    redis.hdel(names.meta, "complete_since")
    redis.set(names.seeding, "another")
    with pytest.raises(SeedError, match="another process"):
        books.seed()
    assert redis.get(names.seeding) == b"another"
    redis.delete(names.seeding)
    assert books.seed() is not None


async def test_a_seeder_that_was_paused_for_too_long_writes_nothing_over_the_new_counters(
    books: Books, meanwhile: list[Any]
) -> None:
    world = books.world
    limit = world.limit(10_000)
    await books.spend(50)
    world.redis.hdel(world.names.meta, "complete_since")

    def overtaken() -> None:
        world.redis.delete(world.names.seeding)  # the lock ran out
        assert Books(world, books.store).seed() is not None
        world.set_counters(limit, spent=999)  # and requests went on

    meanwhile.append(overtaken)
    assert books.seed() is None
    assert world.counters(limit) == (999, 0, 0)


async def test_a_server_that_is_emptied_while_it_is_made_whole_is_not_said_to_be(
    books: Books, meanwhile: list[Any]
) -> None:
    world = books.world
    limit = world.limit(1_000)
    await books.spend(40)
    books.record()
    books.forget()
    meanwhile.append(books.forget)
    with pytest.raises(SeedError, match="lost its memory"):
        books.seed()
    assert (await world.refused(1)).reason == "COLD"
    with pytest.raises(SeedError, match="lost its memory"):
        seed_shard(
            world.redis, world.names.shard, [books.index], books.store, run_id=books.run_id, mark="mark"
        )
    books.seed()
    assert world.counters(limit) == (40, 0, 0)


async def test_a_lock_that_ran_out_during_a_long_sum_is_taken_again(
    books: Books, meanwhile: list[Any]
) -> None:
    world = books.world
    limit = world.limit(10_000)
    await books.spend(50)
    world.redis.hdel(world.names.meta, "complete_since")
    meanwhile += [lambda: world.redis.delete(world.names.seeding)]
    assert books.seed() is not None
    assert world.counters(limit) == (50, 0, 0)


async def test_requests_that_end_faster_than_they_are_counted_end_the_attempt(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = books.world
    world.limit(10_000)
    world.redis.hdel(world.names.meta, "complete_since")
    monkeypatch.setattr("budgets.seed.ROUNDS_MAX", 3)

    class Busy(Movements):
        def read_record(self, **options: Any) -> None:
            world.redis.xadd(world.names.outbox, {"e": encode(event_for(world.of, 1))})
            super().read_record(**options)

    monkeypatch.setattr("budgets.seed.Movements", Busy)
    with pytest.raises(SeedError, match="faster"):
        books.seed()
    assert not is_whole(world.redis, world.names, books.run_id)
    assert world.redis.exists(world.names.seeding) == 0


async def test_sums_beyond_exact_arithmetic_refuse_like_the_greatest_that_can_be_counted(
    books: Books,
) -> None:
    world = books.world
    limit = world.limit(AMOUNT_MAX)
    for _ in range(2):
        books.store.append([event_for(world.of, AMOUNT_MAX)])
    world.redis.hdel(world.names.meta, "complete_since")
    assert books.seed() is not None
    assert world.counters(limit) == (AMOUNT_MAX, 0, 0)
    assert (await world.refused(1)).reason == "EXHAUSTED"


async def test_accounts_that_share_a_shard_are_made_whole_together(books: Books, redis: Redis) -> None:
    world = books.world
    twin = next(f"twin{n}" for n in range(1_000) if names_of(f"twin{n}").shard == world.names.shard)
    mine = world.limit(10_000)
    theirs = Limit("theirs", "account", twin, "month", "money", "hard", 5_000)
    books.store.append([event_for(world.of, 10), event_for(Attribution(twin, "k"), 20)])
    pending = event_for(Attribution(twin, "k"), 300)
    redis.xadd(world.names.outbox, {"e": encode(pending)})
    redis.hdel(world.names.meta, "complete_since")
    indexes = [books.index, LimitIndex(twin, [theirs])]
    assert seed_shard(redis, world.names.shard, indexes, books.store, run_id=books.run_id) is not None
    assert world.counters(mine) == (10, 0, 0)
    row = world.redis.hget(world.row(mine).hash, "theirs")
    assert int.from_bytes(row[:8], "little") == 320


@pytest.mark.slow
async def test_a_hundred_thousand_customers_are_written_within_seconds(books: Books) -> None:
    world = books.world
    limit = world.limit(10_000, scope="customer", scope_id="*")
    many = [event_for(Attribution(ACCOUNT, KEY, f"customer-{n}"), 5) for n in range(100_000)]
    for start in range(0, len(many), 5_000):
        books.store.append(many[start : start + 5_000])
    world.redis.hdel(world.names.meta, "complete_since")
    began, used = time.perf_counter(), time.process_time()
    seeded = books.seed()
    print(f"seeded in {time.perf_counter() - began:.2f} s, cpu {time.process_time() - used:.2f} s")
    assert seeded is not None
    assert seeded.rows == 100_000
    assert time.perf_counter() - began < 30
    assert world.redis.hlen(world.row(limit, Attribution(ACCOUNT, KEY, "x")).hash) == 100_000
