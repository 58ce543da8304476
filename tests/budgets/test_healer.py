"""The healer: what it notices, what it waits for, and that it costs next to nothing when all is well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from budgets.counted import LimitIndex
from budgets.drift import ROW
from budgets.healer import GRACE_S, LOOK_EVERY_MS, UNUSED_GRACE_MS, Healer
from budgets.hold import Settled
from budgets.ledger import Closed
from budgets.limit import Attribution
from budgets.names import all_shards, names_on, shard_of
from metering.eventstore import EventStore
from tests.budgets.bookkeeping import Books, event_for
from tests.budgets.conftest import EVERY_ENGINE
from tests.budgets.world import ACCOUNT, KEY, World, event_bytes

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)
GRACE_MS = round(1_000 * GRACE_S)


class BookTerms:
    """The limits of the books, and accounts without any."""

    def __init__(self, books: Books, *others: str) -> None:
        self.books = books
        self.others = others

    def accounts(self) -> Sequence[str]:
        return [ACCOUNT, *self.others]

    def index(self, account_id: str) -> LimitIndex:
        return LimitIndex(account_id, self.books.world.limits if account_id == ACCOUNT else [])


@pytest.fixture
def books(world: World, tmp_path: Path) -> Iterator[Books]:
    store = EventStore(tmp_path / "tollkeeper.db")
    yield Books(world, store)
    store.close()


def healer_of(books: Books, *others: str) -> Healer:
    def republish() -> None:
        books.world.put_key()
        books.world.rows.put_account(ACCOUNT, 1, b"{}")
        for limit in books.world.limits:
            books.world.set_value(limit, limit.value)

    republish()
    for account_id in others:
        books.world.rows.put_account(account_id, 1, b"{}")
    return Healer(books.world.redis, books.store, BookTerms(books, *others), republish)


async def test_a_flush_under_running_requests_is_healed_exactly(books: Books) -> None:
    """Holds come back from the workers, what was spent from the record, keys and limits from theirs."""
    world, healer = books.world, healer_of(books)
    limits = [world.limit(10_000), world.limit(10_000, scope="customer", scope_id="*", window="day")]
    of = Attribution(ACCOUNT, KEY, "acme")
    await books.spend(1_000, 30, of=of)
    books.record()
    running = [await world.granted(100, of=of) for _ in range(5)]
    healer.pass_once(0)
    assert (healer.counters.cold, (await world.granted(1, of=of)).lease.held_nano) == (0, 1)

    world.redis.flushall()
    assert (await world.refused(1, of=of)).reason == "COLD"
    healer.pass_once(1_000)
    assert healer.counters.cold == 1
    assert world.redis.hget(world.names.limits, limits[0].id) == b"10000"
    assert (await world.refused(1, of=of)).reason == "COLD"
    for opened in running[:3]:
        assert await world.ledger.restore(opened.lease, 1)
    ended = await books.end(running[3].lease, 60, of=of)  # before it was put back
    healer.pass_once(1_000 + GRACE_MS - 1)
    assert (await world.refused(1, of=of)).reason == "COLD"
    healer.pass_once(1_000 + GRACE_MS + LOOK_EVERY_MS)
    assert [world.counters(limit, of) for limit in limits] == [(1_060, 300, 30)] * 2
    assert ended.id in [event["id"] for event in world.outbox()]
    assert await world.ledger.restore(running[4].lease, 1)  # late
    assert [world.counters(limit, of) for limit in limits] == [(1_060, 400, 30)] * 2
    for opened in (*running[:3], running[4]):
        await books.end(opened.lease, 10, of=of)
    assert [world.counters(limit, of) for limit in limits] == [(1_100, 0, 30)] * 2
    assert (await world.granted(10_000 - 1_130, of=of)).remaining_nano == 0
    counters = healer.counters
    assert (counters.reseeds, counters.cold, counters.cold_ms) == (1, 0, GRACE_MS + LOOK_EVERY_MS)


async def test_requests_that_end_after_the_seeding_count_once(books: Books) -> None:
    world, healer = books.world, healer_of(books)
    limit = world.limit(10_000)
    opened = await world.granted(100)
    world.redis.flushall()
    for at_ms in (0, GRACE_MS):
        healer.pass_once(at_ms)
    assert await world.close(opened.lease, 40) == Closed.MISSING  # its worker was too late to put it back
    assert await world.close(opened.lease, 40) == Closed.CLOSED
    assert world.counters(limit) == (40, 0, 0)


async def test_each_loss_of_memory_has_a_grace_of_its_own(books: Books) -> None:
    world, healer = books.world, healer_of(books)
    limit = world.limit(10_000)
    running = await world.granted(100)
    world.redis.flushall()
    healer.pass_once(0)
    assert await world.ledger.restore(running.lease, 1)
    world.redis.flushall()
    healer.pass_once(GRACE_MS - 1 + LOOK_EVERY_MS)
    assert world.redis.hget(world.names.limits, limit.id) == b"10000"  # published once more
    healer.pass_once(GRACE_MS + 2 * LOOK_EVERY_MS)
    assert (healer.counters.reseeds, healer.counters.cold) == (0, 1)
    assert await world.ledger.restore(running.lease, 1)
    healer.pass_once(2 * GRACE_MS + LOOK_EVERY_MS)
    assert (healer.counters.reseeds, healer.counters.cold) == (1, 0)
    assert world.counters(limit) == (0, 100, 0)
    assert healer.counters.cold_ms == 2 * GRACE_MS + LOOK_EVERY_MS


async def test_a_server_that_is_emptied_while_limits_are_published_is_not_made_whole_without_them(
    books: Books,
) -> None:
    world, healer = books.world, healer_of(books)
    limit = world.limit(10_000)
    world.redis.flushall()
    publish, emptied = healer._republish, list[int]()

    def republish() -> None:
        publish()
        if len(emptied) < 2:
            emptied.append(1)
            world.redis.flushall()

    healer._republish = republish
    for at_ms in range(0, 3 * GRACE_MS, LOOK_EVERY_MS):
        healer.pass_once(at_ms)
        if world.redis.hexists(world.names.meta, "complete_since"):
            break
    assert len(emptied) == 2
    assert healer.counters.reseeds == 1
    assert world.redis.hget(world.names.limits, limit.id) == b"10000"
    assert (await world.granted(1)).remaining_nano == 9_999
    healer.pass_once(at_ms + LOOK_EVERY_MS)
    assert set(world.redis.hkeys(world.names.meta)) == {b"complete_since", b"run_id", b"ver:default"}


async def test_an_end_that_came_to_light_too_late_is_counted_at_once_by_a_comparison(books: Books) -> None:
    world, healer = books.world, healer_of(books)
    limit = world.limit(10_000)
    lease = (await world.granted(100)).lease
    told = {"status": "succeeded", "event": event_bytes(lease.request_id, 40, 5)}
    assert await world.ledger.close(lease, Settled(40, 5), **told) is Closed.OK
    world.redis.flushall()
    for at_ms in (0, GRACE_MS):
        healer.pass_once(at_ms)
    assert healer.counters.reseeds == 1
    assert await world.ledger.close(lease, Settled(40, 5), again=True, **told) is Closed.MISSING
    assert world.counters(limit) == (0, 0, 0)  # it may be counted already: only the record can tell
    for at_ms in range(GRACE_MS + LOOK_EVERY_MS, GRACE_MS + 10 * LOOK_EVERY_MS, LOOK_EVERY_MS):
        healer.pass_once(at_ms)
    assert world.counters(limit) == (40, 0, 5)
    assert not world.redis.hexists(world.names.meta, "unsure")
    assert await world.ledger.close(lease, Settled(40, 5), again=True, **told) is Closed.CLOSED


async def test_limits_are_not_said_to_be_published_before_they_are(
    books: Books, capfd: pytest.CaptureFixture[str]
) -> None:
    world, healer = books.world, healer_of(books)
    limit = world.limit(10_000)
    healer.pass_once(0)
    world.set_value(limit, 1)

    def refuse() -> None:
        raise RuntimeError("the database is locked")

    healer._republish, publish = refuse, healer._republish
    for at_ms in (60_000, 65_000):
        with pytest.raises(RuntimeError):
            healer.pass_once(at_ms)
        healer.pass_once(at_ms + LOOK_EVERY_MS)  # and not again at each pass
    assert (healer.counters.republished, "published_again" in capfd.readouterr().out) == (0, False)
    healer._republish = publish
    healer.pass_once(70_000)
    assert (healer.counters.republished, "published_again" in capfd.readouterr().out) == (1, True)
    assert world.redis.hget(world.names.limits, limit.id) == b"10000"


async def test_an_account_to_come_finds_its_shard_whole(books: Books) -> None:
    world, healer = books.world, healer_of(books)

    def whole() -> set[str]:
        metas = {shard: names_on(shard).meta for shard in all_shards()}
        return {shard for shard, meta in metas.items() if world.redis.hexists(meta, "complete_since")}

    world.redis.flushall()
    for at_ms in range(0, UNUSED_GRACE_MS, LOOK_EVERY_MS):
        healer.pass_once(at_ms)
        # Others may still be of accounts that the list does not name yet.
        assert whole() <= {shard_of(ACCOUNT)}
    assert (healer.counters.reseeds, healer.counters.cold) == (1, 0)
    healer.pass_once(UNUSED_GRACE_MS)
    assert whole() == set(all_shards())
    assert (healer.counters.reseeds, healer.counters.cold) == (1, 0)


async def test_another_healer_that_was_faster_is_noticed(books: Books) -> None:
    world = books.world
    one, two = healer_of(books), healer_of(books)
    world.limit(10_000)
    world.redis.flushall()
    for at_ms in (0, GRACE_MS, 2 * GRACE_MS):
        one.pass_once(at_ms)
        two.pass_once(at_ms)
    assert (one.counters.reseeds, two.counters.reseeds) == (1, 0)
    assert (one.counters.cold, two.counters.cold) == (0, 0)


async def test_a_seeder_at_work_is_left_to_it_and_followed_when_it_dies(books: Books) -> None:
    world, healer = books.world, healer_of(books)
    world.redis.flushall()
    healer.pass_once(0)
    world.redis.set(world.names.seeding, "another")
    healer.pass_once(GRACE_MS)
    assert (healer.counters.reseeds, healer.counters.cold) == (0, 1)
    world.redis.delete(world.names.seeding)
    healer.pass_once(GRACE_MS + LOOK_EVERY_MS)
    assert (healer.counters.reseeds, healer.counters.cold) == (1, 0)


async def test_every_account_s_shard_is_made_whole(books: Books) -> None:
    others = [f"account-{n}" for n in range(30)]
    healer = healer_of(books, *others)
    books.world.redis.flushall()
    for at_ms in (0, GRACE_MS):
        healer.pass_once(at_ms)
    shards = {shard_of(account) for account in (ACCOUNT, *others)}
    whole = {
        shard for shard in all_shards() if books.world.redis.hexists(names_on(shard).meta, "complete_since")
    }
    assert whole == shards
    assert healer.counters.reseeds == len(shards)


async def test_counters_that_were_tampered_with_are_healed_within_one_comparison(books: Books) -> None:
    world, healer = books.world, healer_of(books)
    limit = world.limit(10_000)
    await books.spend(500)
    row = world.row(limit)
    healer.pass_once(0)
    for minute, content in enumerate((ROW.pack(3, 0, 0), b"\0" * 5), 1):
        world.redis.hset(row.hash, row.field, content)
        for at_ms in range(60_000 * minute, 60_000 * minute + 5_000, LOOK_EVERY_MS):  # its steps
            healer.pass_once(at_ms)
        assert world.redis.hget(row.hash, row.field) == ROW.pack(500, 0, 0)


async def test_limits_that_are_not_in_force_as_recorded_are_published_again(books: Books) -> None:
    world, healer = books.world, healer_of(books)
    limit = world.limit(10_000)
    healer.pass_once(0)
    assert healer.counters.republished == 0
    spoils: list[Callable[[], object]] = [
        lambda: world.set_value(limit, 9_999_999),
        lambda: world.redis.delete(world.names.limits),
        lambda: world.redis.delete(world.names.account + ACCOUNT),
    ]
    for minute, spoil in enumerate(spoils, 1):
        spoil()
        healer.pass_once(60_000 * minute - 1)
        assert healer.counters.republished == minute - 1
        healer.pass_once(60_000 * minute + LOOK_EVERY_MS)
        assert healer.counters.republished == minute
        assert world.redis.hget(world.names.limits, limit.id) == b"10000"
        healer.pass_once(60_000 * minute + 2 * LOOK_EVERY_MS)
    assert healer.counters.reseeds == 0


@pytest.mark.parametrize("accounts", [1, 1_000])
async def test_looking_costs_little_when_all_is_well(books: Books, accounts: int) -> None:
    others = list({shard_of(f"a{n}"): f"a{n}" for n in range(accounts - 1)}.values())
    healer = healer_of(books, *others)
    for at_ms in (0, GRACE_MS):
        healer.pass_once(at_ms)
    assert healer.counters.cold == 0
    passes = 50
    began, used = time.perf_counter(), time.process_time()
    for n in range(passes):
        healer.pass_once(2 * GRACE_MS + n * LOOK_EVERY_MS)
    wall_us = (time.perf_counter() - began) / passes * 1e6
    cpu_us = (time.process_time() - used) / passes * 1e6
    print(f"an idle pass over {len(others) or 1} shards: {wall_us:.0f} us, {cpu_us:.0f} us of processor time")
    assert cpu_us < 50_000


async def test_an_event_for_an_account_that_nobody_knows_is_no_trouble(books: Books) -> None:
    world, healer = books.world, healer_of(books)
    books.store.append([event_for(Attribution("stranger", "k"), 5)])
    world.redis.flushall()
    for at_ms in (0, GRACE_MS):
        healer.pass_once(at_ms)
    assert healer.counters.reseeds == 1
