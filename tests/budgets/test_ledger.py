"""The ledger's contract, on every engine it runs on."""

from __future__ import annotations

import pytest
from redis import Redis

from budgets.ledger import Closed, Hold, LedgerUnavailable, Refused
from budgets.limit import AMOUNT_MAX
from budgets.window import DAY_MS, window_at
from tests.budgets.server import ACCOUNT, KEY, World

USD = 10**9


async def test_an_open_holds_on_every_row_and_its_close_settles_them_all(world: World) -> None:
    limits = [world.limit(USD, window=window) for window in ("day", "month", "lifetime")]
    opened = await world.granted(300_000)
    assert opened.step == "full"
    assert opened.remaining_nano == USD - 300_000
    assert opened.lease.held_nano == 300_000
    assert [world.counters(limit) for limit in limits] == [(0, 300_000, 0)] * 3
    assert await world.close(opened.lease, 123_456, 1_000) is Closed.OK
    assert [world.counters(limit) for limit in limits] == [(123_456, 0, 1_000)] * 3
    assert world.redis.zcard(world.names.leases) == 0
    assert [event["cost_nano"] for event in world.outbox()] == [123_456]


async def test_the_open_record_keeps_what_the_reaper_needs(world: World) -> None:
    limit = world.limit(USD)
    opened = await world.granted(300_000, payload=b"{}")
    record = world.redis.hgetall(world.names.open + opened.lease.request_id)
    assert record == {
        b"owner": b"w1",
        b"held": b"300000",
        b"at": str(opened.at_ms).encode(),
        b"payload": b"{}",
        b"rows": world.row_name(limit).encode(),
    }
    assert world.redis.zscore(world.names.leases, opened.lease.request_id) == opened.at_ms + 30_000


async def test_a_key_without_limits_is_granted_the_full_hold(world: World) -> None:
    opened = await world.granted(Hold(900, 500, 100))
    assert (opened.step, opened.lease.held_nano, opened.remaining_nano) == ("full", 900, None)
    assert await world.close(opened.lease, 700) is Closed.OK
    assert len(world.outbox()) == 1


async def test_counters_expire_forty_days_after_their_window_and_lifetimes_never(world: World) -> None:
    day, life = world.limit(USD, window="day"), world.limit(USD, window="lifetime")
    await world.granted(1)
    end_ms = window_at("day", world.now_ms).end_ms
    assert world.redis.pexpiretime(world.row_name(day)) == end_ms + 40 * DAY_MS
    assert world.redis.pttl(world.row_name(life)) == -1


# The hold rule


async def test_ample_room_grants_the_whole_ceiling(world: World) -> None:
    world.limit(20_000)
    opened = await world.granted(Hold(full=1_000, assumed=500, least=100))
    assert (opened.step, opened.lease.held_nano, opened.remaining_nano) == ("full", 1_000, 19_000)


async def test_less_than_ample_room_grants_the_assumed_ceiling(world: World) -> None:
    world.limit(19_999)
    opened = await world.granted(Hold(full=1_000, assumed=500, least=100))
    assert (opened.step, opened.lease.held_nano, opened.remaining_nano) == ("assumed", 500, 19_499)


@pytest.mark.parametrize("room", [499, 100])
async def test_less_than_the_assumed_ceiling_is_clamped_to_what_is_left(world: World, room: int) -> None:
    limit = world.limit(room)
    opened = await world.granted(Hold(full=1_000, assumed=500, least=100))
    assert (opened.step, opened.lease.held_nano, opened.remaining_nano) == ("clamped", room, 0)
    assert world.counters(limit) == (0, room, 0)


async def test_less_than_the_least_useful_amount_is_refused(world: World) -> None:
    limit = world.limit(99)
    refused = await world.refused(Hold(full=1_000, assumed=500, least=100))
    assert refused == Refused("EXHAUSTED", limit.id, 99, 0, 99)
    assert world.counters(limit) == (0, 0, 0)
    assert world.redis.keys(world.names.open + "*") == []


async def test_a_client_maximum_is_granted_whole_or_not_at_all(world: World) -> None:
    world.limit(1_000)
    assert (await world.granted(1_000)).step == "full"
    world.limits.clear()
    tight = world.limit(999)
    assert (await world.refused(1_000)).limit_id == tight.id


async def test_a_model_whose_maximum_is_the_assumed_one_is_clamped_only_when_it_does_not_fit(
    world: World,
) -> None:
    world.limit(1_000)
    assert (await world.granted(Hold(full=600, assumed=600, least=100))).step == "full"
    clamped = await world.granted(Hold(full=600, assumed=600, least=100))
    assert (clamped.step, clamped.lease.held_nano) == ("clamped", 400)


async def test_the_tightest_hard_row_decides_and_soft_and_shadow_rows_never_do(world: World) -> None:
    soft = world.limit(10, window="lifetime", enforcement="soft")
    shadow = world.limit(0, window="day", enforcement="shadow")
    opened = await world.granted(500)
    assert opened.remaining_nano is None
    hard = world.limit(700)
    other = world.limit(5_000, window="day")
    opened = await world.granted(500)
    assert opened.remaining_nano == 200
    assert await world.close(opened.lease, 400, 100) is Closed.OK
    for limit in (soft, shadow):
        assert world.counters(limit) == (400, 500, 100)
    for limit in (hard, other):
        assert world.counters(limit) == (400, 0, 100)


# Refusals


async def test_exhausted_and_busy_are_told_apart(world: World) -> None:
    limit = world.limit(1_000)
    first = await world.granted(600)
    assert await world.refused(500) == Refused("BUSY", limit.id, 1_000, 0, 400)
    assert await world.refused(1_000) == Refused("BUSY", limit.id, 1_000, 0, 400)  # it would just fit alone
    assert (await world.refused(1_001)).reason == "EXHAUSTED"
    await world.close(first.lease, 501)
    assert await world.refused(500) == Refused("EXHAUSTED", limit.id, 1_000, 501, 499)
    assert (await world.granted(499)).remaining_nano == 0


async def test_the_exhausted_row_is_named_even_when_another_is_busy(world: World) -> None:
    busy, spent = world.limit(1_000, window="day"), world.limit(2_000)
    world.set_counters(busy, reserved=1_000)
    world.set_counters(spent, spent=1_950)
    assert await world.refused(100) == Refused("EXHAUSTED", spent.id, 2_000, 1_950, 50)


async def test_doubt_blocks_like_spending_and_is_not_busy(world: World) -> None:
    limit = world.limit(1_000)
    await world.close((await world.granted(1_000)).lease, 100, 900)
    assert world.counters(limit) == (100, 0, 900)
    assert await world.refused(1) == Refused("EXHAUSTED", limit.id, 1_000, 100, 0)


async def test_a_free_request_fits_into_an_empty_budget_but_not_into_an_overdrawn_one(world: World) -> None:
    limit = world.limit(0)
    assert (await world.granted(0)).remaining_nano == 0
    world.set_counters(limit, spent=1)
    assert (await world.refused(0)).reason == "EXHAUSTED"


async def test_a_request_id_opens_once(world: World) -> None:
    world.limit(1_000)
    opened = await world.granted(100, request_id="twice")
    assert await world.refused(100, request_id="twice") == Refused("EXISTS")
    await world.close(opened.lease, 1)
    assert await world.refused(100, request_id="twice") == Refused("EXISTS")
    assert await world.refused(100, request_id="twice", again=True) == Refused("EXISTS")


async def test_an_open_whose_answer_was_lost_can_be_asked_for_again_by_its_owner_only(world: World) -> None:
    limit = world.limit(1_000)
    first = await world.granted(Hold(800, 300, 100), request_id="lost")
    again = await world.granted(Hold(800, 300, 100), request_id="lost", again=True)
    assert (again.lease, again.step, again.at_ms) == (first.lease, "assumed", first.at_ms)
    assert world.counters(limit) == (0, 300, 0)
    # A day that ended between the two does not matter: the rows are those that were held on.
    world.redis.hset(world.names.open + "lost", "rows", "yesterday's row")
    late = await world.granted(Hold(800, 300, 100), request_id="lost", again=True)
    assert late.lease.rows == ("yesterday's", "row")
    other = World(world.redis, world.connection, owner="w2")
    other.limits = world.limits
    assert await other.refused(100, request_id="lost", again=True) == Refused("EXISTS")
    assert (await world.granted(100, request_id="never seen", again=True)).step == "full"


async def test_a_revoked_an_expired_and_a_stale_key_are_refused_without_a_trace(world: World) -> None:
    limit = world.limit(1_000)
    world.put_key(version=2)
    assert await world.refused(1) == Refused("STALE")
    world.put_key(version=2, status="revoked")
    assert await world.refused(1, key_version=2) == Refused("REVOKED")
    world.put_key(version=3, expires_ms=world.now_ms)
    assert await world.refused(1, key_version=3) == Refused("EXPIRED")
    world.put_key(version=3, expires_ms=world.now_ms + 60_000)
    assert (await world.granted(1, key_version=3)).remaining_nano == 999
    assert world.counters(limit) == (0, 1, 0)


async def test_a_ledger_that_does_not_know_everything_is_cold(world: World, redis: Redis) -> None:
    limit = world.limit(1_000)
    redis.hdel(world.names.meta, "complete_since")
    assert await world.refused(1) == Refused("COLD")
    world.make_whole()
    redis.delete(world.names.limit + limit.id)
    assert await world.refused(1) == Refused("COLD")
    redis.delete(world.names.key + KEY)
    assert await world.refused(1) == Refused("COLD")


async def test_a_missing_row_is_zero_only_when_its_window_or_limit_began_after_the_ledger_was_whole(
    world: World,
) -> None:
    now_ms = world.now_ms
    month = window_at("month", now_ms)
    world.limit(1_000, created_ms=0)
    world.make_whole(month.start_ms + 1)
    assert await world.refused(1) == Refused("COLD")
    world.make_whole(month.start_ms)
    await world.granted(1)
    life = world.limit(1_000, window="lifetime", created_ms=now_ms - 5)
    world.make_whole(now_ms - 4)
    assert await world.refused(1) == Refused("COLD")
    world.rows.put_limit(ACCOUNT, life, created_ms=now_ms - 3)
    assert (await world.granted(1)).remaining_nano == 998


async def test_a_worker_with_a_wrong_clock_gets_the_windows_of_redis(world: World) -> None:
    limits = [world.limit(1_000, window=window) for window in ("day", "month", "lifetime")]
    for lead_ms in (-40 * DAY_MS, 40 * DAY_MS, -DAY_MS, DAY_MS):
        world.ledger._clock_lead_ms = 0
        opened = await world.granted(10, now_ms=world.now_ms + lead_ms)
        assert opened.lease.rows == tuple(world.row_name(limit) for limit in limits)
    calls = world.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    await world.granted(10, now_ms=world.now_ms + DAY_MS)
    assert world.redis.info("commandstats")["cmdstat_evalsha"]["calls"] == calls + 1  # the lead was learned


# Ends


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
    assert await world.refused(1) == Refused("EXHAUSTED", limit.id, 1_000, 1_700, -700)


async def test_a_limit_lowered_below_what_is_spent_refuses_and_raised_again_admits(
    world: World, redis: Redis
) -> None:
    limit = world.limit(1_000)
    running = await world.granted(300)
    await world.close((await world.granted(400)).lease, 400)
    redis.hset(world.names.limit + limit.id, "value", 350)
    assert await world.refused(1) == Refused("EXHAUSTED", limit.id, 350, 400, -350)
    redis.hset(world.names.limit + limit.id, "value", 800)
    assert (await world.granted(100)).remaining_nano == 0
    assert await world.close(running.lease, 300) is Closed.OK


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
    world.rows.put_limit(ACCOUNT, limit, created_ms=0)
    world.set_counters(limit, spent=5)
    world.make_whole(opened.at_ms + 1)
    assert await world.close(opened.lease, 60, 40) is Closed.MISSING
    assert world.counters(limit) == (65, 0, 40)


@pytest.mark.parametrize(
    ("opened_ago_ms", "whole_ago_ms", "spent"),
    [
        (
            1_000,
            2_000,
            60,
        ),  # a write was lost (a failover): had it ended, its marker would be here
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


# Extending and renewing


async def test_extend_holds_more_on_every_row_or_on_none(world: World) -> None:
    day, month = world.limit(1_000, window="day"), world.limit(500)
    opened = await world.granted(300)
    assert await world.ledger.extend(opened.lease, 200) is True
    assert opened.lease.held_nano == 500
    assert await world.ledger.extend(opened.lease, 1) is False
    assert [world.counters(limit) for limit in (day, month)] == [(0, 500, 0)] * 2
    await world.close(opened.lease, 450)
    assert [world.counters(limit) for limit in (day, month)] == [(450, 0, 0)] * 2
    assert await world.ledger.extend(opened.lease, 1) is False


async def test_heartbeat_renews_the_lease_notes_the_cost_and_names_what_is_lost(
    world: World, redis: Redis
) -> None:
    world.limit(1_000)
    mine, ended = await world.granted(100), await world.granted(100)
    await world.close(ended.lease, 10)
    unknown = await world.granted(100)
    redis.delete(world.names.open + unknown.lease.request_id)
    redis.zadd(world.names.leases, {mine.lease.request_id: 1})
    leases = [(mine.lease, 77), (ended.lease, 10), (unknown.lease, 0)]
    assert await world.ledger.heartbeat(leases) == [ended.lease.request_id, unknown.lease.request_id]
    assert await world.ledger.heartbeat([(mine.lease, 50)]) == []
    record = redis.hmget(world.names.open + mine.lease.request_id, "hb", "ck")
    assert record == [b"2", b"77"]
    renewed = redis.zscore(world.names.leases, mine.lease.request_id)
    assert renewed is not None
    assert renewed >= mine.at_ms + 30_000
    other = World(redis, world.connection, owner="w2")
    assert await other.ledger.heartbeat([(mine.lease, 0)]) == [mine.lease.request_id]
    assert await other.ledger.extend(mine.lease, 1) is False


async def test_hundreds_of_leases_are_renewed_in_batches(world: World, redis: Redis) -> None:
    leases = [(await world.granted(1)).lease for _ in range(600)]
    assert await world.ledger.heartbeat([(lease, 1) for lease in leases]) == []
    assert {redis.hget(world.names.open + lease.request_id, "hb") for lease in leases} == {b"1"}
    assert await world.ledger.heartbeat([]) == []


# Arithmetic


async def test_amounts_are_exact_up_to_two_to_the_53(world: World) -> None:
    limit = world.limit(AMOUNT_MAX)
    opened = await world.granted(AMOUNT_MAX)
    assert opened.remaining_nano == 0
    assert world.counters(limit) == (0, AMOUNT_MAX, 0)
    assert (await world.refused(1)).free_nano == 0
    await world.close(opened.lease, AMOUNT_MAX - 1)
    assert world.counters(limit) == (AMOUNT_MAX - 1, 0, 0)
    assert (await world.granted(1)).remaining_nano == 0


@pytest.mark.parametrize(
    "amount", [2**31, 2**32 + 1, 123_456_789_012_345, 999_999_999_999_999, 9_007_199_254_740_990]
)
async def test_large_amounts_keep_every_digit(world: World, amount: int) -> None:
    limit = world.limit(AMOUNT_MAX)
    opened = await world.granted(Hold(amount, amount, amount))
    assert opened.lease.held_nano == amount
    assert opened.remaining_nano == AMOUNT_MAX - amount
    refused = await world.refused(AMOUNT_MAX)
    assert (refused.limit_nano, refused.free_nano) == (AMOUNT_MAX, AMOUNT_MAX - amount)
    await world.close(opened.lease, amount)
    assert world.counters(limit) == (amount, 0, 0)
    clamped = await world.granted(Hold(AMOUNT_MAX, AMOUNT_MAX, 1))
    assert clamped.lease.held_nano == AMOUNT_MAX - amount


async def test_amounts_beyond_exact_arithmetic_do_not_reach_the_ledger(world: World) -> None:
    with pytest.raises(ValueError, match="from 0 to 9007199254740991"):
        Hold(AMOUNT_MAX + 1, 1, 1)
    with pytest.raises(ValueError, match="least <= assumed <= full"):
        Hold(1, 2, 3)
    world.limit(1_000)
    opened = await world.granted(1_000)
    with pytest.raises(ValueError, match="spent amount"):
        await world.close(opened.lease, -1, cost=0)
    with pytest.raises(ValueError, match="doubted amount"):
        await world.close(opened.lease, 1, AMOUNT_MAX + 1)
    with pytest.raises(ValueError, match="extended hold"):
        await world.ledger.extend(opened.lease, AMOUNT_MAX)


# A full server


async def test_a_full_server_refuses_new_work_and_lets_running_work_end(world: World, redis: Redis) -> None:
    limit = world.limit(1_000)
    opened = await world.granted(100)
    redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(LedgerUnavailable, match="OOM") as refusal:
            await world.open(100)
        assert refusal.value.sent is False
        assert await world.ledger.extend(opened.lease, 50) is True
        assert await world.ledger.heartbeat([(opened.lease, 5)]) == []
        assert await world.close(opened.lease, 60) is Closed.OK
    finally:
        redis.config_set("maxmemory", "0")
    assert world.counters(limit) == (60, 0, 0)
