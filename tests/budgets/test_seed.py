"""Making a shard whole: what is counted, and once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from redis import Redis

from budgets.ledger import Closed
from budgets.limit import AMOUNT_MAX, LimitTerms
from budgets.seed import SeedError, distrust_restarted, seed_ledger
from budgets.window import DAY_MS, window_at
from metering.event import CostEvent, encode
from tests.budgets.server import ACCOUNT, KEY, Server, World, event_bytes


def nothing(limit: LimitTerms, start_ms: int, end_ms: int) -> tuple[int, int]:
    return 0, 0


async def test_a_cold_shard_counts_what_is_recorded_and_then_admits(world: World, redis: Redis) -> None:
    limits = [world.limit(1_000, window=window, created_ms=0) for window in ("day", "month", "lifetime")]
    redis.hdel(world.names.meta, "complete_since")
    asked = []

    def spent_of(limit: LimitTerms, start_ms: int, end_ms: int) -> tuple[int, int]:
        asked.append((limit.window, start_ms, end_ms))
        return {"day": (10, 1), "month": (200, 2), "lifetime": (900, 50)}[limit.window]

    assert (await world.refused(1)).reason == "COLD"
    assert seed_ledger(redis, ACCOUNT, limits, spent_of) is True
    windows = [window_at(limit.window, world.now_ms) for limit in limits]
    assert asked == [
        (limit.window, window.start_ms, window.end_ms) for limit, window in zip(limits, windows, strict=True)
    ]
    assert [world.counters(limit) for limit in limits] == [(10, 0, 1), (200, 0, 2), (900, 0, 50)]
    assert (await world.granted(50)).remaining_nano == 0
    assert redis.pexpiretime(world.row_name(limits[0])) == windows[0].end_ms + 40 * DAY_MS
    assert redis.pttl(world.row_name(limits[2])) == -1


async def test_a_whole_shard_is_left_as_it_is(world: World, redis: Redis) -> None:
    limit = world.limit(1_000)
    await world.granted(100)
    assert seed_ledger(redis, ACCOUNT, [limit], lambda *_: (999, 0)) is False
    assert world.counters(limit) == (0, 100, 0)


async def test_open_requests_keep_their_holds_and_close_as_ever(world: World, redis: Redis) -> None:
    limit = world.limit(1_000, created_ms=0)
    world.make_whole(1)
    one, two = await world.granted(100), await world.granted(200)
    await world.ledger.extend(two.lease, 50)
    redis.hdel(world.names.meta, "complete_since")
    assert seed_ledger(redis, ACCOUNT, [limit], lambda *_: (40, 5)) is True
    assert world.counters(limit) == (40, 350, 5)
    assert await world.close(one.lease, 60) is Closed.OK
    assert await world.close(two.lease, 70) is Closed.OK
    assert world.counters(limit) == (170, 0, 5)


async def test_what_waits_in_the_outbox_is_counted_once(world: World, redis: Redis) -> None:
    limit = world.limit(10_000, created_ms=0)
    world.make_whole(1)
    for spent in (100, 20, 3):
        await world.close((await world.granted(500)).lease, spent, 1_000)
    ids = [event["id"] for event in world.outbox()]
    redis.hdel(world.names.meta, "complete_since")
    redis.xadd(world.names.outbox, {"e": event_bytes(ids[0], 100, 1_000)})  # delivered twice
    redis.xadd(world.names.outbox, {"e": b"no event"})

    def recorded(asked: Sequence[str]) -> set[str]:
        assert sorted(asked) == sorted(ids)
        return {ids[2]}

    assert seed_ledger(redis, ACCOUNT, [limit], lambda *_: (3, 1_000), recorded_of=recorded) is True
    assert world.counters(limit) == (123, 0, 3_000)


async def test_a_limit_counts_from_its_making_and_other_keys_do_not_count(world: World, redis: Redis) -> None:
    made_ms = world.now_ms - 1_000
    limit = world.limit(10_000, window="lifetime", created_ms=made_ms)
    redis.hdel(world.names.meta, "complete_since")
    asked = []

    def spent_of(limit: LimitTerms, start_ms: int, end_ms: int) -> tuple[int, int]:
        asked.append(start_ms)
        return 1, 0

    for request_id, key_id, started_ms in (
        ("r1", KEY, made_ms - 1),
        ("r2", "key_2", made_ms),
        ("r3", KEY, made_ms),
    ):
        event = CostEvent(id=request_id, key_id=key_id, cost_nano=7, started_ms=started_ms)
        redis.xadd(world.names.outbox, {"e": encode(event)})
    seed_ledger(redis, ACCOUNT, [limit], spent_of)
    assert asked == [made_ms]
    assert world.counters(limit) == (8, 0, 0)


async def test_a_request_that_ends_while_sums_are_made_is_not_lost(world: World, redis: Redis) -> None:
    limit = world.limit(10_000, created_ms=0)
    world.make_whole(1)
    opened = await world.granted(100)
    redis.hdel(world.names.meta, "complete_since")
    rounds: list[int] = []

    def spent_of(limit: LimitTerms, start_ms: int, end_ms: int) -> tuple[int, int]:
        if not rounds:  # as another process would, between our sums and their writing
            redis.xadd(world.names.outbox, {"e": event_bytes(opened.lease.request_id, 60)})
            redis.zrem(world.names.leases, opened.lease.request_id)
        rounds.append(1)
        return 0, 0

    assert seed_ledger(redis, ACCOUNT, [limit], spent_of) is True
    assert len(rounds) == 2
    assert world.counters(limit) == (60, 0, 0)


async def test_an_event_recorded_while_sums_are_made_is_counted_once(world: World, redis: Redis) -> None:
    limit = world.limit(10_000, created_ms=0)
    world.make_whole(1)
    await world.close((await world.granted(100)).lease, 60)
    redis.hdel(world.names.meta, "complete_since")
    store: set[str] = set()

    def spent_of(limit: LimitTerms, start_ms: int, end_ms: int) -> tuple[int, int]:
        total = 60 if store else 0
        store.update(event["id"] for event in world.outbox())  # the recorder comes right after our look
        return total, 0

    seed_ledger(redis, ACCOUNT, [limit], spent_of, recorded_of=lambda ids: store & set(ids))
    assert world.counters(limit) == (60, 0, 0)


async def test_only_one_process_seeds_at_a_time(world: World, redis: Redis) -> None:
    redis.hdel(world.names.meta, "complete_since")
    redis.set(world.names.seeding, "another")
    with pytest.raises(SeedError, match="another process"):
        seed_ledger(redis, ACCOUNT, [], nothing)
    assert redis.get(world.names.seeding) == b"another"
    redis.delete(world.names.seeding)
    assert seed_ledger(redis, ACCOUNT, [], nothing) is True
    assert redis.exists(world.names.seeding) == 0


async def test_sums_beyond_exact_arithmetic_are_refused(world: World, redis: Redis) -> None:
    limit = world.limit(1_000)
    redis.hdel(world.names.meta, "complete_since")
    with pytest.raises(SeedError, match="cannot be counted exactly"):
        seed_ledger(redis, ACCOUNT, [limit], lambda *_: (AMOUNT_MAX + 1, 0))
    assert redis.exists(world.names.seeding) == 0
    assert seed_ledger(redis, ACCOUNT, [limit], lambda *_: (AMOUNT_MAX, 0)) is True
    assert world.counters(limit) == (AMOUNT_MAX, 0, 0)


def test_a_restarted_server_is_not_trusted_until_it_is_seeded_again(own_server: Server) -> None:
    redis = own_server.client
    assert distrust_restarted(redis, ACCOUNT) is True
    assert seed_ledger(redis, ACCOUNT, [], nothing) is True
    assert distrust_restarted(redis, ACCOUNT) is False
    own_server.kill()
    own_server.start()
    assert distrust_restarted(redis, ACCOUNT) is True
    assert seed_ledger(redis, ACCOUNT, [], nothing) is True
    assert distrust_restarted(redis, ACCOUNT) is False
