"""The ledger's contract on every engine: limits on everything, of every kind, in every window."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis import Redis

from budgets.hold import Hold, Settled
from budgets.ledger import Closed, Opened
from budgets.limit import SCOPES, Attribution
from budgets.names import RETENTION_MS
from budgets.window import window_of
from tests.budgets.conftest import EVERY_ENGINE
from tests.budgets.world import ACCOUNT, KEY, World, busy, commands, refusal, unpacked

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)

DAY_MS = 86_400_000
SUMMARY = Attribution(ACCOUNT, KEY, "acme", "north", "summarize", "gold", "trace-1", "fast")
SOMETHING_ELSE = {
    "account": {},  # another account lives on another shard, so it cannot meet these rows
    "key": {},
    "customer": {"customer": "beta"},
    "workspace": {"workspace": "south"},
    "feature": {"feature": "translate"},
    "customer_feature": {"feature": "translate"},
    "plan": {"plan": "silver"},
    "trace": {"trace_id": "trace-2"},
    "route": {"route": "slow"},
}
FULL_ROW = struct.pack("<3q", 1_000, 0, 0)


def tokens(given: int, made: int, *, likely: int = 0) -> Hold:
    return Hold(0, 0, 0, input_tokens=given, output_tokens=(made,) * 3, likely_tokens=likely)


# Scopes


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_limit_on_one_thing_counts_what_is_for_it_and_nothing_else(world: World, scope: str) -> None:
    world.of = SUMMARY
    limit = world.limit(100, scope=scope, window="lifetime")
    opened = await world.granted(60)
    assert world.counters(limit) == (0, 60, 0)
    assert (await busy(world, 60)).limit is limit
    await world.close(opened.lease, 50)
    assert world.counters(limit) == (50, 0, 0)
    world.of = replace(SUMMARY, **SOMETHING_ELSE[scope])
    if world.of != SUMMARY:
        elsewhere = await world.granted(1_000)
        assert (elsewhere.remaining_nano, elsewhere.lease.rows.fields) == (None, ())
    world.of = Attribution(ACCOUNT, KEY)  # who names nothing counts for nothing but account and key
    assert isinstance(await world.open(60), Opened) is (scope not in ("account", "key"))


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_limit_on_each_thing_gives_each_the_whole_of_it(world: World, scope: str) -> None:
    world.of = SUMMARY
    limit = world.limit(100, scope=scope, scope_id="*", window="lifetime")
    refused = await fill(world, 100)
    assert refused == (limit, world.row(limit).field)
    other = replace(SUMMARY, **SOMETHING_ELSE[scope])
    if other != SUMMARY:
        world.of = other
        assert (await fill(world, 100))[1] == world.row(limit).field
        assert world.counters(limit, SUMMARY) == world.counters(limit, other) == (0, 100, 0)


@pytest.mark.parametrize(
    ("scope_id", "shared", "apart"),
    [
        ("acme\x1f*", {"customer": "beta"}, {"feature": "translate"}),
        ("*\x1fsummarize", {"feature": "translate"}, {"customer": "beta"}),
    ],
)
async def test_a_pair_may_be_fixed_in_one_part_and_each_in_the_other(
    world: World, scope_id: str, shared: dict[str, str], apart: dict[str, str]
) -> None:
    world.of = SUMMARY
    limit = world.limit(100, scope="customer_feature", scope_id=scope_id)
    assert await fill(world, 100) == (limit, f"{limit.id}:acme\x1fsummarize")
    world.of = replace(SUMMARY, **apart)
    await fill(world, 100)
    assert world.counters(limit, SUMMARY) == world.counters(limit) == (0, 100, 0)
    world.of = replace(SUMMARY, **shared)
    assert (await world.granted(1_000)).lease.rows.fields == ()


async def test_things_with_odd_names_have_rows_of_their_own(world: World) -> None:
    names = ["acme", "acme!", "!acme", "ac me", "lim0", "acme:", "*", "a\x1e", "Zürich", ""]
    limit = world.limit(
        100, scope="customer", scope_id="*", window="lifetime", enforcement="soft", thresholds=(50,)
    )
    for number, name in enumerate(names):
        opened = await world.granted(10 + number, of=replace(world.of, customer=name))
        again = await world.granted(
            10 + number, of=replace(world.of, customer=name), request_id=opened.lease.request_id, again=True
        )
        if "\x1e" not in name:  # nothing that a client sends can hold it
            assert again.lease.rows.fields == opened.lease.rows.fields
        await world.close(opened.lease, 100 + number)
    for number, name in enumerate(names):
        assert world.counters(limit, replace(world.of, customer=name)) == (100 + number, 0, 0)
    assert [row for _, row, *_ in world.notices()] == [f"{limit.id}:{name}" for name in names]


async def fill(world: World, room: int) -> tuple[Any, str | None]:
    """Hold all of the room; the limit and the row that then refuse one more."""
    await world.granted(room)
    refused = await busy(world, 1)
    return refused.limit, refused.row


# Kinds


@pytest.mark.parametrize(
    ("kind", "held", "settled"),
    [
        ("money", 900, (120, 0, 30)),
        ("requests", 1, (1, 0, 0)),
        ("input_tokens", 70, (7, 0, 3)),
        ("output_tokens", 90, (5, 0, 2)),
        ("tokens", 160, (12, 0, 5)),
        ("concurrency", 1, (0, 0, 0)),
    ],
)
async def test_each_kind_holds_the_most_that_may_come_and_settles_what_came(
    world: World, kind: str, held: int, settled: tuple[int, int, int]
) -> None:
    limit = world.limit(1_000_000, kind=kind, window="now" if kind == "concurrency" else "day")
    hold = Hold(900, 500, 100, input_tokens=70, output_tokens=(90, 50, 10))
    opened = await world.granted(hold)
    assert opened.step == "full"
    assert world.counters(limit) == (0, held, 0)
    await world.close(
        opened.lease,
        120,
        30,
        input_tokens=7,
        output_tokens=5,
        doubted_input_tokens=3,
        doubted_output_tokens=2,
    )
    assert world.counters(limit) == settled


async def test_a_request_that_never_was_is_not_counted(world: World) -> None:
    limit = world.limit(1, kind="requests")
    opened = await world.granted(0)
    assert (await busy(world, 0)).limit is limit
    await world.close(opened.lease, requests=0)
    assert world.counters(limit) == (0, 0, 0)
    await world.granted(0)


@pytest.mark.parametrize(
    ("room", "held"), [(3_200, 160), (3_199, 120), (120, 120), (119, 119), (80, 80), (79, None)]
)
async def test_tokens_are_held_by_the_same_rule_as_money(world: World, room: int, held: int | None) -> None:
    limit = world.limit(room, kind="tokens", window="day")
    hold = Hold(900, 500, 100, input_tokens=70, output_tokens=(90, 50, 10))
    if held is None:
        assert await world.refused(hold) == refusal("EXHAUSTED", limit, room, 0, room)
        return
    opened = await world.granted(hold)
    assert opened.lease.held == {"m": 900, "t": held}
    assert opened.step == {160: "full", 120: "assumed"}.get(held, "clamped")
    assert opened.remaining_nano is None


async def test_only_so_many_run_at_once_and_an_end_makes_room(world: World) -> None:
    limit = world.limit(2, kind="concurrency", window="now")
    first, _ = await world.granted(0), await world.granted(0)
    assert await busy(world, 0) == refusal("BUSY", limit, 2, 0, 0)
    await world.close(first.lease)
    await world.granted(0)
    world.set_value(limit, 0)
    assert (await world.refused(0)).reason == "EXHAUSTED"
    assert world.redis.pttl(world.names.now) == -1


async def test_a_minutes_worth_may_come_at_once_and_then_one_by_one(world: World, redis: Redis) -> None:
    limit = world.limit(6, kind="requests_per_minute", window="minute")
    for _ in range(6):
        await world.granted(0)
    refused = await world.refused(0)
    assert (refused.reason, refused.limit, refused.value) == ("RATE", limit, 6)
    assert refused.retry_ms is not None
    assert 0 < refused.retry_ms <= 10_000
    arrival = redis.hget(world.names.rates, limit.id)
    assert (await world.refused(0)).reason == "RATE"
    assert redis.hget(world.names.rates, limit.id) == arrival  # who is refused uses nothing up
    # As if that much time had passed:
    redis.hset(world.names.rates, limit.id, int(arrival) - refused.retry_ms * 1_000)  # type: ignore[arg-type]
    await world.granted(0)
    assert (await world.refused(0)).reason == "RATE"


async def test_a_rate_is_told_by_when_the_slowest_one_admits(world: World, redis: Redis) -> None:
    slow = world.limit(1, kind="requests_per_minute", window="minute")
    world.limit(2, kind="requests_per_minute", window="minute", scope="account")
    world.limit(1_000, kind="tokens_per_minute", window="minute")
    await world.granted(tokens(0, 0, likely=900))
    refused = await world.refused(tokens(0, 0, likely=200))
    assert refused.limit is slow
    assert refused.retry_ms is not None
    assert 30_000 < refused.retry_ms <= 60_000
    money = world.limit(0)
    assert (await world.refused(1)).limit is money  # what keeps it out for good is told first


async def test_a_rate_of_tokens_is_charged_an_estimate_and_corrected_at_the_end(
    world: World, redis: Redis
) -> None:
    limit = world.limit(1_500, kind="tokens_per_minute", window="minute")  # a token is 40 ms

    def ahead_ms(opened: Opened) -> int:
        return int(redis.hget(world.names.rates, limit.id) or 0) // 1_000 - opened.at_ms  # type: ignore[arg-type]

    more = await world.granted(tokens(0, 0, likely=300))
    assert ahead_ms(more) == pytest.approx(12_000, abs=2)
    await world.close(more.lease, input_tokens=400, output_tokens=500)
    assert ahead_ms(more) == pytest.approx(36_000, abs=2)
    less = await world.granted(tokens(0, 0, likely=500))
    await world.close(less.lease, input_tokens=50, output_tokens=50)
    assert ahead_ms(more) == pytest.approx(40_000, abs=2)
    nothing = await world.granted(tokens(0, 0, likely=400))
    await world.close(nothing.lease)
    assert ahead_ms(more) == pytest.approx(40_000, abs=2)
    # More than the estimate said is owed, and waited for.
    much = await world.granted(tokens(0, 0, likely=1))
    await world.close(much.lease, output_tokens=6_000)
    refused = await world.refused(tokens(0, 0, likely=1))
    assert refused.retry_ms is not None
    assert 200_000 < refused.retry_ms <= 220_100


async def test_an_estimate_above_the_whole_rate_waits_for_an_empty_minute_and_no_longer(
    world: World,
) -> None:
    world.limit(100, kind="tokens_per_minute", window="minute")
    opened = await world.granted(tokens(0, 0, likely=5_000))
    refused = await world.refused(tokens(0, 0, likely=5_000))
    assert refused.retry_ms is not None
    assert refused.retry_ms <= 60_000
    await world.close(opened.lease, output_tokens=50)  # what it was charged was a minute, not its estimate
    assert (await world.refused(tokens(0, 0, likely=60))).reason == "RATE"
    assert (await world.granted(tokens(0, 0, likely=40))).step == "full"


async def test_a_rate_whose_value_changes_holds_at_once(world: World) -> None:
    limit = world.limit(1, kind="requests_per_minute", window="minute")
    await world.granted(0)
    assert (await world.refused(0)).reason == "RATE"
    world.set_value(limit, 6)  # the minute stays used up, but a request is ten seconds of it now
    refused = await world.refused(0)
    assert refused.retry_ms is not None
    assert refused.retry_ms <= 10_000


# Enforcement


async def test_what_would_refuse_if_it_were_hard_is_told_as_over(world: World) -> None:
    money = world.limit(150, enforcement="soft")
    count = world.limit(1, kind="requests", enforcement="shadow", window="day")
    rate = world.limit(1, kind="requests_per_minute", window="minute", enforcement="shadow")
    running = world.limit(1, kind="concurrency", window="now", enforcement="soft")
    assert (await world.granted(100)).over == ()
    assert set((await world.granted(100)).over) == {money, count, rate, running}
    assert set((await world.granted(0)).over) == {money, count, rate, running}
    assert world.counters(money) == (0, 200, 0)


async def test_a_shadow_rate_lets_through_what_a_hard_one_refuses_and_admits_as_often(world: World) -> None:
    shadow = world.limit(3, kind="requests_per_minute", window="minute", enforcement="shadow")
    hard = world.limit(3, kind="requests_per_minute", window="minute")
    over, refused = [], []
    for _ in range(10):
        world.limits = [shadow]
        over.append(bool((await world.granted(0)).over))
        world.limits = [hard]
        refused.append(not isinstance(await world.open(0), Opened))
    assert over == refused == [False] * 3 + [True] * 7
    arrivals = [int(each) for each in world.redis.hmget(world.names.rates, shadow.id, hard.id)]
    assert arrivals[0] == pytest.approx(arrivals[1], abs=1_000_000)


async def test_a_notice_names_the_account(world: World) -> None:
    other = World(world.redis, world.connection, account="acct_other")
    other.make_whole()
    for each in (world, other):
        each.put_key()
        each.limit(100, thresholds=(50, 90))
        await each.close((await each.granted(60)).lease, 60)
        lease = (await each.granted(40)).lease
        assert await each.ledger.close(lease, Settled(40), status="x", event=b"\xff no JSON") is Closed.OK
        told = [(entry[b"percent"], entry[b"account"]) for _, entry in each.redis.xrange(each.names.notices)]
        assert told == [(b"50", each.account.encode()), (b"90", b"")]


async def test_a_threshold_is_told_once_in_each_window(world: World) -> None:
    limit = world.limit(1_000, enforcement="soft", thresholds=(50, 80, 100), window="day")
    other = world.limit(10_000, thresholds=(1, 99), window="month")

    async def spend(amount: int) -> None:
        await world.close((await world.granted(amount)).lease, amount)

    await spend(499)
    assert world.notices() == [(other.id, other.id, 1, 499, 10_000)]
    await spend(1)
    assert world.notices()[1:] == [(limit.id, limit.id, 50, 500, 1_000)]
    await spend(299)
    assert len(world.notices()) == 2
    await spend(400)
    assert world.notices()[2:] == [(limit.id, limit.id, 100, 1_199, 1_000)]  # the highest that was crossed
    await spend(5_000)
    world.set_value(limit, 100)
    await spend(1)
    world.set_value(limit, 10**9)
    await spend(1)
    assert len(world.notices()) == 3
    row = world.row(limit)
    assert world.redis.hget(row.hash, f"!{row.field}") == b"100"
    world.redis.hdel(row.hash, f"!{row.field}", row.field)  # as a new day begins
    world.set_value(limit, 1_000)
    await spend(500)
    assert world.notices()[3:] == [(limit.id, limit.id, 50, 500, 1_000)]


async def test_a_notice_says_when_it_was(world: World, redis: Redis) -> None:
    world.limit(10, thresholds=(100,))
    before_ms = world.now_ms
    await world.close((await world.granted(10)).lease, 10)
    ((_, entry),) = redis.xrange(world.names.notices)  # type: ignore[misc]
    assert before_ms - 1 <= int(entry[b"at"]) <= world.now_ms


async def test_a_lowered_value_is_crossed_at_the_next_end(world: World) -> None:
    limit = world.limit(1_000, thresholds=(90,))
    await world.close((await world.granted(500)).lease, 500)
    world.set_value(limit, 500)
    opened = await world.refused(1)
    assert opened.reason == "EXHAUSTED"
    world.set_value(limit, 520)
    await world.close((await world.granted(0)).lease)
    assert world.notices() == [(limit.id, limit.id, 90, 500, 520)]


# Windows


@pytest.mark.parametrize("window", ["day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Asia/Kathmandu", "America/St_Johns"])
async def test_a_limit_counts_in_the_window_of_its_zone(world: World, window: str, zone: str) -> None:
    anchor = 1 if window == "day" else 3
    limit = world.limit(100, window=window, time_zone=zone, anchor=anchor)
    await world.close((await world.granted(60)).lease, 60)
    current = window_of(limit, world.now_ms)
    today = datetime.now(ZoneInfo(zone)).date()
    first = datetime.fromtimestamp(current.start_ms / 1_000, ZoneInfo(zone)).date()
    assert first <= today < first + timedelta(days={"day": 1, "week": 7, "month": 31}[window])
    assert unpacked(world.redis.hget(world.names.window + current.id, limit.id)) == (60, 0, 0)
    assert world.redis.pexpiretime(world.names.window + current.id) == current.end_ms + RETENTION_MS
    assert (await world.refused(60)).reason == "EXHAUSTED"


async def test_a_request_settles_in_the_windows_of_its_opening(world: World, redis: Redis) -> None:
    day, life = world.limit(1_000, window="day"), world.limit(1_000, window="lifetime")
    yesterday_ms = world.now_ms - DAY_MS
    rows = world.ledger.rows((tuple(world.limits),), world.versions(), world.of, yesterday_ms)
    lease = world.ledger.uncovered(world.of, "late", rows, Hold(300, 300, 300), b"{}", yesterday_ms)
    assert await world.ledger.restore(lease, 0) is True  # open since yesterday
    today = await world.granted(500)
    assert world.counters(day) == (0, 500, 0)
    assert await world.close(lease, 200, 50) is Closed.OK
    assert world.counters(day) == (0, 500, 0)
    assert world.counters(life) == (200, 500, 50)
    name = world.names.window + window_of(day, yesterday_ms).id
    assert unpacked(redis.hget(name, day.id)) == (200, 0, 50)
    assert redis.pexpiretime(name) == window_of(day, yesterday_ms).end_ms + RETENTION_MS
    await world.close(today.lease, 1)
    assert unpacked(redis.hget(name, day.id)) == (200, 0, 50)


async def test_a_key_that_was_idle_for_three_months_opens_in_the_current_window(
    world: World, redis: Redis
) -> None:
    limits = [world.limit(1_000, window=window) for window in ("day", "week", "month")]
    then_ms = world.now_ms - 91 * DAY_MS
    rows = world.ledger.rows((tuple(limits),), world.versions(), world.of, then_ms)
    for name, field in zip(rows.hashes, rows.fields, strict=True):
        redis.hset(name, field, FULL_ROW)
    opened = await world.granted(1_000)
    assert opened.lease.rows.start_ms > then_ms
    assert [world.counters(limit) for limit in limits] == [(0, 1_000, 0)] * 3


CUSTOMERS = pytest.param(100_000, marks=pytest.mark.slow)


@pytest.mark.parametrize("customers", [1_000, CUSTOMERS])
async def test_customers_crossing_midnight_cost_what_any_request_costs(
    world: World, redis: Redis, customers: int
) -> None:
    """Nobody is asked what was spent: a row that is missing today is zero, because the ledger is whole."""
    limit = world.limit(1_000, scope="customer", scope_id="*", window="day")
    yesterday = world.names.window + window_of(limit, world.now_ms - DAY_MS).id
    names = [f"customer-{number}" for number in range(customers)]
    for start in range(0, customers, 10_000):
        full = {f"{limit.id}:{name}": FULL_ROW for name in names[start : start + 10_000]}
        redis.hset(yesterday, mapping=full)  # type: ignore[arg-type]
    acme = replace(world.of, customer=names[0])
    await world.close((await world.granted(1, of=acme)).lease)  # scripts and hash are there
    await world.granted(1, of=acme)
    before = commands(redis)
    await world.granted(1, of=acme)
    known = difference(commands(redis), before)
    before = commands(redis)
    for start in range(1, customers, 100):
        attributions = [replace(world.of, customer=name) for name in names[start : start + 100]]
        await asyncio.gather(*(world.granted(1_000, of=of) for of in attributions))
    crossing = difference(commands(redis), before)
    # One look at when the hash expires more, as it holds no row of this customer yet. No other command.
    assert crossing.pop("pttl") == customers - 1
    assert crossing == {name: count * (customers - 1) for name, count in known.items()}
    assert redis.hlen(world.row(limit, acme).hash) == customers


def difference(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """How often each command ran in between, but for the counting itself and the map of a cluster."""
    ran = {name: count - before.get(name, 0) for name, count in after.items()}
    aside = ("info", "ping", "cluster")
    return {name: count for name, count in ran.items() if count and name.partition("|")[0] not in aside}


async def test_what_a_trace_counted_goes_forty_days_after_its_last_request(
    world: World, redis: Redis
) -> None:
    world.of = replace(world.of, trace_id="flow")
    money = world.limit(1_000, scope="trace", scope_id="*", window="lifetime")
    rate = world.limit(10, scope="trace", scope_id="*", window="minute", kind="requests_per_minute")
    running = world.limit(2, scope="trace", scope_id="*", window="now", kind="concurrency")
    name = f"{world.names.trace}{ACCOUNT}:flow"
    opened = await world.granted(100)
    redis.pexpire(name, 5_000)
    assert {world.row(limit).hash for limit in (money, rate, running)} == {name}
    await world.granted(100)
    assert RETENTION_MS - 5_000 < redis.pttl(name) <= RETENTION_MS  # type: ignore[operator]
    assert (await busy(world, 100)).limit is running
    await world.close(opened.lease, 70)
    assert world.counters(money) == (70, 100, 0)
    assert redis.exists(world.names.rates, world.names.now) == 0
