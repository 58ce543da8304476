"""The ledger's contract on every engine it runs on: what is granted, what is refused, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis import Redis

from budgets.hold import Extra, Hold
from budgets.ledger import Closed, LedgerUnavailable, Pulse, Refused, Versions
from budgets.limit import AMOUNT_MAX
from budgets.names import RETENTION_MS
from budgets.rowset import TooManyLimits, read_record
from budgets.window import window_of
from tests.budgets.conftest import EVERY_ENGINE
from tests.budgets.world import KEY, World, busy, commands, refusal, set_everywhere

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)

USD = 10**9
DAY_MS = 86_400_000
NEVER_ENDS = "lifetime"


async def test_an_open_holds_on_every_row_and_its_close_settles_them_all(world: World) -> None:
    limits = [world.limit(USD, window=window) for window in ("day", "week", "month", "lifetime")]
    opened = await world.granted(300_000)
    assert opened.step == "full"
    assert opened.remaining_nano == USD - 300_000
    assert opened.lease.held == {"m": 300_000}
    assert [world.counters(limit) for limit in limits] == [(0, 300_000, 0)] * 4
    assert await world.close(opened.lease, 123_456, 1_000) is Closed.OK
    assert [world.counters(limit) for limit in limits] == [(123_456, 0, 1_000)] * 4
    assert world.redis.zcard(world.names.leases) == 0
    assert [event["cost_nano"] for event in world.outbox()] == [123_456]


async def test_the_open_record_keeps_what_the_reaper_needs(world: World) -> None:
    limit = world.limit(USD)
    opened = await world.granted(300_000, payload=b"{}")
    record = world.redis.hgetall(world.names.open + opened.lease.request_id)
    rows = record.pop(b"rows").decode()
    assert record == {
        b"owner": b"w1",
        b"held": b"300000",
        b"meters": b"m",
        b"at": str(opened.at_ms).encode(),
        b"payload": b"{}",
    }
    read = read_record(world.names.shard, rows, "m")
    assert (read.hashes, read.fields) == ((world.row(limit).hash,), (limit.id,))
    assert world.redis.zscore(world.names.leases, opened.lease.request_id) == opened.at_ms + 30_000


async def test_a_key_without_limits_is_granted_the_full_hold(world: World) -> None:
    opened = await world.granted(Hold(900, 500, 100))
    assert (opened.step, opened.lease.held_nano, opened.remaining_nano) == ("full", 900, None)
    assert await world.close(opened.lease, 700) is Closed.OK
    assert len(world.outbox()) == 1


@pytest.mark.parametrize("more", [0, 1])
async def test_counters_expire_forty_days_after_their_window_and_lifetimes_never(
    world: World, more: int
) -> None:
    for _ in range(more):
        world.limit(USD, window="day")
    day, life = world.limit(USD, window="day"), world.limit(USD, window="lifetime")
    for _ in range(2):
        await world.granted(1)
    end_ms = window_of(day, world.now_ms).end_ms
    assert world.redis.pexpiretime(world.row(day).hash) == end_ms + RETENTION_MS
    assert world.redis.pttl(world.row(life).hash) == -1


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
    assert refused == refusal("EXHAUSTED", limit, 99, 0, 99)
    assert world.counters(limit) == (0, 0, 0)
    assert world.redis.keys(world.names.open + "*") == []


async def test_a_client_maximum_is_granted_whole_or_not_at_all(world: World) -> None:
    world.limit(1_000)
    assert (await world.granted(1_000)).step == "full"
    world.limits.clear()
    tight = world.limit(999)
    assert (await world.refused(1_000)).limit is tight


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
    assert set(opened.over) == {soft, shadow}
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
    assert await busy(world, 500) == refusal("BUSY", limit, 1_000, 0, 400)
    assert await busy(world, 1_000) == refusal("BUSY", limit, 1_000, 0, 400)  # it would just fit alone
    assert (await world.refused(1_001)).reason == "EXHAUSTED"
    await world.close(first.lease, 501)
    assert await world.refused(500) == refusal("EXHAUSTED", limit, 1_000, 501, 499)
    assert (await world.granted(499)).remaining_nano == 0


async def test_busy_may_be_tried_again_when_the_oldest_lease_ends(world: World) -> None:
    world.limit(1_000)
    first, second = await world.granted(500), await world.granted(500)
    for at_ms, lease in ((24_000, first.lease), (29_000, second.lease)):
        world.redis.zadd(world.names.leases, {lease.request_id: world.now_ms + at_ms})
    refused = await world.refused(1)
    assert refused.retry_ms is not None
    assert 4_000 < refused.retry_ms <= 24_001


async def test_the_exhausted_row_is_named_even_when_another_is_busy(world: World) -> None:
    held, spent = world.limit(1_000, window="day"), world.limit(2_000)
    world.set_counters(held, reserved=1_000)
    world.set_counters(spent, spent=1_950)
    assert await world.refused(100) == refusal("EXHAUSTED", spent, 2_000, 1_950, 50)


async def test_an_exhausted_count_is_told_before_money_that_others_hold(world: World) -> None:
    money, count = world.limit(1_000), world.limit(1, kind="requests")
    world.set_counters(money, reserved=1_000)
    world.set_counters(count, spent=1)
    assert await world.refused(100) == refusal("EXHAUSTED", count, 1, 1, 0)


async def test_doubt_blocks_like_spending_and_is_not_busy(world: World) -> None:
    limit = world.limit(1_000)
    await world.close((await world.granted(1_000)).lease, 100, 900)
    assert world.counters(limit) == (100, 0, 900)
    assert await world.refused(1) == refusal("EXHAUSTED", limit, 1_000, 100, 0)


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
    assert (again.lease.rows, again.lease.held, again.step) == (first.lease.rows, {"m": 300}, "assumed")
    assert again.at_ms == again.lease.at_ms == first.at_ms
    assert world.counters(limit) == (0, 300, 0)
    other = World(world.redis, world.connection, owner="w2")
    other.limits = world.limits
    assert await other.refused(100, request_id="lost", again=True) == Refused("EXISTS")
    assert (await world.granted(100, request_id="never seen", again=True)).step == "full"


async def test_an_open_asked_for_again_after_midnight_is_the_one_of_before(
    world: World, redis: Redis
) -> None:
    limit = world.limit(1_000, window="day")
    first = await world.granted(300, request_id="lost")
    yesterday = first.lease.rows.record.replace(window_of(limit, world.now_ms).id, "yesterday")
    redis.hset(world.names.open + "lost", "rows", yesterday)
    again = await world.granted(300, request_id="lost", again=True)
    assert again.lease.rows.hashes == (f"{world.names.window}yesterday",)
    assert again.lease.rows.fields == (limit.id,)
    assert await world.close(again.lease, 100) is Closed.OK
    row = redis.hget(f"{world.names.window}yesterday", limit.id)
    assert row == (100).to_bytes(8, "little") + bytes(16)


async def test_a_revoked_an_expired_and_a_stale_key_are_refused_without_a_trace(world: World) -> None:
    limit = world.limit(1_000)
    world.put_key(version=2)
    assert await world.refused(1, versions=Versions(1)) == Refused("STALE")
    world.put_key(version=2, status="revoked")
    assert await world.refused(1, versions=Versions(2)) == Refused("REVOKED")
    world.put_key(version=3, expires_ms=world.now_ms)
    assert await world.refused(1, versions=Versions(3)) == Refused("EXPIRED")
    world.put_key(version=3, expires_ms=world.now_ms + 60_000)
    assert (await world.granted(1, versions=Versions(3))).remaining_nano == 999
    assert world.counters(limit) == (0, 1, 0)


async def test_a_copy_that_is_older_than_the_published_one_is_stale_and_a_newer_one_is_not(
    world: World, redis: Redis
) -> None:
    world.limit(1_000)
    world.put_key(version=5)
    redis.hset(world.names.meta, f"ver:{world.account}", 7)
    customer = f"{world.names.customer}{world.account}:acme"
    redis.hset(customer, "ver", 3)
    acme = replace(world.of, customer="acme")

    async def answer(versions: Versions) -> str:
        opened = await world.open(1, of=acme, versions=versions)
        return opened.reason if isinstance(opened, Refused) else "OK"

    assert await answer(Versions(5, 7, 3)) == "OK"
    assert await answer(Versions(6, 8, 4)) == "OK"
    assert await answer(Versions(4, 7, 3)) == "STALE"
    assert await answer(Versions(5, 6, 3)) == "STALE"
    assert await answer(Versions(5, 7, 2)) == "STALE"
    assert await answer(Versions(5, 7, 0)) == "STALE"
    assert await answer(Versions(5, 7, None)) == "OK"  # the account's list says that nobody has limits
    redis.delete(customer)
    assert await answer(Versions(5, 7, 0)) == "OK"
    redis.hdel(world.names.meta, f"ver:{world.account}")
    assert await answer(Versions(5, 0)) == "OK"


async def test_a_ledger_that_does_not_know_everything_is_cold(world: World, redis: Redis) -> None:
    limit = world.limit(1_000)
    redis.hdel(world.names.meta, "complete_since")
    assert await world.refused(1) == Refused("COLD")
    world.make_whole()
    redis.hset(world.names.meta, "run_id", "another run of the server")
    assert await world.refused(1) == Refused("COLD")
    redis.hdel(world.names.meta, "run_id")
    assert await world.refused(1) == Refused("COLD")
    world.make_whole()
    redis.hdel(world.names.limits, limit.id)
    assert await world.refused(1) == Refused("COLD")
    world.set_value(limit, 1_000)
    await world.granted(1)
    redis.delete(world.names.key + KEY)
    assert await world.refused(1) == Refused("COLD")


async def test_a_row_that_is_missing_is_zero_wherever_the_ledger_is_whole(world: World) -> None:
    world.make_whole(world.now_ms - 1)
    world.limit(1_000, window=NEVER_ENDS, created_ms=0)
    assert (await world.granted(1)).remaining_nano == 999


async def test_a_worker_with_a_wrong_clock_gets_the_windows_of_redis(world: World) -> None:
    limits = [world.limit(1_000, window=window) for window in ("day", "lifetime", "month", "week")]
    hashes = {world.row(limit).hash for limit in limits}
    for lead_ms in (-40 * DAY_MS, 40 * DAY_MS, -DAY_MS, DAY_MS):
        world.ledger._clock_lead_ms = 0
        opened = await world.granted(10, now_ms=world.now_ms + lead_ms)
        assert set(opened.lease.rows.hashes) == hashes
    calls = commands(world.redis)["evalsha"]
    await world.granted(10, now_ms=world.now_ms + DAY_MS)
    assert commands(world.redis)["evalsha"] == calls + 1  # the lead was learned


# Arithmetic


async def test_amounts_are_exact_up_to_two_to_the_53(world: World) -> None:
    limit = world.limit(AMOUNT_MAX)
    opened = await world.granted(AMOUNT_MAX)
    assert opened.remaining_nano == 0
    assert world.counters(limit) == (0, AMOUNT_MAX, 0)
    assert (await world.refused(1)).free == 0
    assert await world.ledger.extend(opened.lease, Extra(AMOUNT_MAX)) is False
    await world.close(opened.lease, AMOUNT_MAX - 1)
    assert world.counters(limit) == (AMOUNT_MAX - 1, 0, 0)
    assert (await world.granted(1)).remaining_nano == 0


@pytest.mark.parametrize("kind", ["money", "tokens"])
@pytest.mark.parametrize(
    "amount", [2**31, 2**32 + 1, 123_456_789_012_345, 999_999_999_999_999, 9_007_199_254_740_990]
)
async def test_large_amounts_keep_every_digit(world: World, amount: int, kind: str) -> None:
    limit = world.limit(AMOUNT_MAX, kind=kind)

    def hold(full: int, least: int) -> Hold:
        return Hold(full, full, least) if kind == "money" else Hold(0, 0, 0, 20, 0, (full, full, least))

    opened = await world.granted(hold(amount, amount))
    assert world.counters(limit) == (0, amount, 0)
    if kind == "money":
        assert opened.remaining_nano == AMOUNT_MAX - amount
    refused = await world.refused(hold(AMOUNT_MAX, AMOUNT_MAX))
    assert (refused.value, refused.free) == (AMOUNT_MAX, AMOUNT_MAX - amount)
    assert await world.ledger.extend(opened.lease, Extra(1, output_tokens=1)) is True
    assert world.counters(limit) == (0, amount + 1, 0)
    settled = {"spent": amount} if kind == "money" else {"output_tokens": amount}
    await world.close(opened.lease, **settled)
    assert world.counters(limit) == (amount, 0, 0)
    clamped = await world.granted(hold(AMOUNT_MAX, 1))
    assert clamped.lease.held["m" if kind == "money" else "t"] == AMOUNT_MAX - amount


async def test_amounts_beyond_exact_arithmetic_do_not_reach_the_ledger(world: World) -> None:
    world.limit(1_000)
    opened = await world.granted(1_000)
    with pytest.raises(ValueError, match="extra hold"):
        await world.ledger.extend(opened.lease, Extra(AMOUNT_MAX + 1))
    with pytest.raises(ValueError, match="a checkpoint"):
        await world.ledger.heartbeat([(opened.lease, -1)])
    with pytest.raises(ValueError, match="a checkpoint"):
        await world.ledger.restore(opened.lease, -1)


# Bounds


async def test_sixteen_limits_are_checked_in_one_step_and_seventeen_are_refused(world: World) -> None:
    windows = ("day", "week", "month", "lifetime")
    limits = [
        world.limit(1_000, window=window, scope=scope)
        for window in windows
        for scope in ("key", "account", "key", "account")
    ]
    opened = await world.granted(100)
    assert [world.counters(limit) for limit in limits] == [(0, 100, 0)] * 16
    last = limits[-1]
    world.set_value(last, 150)
    assert await busy(world, 100) == refusal("BUSY", last, 150, 0, 50)
    assert await world.ledger.extend(opened.lease, Extra(51)) is False
    assert await world.close(opened.lease, 70) is Closed.OK
    assert [world.counters(limit) for limit in limits] == [(70, 0, 0)] * 16
    world.limit(1_000)
    with pytest.raises(TooManyLimits, match="17 limits apply"):
        await world.open(1)


async def test_a_full_server_refuses_new_work_and_lets_running_work_end(world: World, redis: Redis) -> None:
    limit = world.limit(1_000)
    opened, lost = await world.granted(100), await world.granted(0)
    redis.delete(world.names.open + lost.lease.request_id)
    set_everywhere(redis, "maxmemory", "1")
    try:
        with pytest.raises(LedgerUnavailable, match="OOM") as told:
            await world.open(100)
        assert told.value.sent is False
        assert await world.ledger.extend(opened.lease, Extra(50)) is True
        assert await world.ledger.heartbeat([(opened.lease, 5)]) == Pulse()
        assert await world.ledger.restore(lost.lease, 0) is True
        assert await world.close(opened.lease, 60) is Closed.OK
    finally:
        set_everywhere(redis, "maxmemory", "0")
    assert world.counters(limit) == (60, 0, 0)
