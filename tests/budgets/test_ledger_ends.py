"""The ledger's contract on every engine: how requests end, are held more for, renewed and put back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis import Redis

from budgets.closing import close_call
from budgets.hold import Extra, Hold, Settled
from budgets.ledger import Closed, Pulse
from budgets.names import RETENTION_MS
from budgets.scripts import CLOSE
from tests.budgets.conftest import EVERY_ENGINE
from tests.budgets.world import World, event_bytes, refusal

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)

DAY_MS = 86_400_000


async def test_second_close_is_told_apart_and_changes_nothing(world: World) -> None:
    limit = world.limit(1_000)
    opened = await world.granted(100)
    assert await world.close(opened.lease, 40) is Closed.OK
    assert await world.close(opened.lease, 90) is Closed.CLOSED
    assert world.counters(limit) == (40, 0, 0)
    assert len(world.outbox()) == 1
    assert 0 < world.redis.pttl(world.names.open + opened.lease.request_id) <= 600_000


async def test_what_is_spent_above_the_hold_is_recorded_in_full_and_blocks_the_next(world: World) -> None:
    limit = world.limit(1_000)
    opened = await world.granted(1_000)
    await world.close(opened.lease, 1_700)
    assert world.counters(limit) == (1_700, 0, 0)
    assert await world.refused(1) == refusal("EXHAUSTED", limit, 1_000, 1_700, -700)


async def test_a_limit_lowered_below_what_is_spent_refuses_and_raised_again_admits(world: World) -> None:
    limit = world.limit(1_000)
    running = await world.granted(300)
    await world.close((await world.granted(400)).lease, 400)
    world.set_value(limit, 350)
    assert await world.refused(1) == refusal("EXHAUSTED", limit, 350, 400, -350)
    world.set_value(limit, 800)
    assert (await world.granted(100)).remaining_nano == 0
    assert await world.close(running.lease, 300) is Closed.OK


async def test_a_request_settles_on_the_limits_of_its_opening_whatever_became_of_them(
    world: World, redis: Redis
) -> None:
    kept = world.limit(1_000)
    dropped = world.limit(1_000, window="day")
    eased = world.limit(1_000, kind="tokens")
    opened = await world.granted(Hold(300, 300, 300, input_tokens=40, output_tokens=(60,) * 3))
    redis.hdel(world.names.limits, dropped.id)
    world.limits = [kept, replace(eased, enforcement="soft", version=2)]
    added = world.limit(1_000, window="lifetime")
    assert await world.close(opened.lease, 200, input_tokens=30, output_tokens=20) is Closed.OK
    assert world.counters(kept) == world.counters(dropped) == (200, 0, 0)
    assert world.counters(eased) == (50, 0, 0)
    assert world.counters(added) == (0, 0, 0)
    eased_now = await world.granted(Hold(1, 1, 1, input_tokens=2_000))
    assert [limit.id for limit in eased_now.over] == [eased.id]
    assert await world.close(eased_now.lease, 1, input_tokens=2_000) is Closed.OK
    assert world.counters(eased) == (2_050, 0, 0)


async def test_close_after_a_flush_keeps_the_event_and_frees_nothing(world: World, redis: Redis) -> None:
    limit = world.limit(1_000)
    opened = await world.granted(100)
    redis.flushall()
    assert await world.close(opened.lease, 60) is Closed.MISSING
    assert world.counters(limit) == (0, 0, 0)  # nothing is known here; the seeder will count the outbox
    assert [event["cost_nano"] for event in world.outbox()] == [60]
    assert await world.close(opened.lease, 60) is Closed.CLOSED


async def test_close_after_a_flush_and_a_reseed_adds_the_money_too(world: World, redis: Redis) -> None:
    limit = world.limit(1_000)
    opened = await world.granted(100)
    redis.flushall()
    world.put_key()
    world.set_value(limit, 1_000)
    world.set_counters(limit, spent=5)
    world.make_whole(opened.at_ms + 1)
    assert await world.close(opened.lease, 60, 40) is Closed.MISSING
    assert world.counters(limit) == (65, 0, 40)


@pytest.mark.parametrize(
    ("opened_ago_ms", "whole_ago_ms", "spent"),
    [
        (1_000, 2_000, 60),  # a write was lost (a failover): had it ended, its marker would be here
        (700_000, 1_000, 60),  # the ledger was made whole after the opening, so without this request
        (700_000, 800_000, 0),  # it may have ended and its marker be gone: the event's id decides
    ],
)
async def test_money_of_a_lost_record_is_added_where_it_cannot_be_counted_already(
    world: World, redis: Redis, opened_ago_ms: int, whole_ago_ms: int, spent: int
) -> None:
    limit = world.limit(1_000)
    lease = (await world.granted(100)).lease
    redis.delete(world.names.open + lease.request_id)
    world.set_counters(limit)
    lease.at_ms = world.now_ms - opened_ago_ms
    world.make_whole(world.now_ms - whole_ago_ms)
    assert await world.close(lease, 60) is Closed.MISSING
    assert world.counters(limit) == (spent, 0, 0)
    assert len(world.outbox()) == 1
    assert redis.zcard(world.names.leases) == 0


# Requests that the ledger did not take at their opening


async def test_an_uncovered_request_is_counted_at_its_end_once(world: World) -> None:
    world.make_whole(world.now_ms - 2_000_000)
    limit, count = world.limit(1_000), world.limit(1_000, kind="requests")
    rows = world.ledger.rows((tuple(world.limits),), world.versions(), world.of, world.now_ms)
    lease = world.ledger.uncovered(world.of, "away", rows, Hold(700, 500, 100), b"{}", world.now_ms - 900_000)
    assert (lease.held, lease.covered) == ({"m": 700, "r": 1}, False)
    assert world.counters(limit) == (0, 0, 0)
    assert await world.close(lease, 60, 5) is Closed.MISSING
    assert (world.counters(limit), world.counters(count)) == ((60, 0, 5), (1, 0, 0))
    assert await world.close(lease, 60, 5) is Closed.CLOSED  # from a journal, days later
    assert world.redis.pttl(world.names.open + "away") > 6 * DAY_MS
    assert world.counters(limit) == (60, 0, 5)


async def test_an_uncovered_request_on_a_ledger_that_is_not_whole_is_left_to_the_seeder(
    world: World, redis: Redis
) -> None:
    limit = world.limit(1_000)
    rows = world.ledger.rows((tuple(world.limits),), world.versions(), world.of, world.now_ms)
    lease = world.ledger.uncovered(world.of, "away", rows, Hold(700, 500, 100), b"{}", world.now_ms)
    redis.hdel(world.names.meta, "complete_since")
    assert await world.close(lease, 60) is Closed.MISSING
    assert world.counters(limit) == (0, 0, 0)
    assert [event["id"] for event in world.outbox()] == ["away"]


async def test_an_uncovered_request_comes_under_the_ledger_when_it_is_restored(world: World) -> None:
    limit = world.limit(500)
    rows = world.ledger.rows((tuple(world.limits),), world.versions(), world.of, world.now_ms)
    lease = world.ledger.uncovered(world.of, "away", rows, Hold(700, 500, 100), b"{}", world.now_ms)
    assert await world.ledger.heartbeat([(lease, 3)]) == Pulse(missing=["away"])
    assert await world.ledger.restore(lease, 3) is True
    assert lease.covered
    assert world.counters(limit) == (0, 700, 0)  # it runs, whatever the limit says
    second = replace(lease, request_id="away too")
    assert await world.ledger.restore(second, 3) is True
    assert world.counters(limit) == (0, 1_400, 0)
    assert await world.close(second) is Closed.OK
    assert await world.ledger.heartbeat([(lease, 4)]) == Pulse()
    assert await world.close(lease, 60) is Closed.OK
    assert world.counters(limit) == (60, 0, 0)


async def test_a_request_lost_with_the_servers_memory_is_put_back_by_its_owner(
    world: World, redis: Redis
) -> None:
    money = world.limit(1_000, window="day")
    running = world.limit(4, kind="concurrency", window="now")
    lease = (await world.granted(300, payload=b"payload")).lease
    before = redis.hgetall(world.names.open + lease.request_id)
    for limit in (money, running):
        redis.delete(world.row(limit).hash)
    redis.delete(world.names.open + lease.request_id, world.names.leases)
    assert await world.ledger.heartbeat([(lease, 70)]) == Pulse(missing=[lease.request_id])
    for _ in range(2):  # its answer may be lost too
        assert await world.ledger.restore(lease, 70) is True
    assert redis.hgetall(world.names.open + lease.request_id) == {**before, b"ck": b"70"}
    assert (world.counters(money), world.counters(running)) == ((0, 300, 0), (0, 1, 0))
    assert redis.zscore(world.names.leases, lease.request_id) >= lease.at_ms + 30_000  # type: ignore[operator]
    assert redis.pttl(world.row(money).hash) > RETENTION_MS
    assert redis.pttl(world.row(running).hash) == -1
    assert await world.close(lease, 60) is Closed.OK
    assert (world.counters(money), world.counters(running)) == ((60, 0, 0), (0, 0, 0))


async def test_what_has_ended_or_is_anothers_is_not_put_back(world: World) -> None:
    limit = world.limit(1_000)
    ended = (await world.granted(300)).lease
    await world.close(ended, 10)
    assert await world.ledger.restore(ended, 0) is False
    other = World(world.redis, world.connection, owner="w2")
    theirs = (await world.granted(300)).lease
    assert await other.ledger.restore(theirs, 0) is False
    assert world.counters(limit) == (10, 300, 0)


# Extending and renewing


async def test_extend_holds_more_on_every_row_or_on_none(world: World) -> None:
    day, month = world.limit(1_000, window="day"), world.limit(500)
    opened = await world.granted(300)
    assert await world.ledger.extend(opened.lease, Extra(200)) is True
    assert opened.lease.held_nano == 500
    assert await world.ledger.extend(opened.lease, Extra(1)) is False
    assert [world.counters(limit) for limit in (day, month)] == [(0, 500, 0)] * 2
    await world.close(opened.lease, 450)
    assert [world.counters(limit) for limit in (day, month)] == [(450, 0, 0)] * 2
    assert await world.ledger.extend(opened.lease, Extra(1)) is False


async def test_nothing_more_is_held_while_the_ledger_does_not_know_what_was_spent(
    world: World, redis: Redis
) -> None:
    limit = world.limit(1_000)
    lease = (await world.granted(300)).lease
    redis.delete(world.row(limit).hash)
    redis.hdel(world.names.meta, "complete_since")
    assert await world.ledger.extend(lease, Extra(1)) is False
    world.make_whole()
    redis.hset(world.names.meta, "run_id", "another run of the server")
    assert await world.ledger.extend(lease, Extra(1)) is False
    world.make_whole()
    assert await world.ledger.extend(lease, Extra(1)) is True


async def test_what_is_in_doubt_is_in_the_way_of_holding_more(world: World) -> None:
    limit = world.limit(1_000)
    for doubted in (300, 200):
        await world.close((await world.granted(doubted)).lease, 0, doubted)
    assert world.counters(limit) == (0, 0, 500)
    lease = (await world.granted(100)).lease
    assert await world.ledger.extend(lease, Extra(401)) is False
    assert await world.ledger.extend(lease, Extra(400)) is True


async def test_extend_holds_tokens_more_and_no_request_more(world: World) -> None:
    money, tokens = world.limit(1_000), world.limit(500, kind="tokens")
    counted = [world.limit(1, kind="requests"), world.limit(1, kind="concurrency", window="now")]
    rate = world.limit(60, kind="requests_per_minute", window="minute")
    soft = world.limit(1, kind="output_tokens", enforcement="soft")
    opened = await world.granted(Hold(100, 100, 100, input_tokens=50, output_tokens=(50,) * 3))
    arrival = world.redis.hget(world.names.rates, rate.id)
    assert await world.ledger.extend(opened.lease, Extra(10, input_tokens=100, output_tokens=300)) is True
    assert opened.lease.held == {"m": 110, "t": 500, "r": 1, "c": 1, "q": 1, "o": 350}
    held = [world.counters(limit) for limit in (money, tokens, *counted, soft)]
    assert held == [(0, 110, 0), (0, 500, 0), (0, 1, 0), (0, 1, 0), (0, 350, 0)]
    assert world.redis.hget(world.names.rates, rate.id) == arrival
    assert await world.ledger.extend(opened.lease, Extra(10, output_tokens=1)) is False
    assert world.counters(money) == (0, 110, 0)
    assert await world.close(opened.lease, 1, input_tokens=2, output_tokens=3) is Closed.OK
    ended = [world.counters(limit) for limit in (money, tokens, *counted, soft)]
    assert ended == [(1, 0, 0), (5, 0, 0), (1, 0, 0), (0, 0, 0), (3, 0, 0)]


async def test_heartbeat_renews_the_lease_notes_the_cost_and_names_what_is_lost_or_missing(
    world: World, redis: Redis
) -> None:
    world.limit(1_000)
    mine, ended = await world.granted(100), await world.granted(100)
    await world.close(ended.lease, 10)
    unknown = await world.granted(100)
    redis.delete(world.names.open + unknown.lease.request_id)
    redis.zadd(world.names.leases, {mine.lease.request_id: 1})
    leases = [(mine.lease, 77), (ended.lease, 10), (unknown.lease, 0)]
    assert await world.ledger.heartbeat(leases) == Pulse([ended.lease.request_id], [unknown.lease.request_id])
    assert await world.ledger.heartbeat([(mine.lease, 50)]) == Pulse()
    record = redis.hmget(world.names.open + mine.lease.request_id, "hb", "ck")
    assert record == [b"2", b"77"]
    renewed = redis.zscore(world.names.leases, mine.lease.request_id)
    assert renewed is not None
    assert renewed >= mine.at_ms + 30_000
    other = World(redis, world.connection, owner="w2")
    assert await other.ledger.heartbeat([(mine.lease, 0)]) == Pulse(lost=[mine.lease.request_id])
    assert await other.ledger.extend(mine.lease, Extra(1)) is False


async def test_hundreds_of_leases_are_renewed_in_batches(world: World, redis: Redis) -> None:
    leases = [(await world.granted(1)).lease for _ in range(600)]
    assert await world.ledger.heartbeat([(lease, 1) for lease in leases]) == Pulse()
    assert {redis.hget(world.names.open + lease.request_id, "hb") for lease in leases} == {b"1"}
    assert await world.ledger.heartbeat([]) == Pulse()


async def test_a_close_by_one_who_saw_no_sign_of_life_fails_when_there_was_one(world: World) -> None:
    limit = world.limit(1_000)
    lease = (await world.granted(100)).lease

    async def reap(fence: str) -> bytes:
        keys, args = close_call(
            lease.request_id,
            lease.rows,
            Settled(30, 70),
            status="orphaned",
            event=event_bytes(lease.request_id, 30, 70),
            at_ms=lease.at_ms,
            fence=fence,
        )
        answer: bytes = await world.connection.script(CLOSE, keys, args)
        return answer

    await world.ledger.heartbeat([(lease, 5)])
    assert await reap("0") == b"ALIVE"
    assert world.counters(limit) == (0, 100, 0)
    assert await reap("1") == b"ok"
    assert world.counters(limit) == (30, 0, 70)
    assert await reap("1") == b"closed"
    assert await world.ledger.heartbeat([(lease, 6)]) == Pulse(lost=[lease.request_id])
    assert await world.close(lease, 99) is Closed.CLOSED
    assert len(world.outbox()) == 1
    world.redis.delete(world.names.open + lease.request_id)
    assert await reap("1") == b"missing"  # nothing is known of it: nothing is written
    assert len(world.outbox()) == 1
