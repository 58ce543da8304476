"""Limits as people read them."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from redis import Redis

from budgets.limit import Attribution, Limit
from budgets.usage import read_each, read_rows, read_usage
from budgets.window import window_of
from tests.budgets.world import ACCOUNT, KEY, World


def counted(world: World, limit: Limit, of: Attribution, spent: int, reserved: int = 0) -> None:
    """Write a row as if so much had been counted on it."""
    row = world.row(limit, of)
    world.redis.hset(row.hash, row.field, struct.pack("<3q", spent, reserved, 0))


def customer(name: str, **more: str) -> Attribution:
    return Attribution(ACCOUNT, KEY, name, **more)


async def test_each_limit_is_read_with_its_present_window_and_the_value_in_force(
    world: World, redis: Redis
) -> None:
    day, month = world.limit(1_000, window="day"), world.limit(5_000)
    berlin = world.limit(7_000, window="week", time_zone="Europe/Berlin", anchor=3)
    await world.close((await world.granted(300)).lease, 120, 30)
    await world.granted(40)
    world.set_value(day, 150)
    first, second, third = read_usage(redis, ACCOUNT, [day, month, berlin])
    assert (first.limit, first.window) == (day, window_of(day, world.now_ms))
    assert (first.value, first.spent, first.reserved, first.doubted) == (150, 120, 40, 30)
    assert (first.remaining, second.remaining, third.remaining) == (-40, 4_810, 6_810)
    assert (third.window, first.key, first.published) == (window_of(berlin, world.now_ms), KEY, True)


async def test_a_limit_that_the_ledger_does_not_know_is_told_apart(world: World, redis: Redis) -> None:
    limit = world.limit(1_000)
    world.rows.drop_limit(ACCOUNT, limit.id)
    (usage,) = read_usage(redis, ACCOUNT, [limit])
    assert (usage.published, usage.value, usage.spent) == (False, 1_000, 0)
    assert read_usage(redis, ACCOUNT, []) == []


async def test_concurrency_is_what_is_held_now(world: World, redis: Redis) -> None:
    limit = world.limit(3, kind="concurrency", window="now")
    (usage,) = read_usage(redis, ACCOUNT, [limit])
    assert (usage.reserved, usage.remaining) == (0, 3)
    await world.granted(5)
    await world.granted(5)
    (usage,) = read_usage(redis, ACCOUNT, [limit])
    assert (usage.spent, usage.reserved, usage.remaining) == (0, 2, 1)


@pytest.mark.parametrize("per_minute", [1, 7, 60, 999])
async def test_of_a_rate_what_is_free_now_is_told(world: World, redis: Redis, per_minute: int) -> None:
    limit = world.limit(per_minute, kind="requests_per_minute", window="minute")
    (usage,) = read_usage(redis, ACCOUNT, [limit])
    assert (usage.remaining, usage.used) == (per_minute, 0)
    await world.granted(1)
    (usage,) = read_usage(redis, ACCOUNT, [limit])
    assert (usage.remaining, usage.used) == (per_minute - 1, 1)


async def test_of_a_limit_on_each_the_rows_with_the_least_left_are_found(world: World, redis: Redis) -> None:
    limit = world.limit(1_000, scope="customer", scope_id="*", thresholds=(50,))
    other = world.limit(1_000, scope="customer", scope_id="*", window="day")
    for number in range(30):
        counted(world, limit, customer(f"c{number}"), spent=number, reserved=1)
        counted(world, other, customer(f"d{number}"), spent=900)
    counted(world, limit, customer("wild[*]?!"), spent=1_200)
    redis.hset(world.row(limit, customer("c1")).hash, "!" + world.row(limit, customer("c1")).field, "50")
    each = read_each(redis, ACCOUNT, limit, rows_max=3)
    assert [(row.key, row.remaining) for row in each.rows] == [
        ("wild[*]?!", -200),
        ("c29", 970),
        ("c28", 971),
    ]
    assert (each.total, each.value, each.published) == (31, 1_000, True)
    assert each.window == window_of(limit, world.now_ms)
    assert len(read_each(redis, ACCOUNT, limit).rows) == 31
    with pytest.raises(ValueError, match="is on one customer, not on each"):
        read_each(redis, ACCOUNT, replace(limit, scope_id="acme"))


async def test_of_a_limit_on_each_one_row_is_read_without_the_others(world: World, redis: Redis) -> None:
    limit = world.limit(1_000, scope="customer_feature", scope_id="*\x1fchat")
    counted(world, limit, customer("acme", feature="chat"), spent=7)
    found = read_rows(redis, ACCOUNT, [(limit, "acme\x1fchat"), (limit, "bolt\x1fchat")])
    assert [(row.key, row.spent) for row in found] == [("acme\x1fchat", 7), ("bolt\x1fchat", 0)]


async def test_limits_on_each_trace_are_found_where_their_rows_lie(world: World, redis: Redis) -> None:
    money = world.limit(1_000, scope="trace", scope_id="*", window="lifetime")
    rate = world.limit(60, scope="trace", scope_id="*", window="minute", kind="requests_per_minute")
    for trace in ("t1", "t2:x"):
        await world.close((await world.granted(300, of=customer("acme", trace_id=trace))).lease, len(trace))
    redis.hset(f"{world.names.trace}another:t3", f"{money.id}:t3", struct.pack("<3q", 9, 0, 0))
    each = read_each(redis, ACCOUNT, money)
    assert {row.key: row.spent for row in each.rows} == {"t1": 2, "t2:x": 4}
    assert {row.key: row.remaining for row in read_each(redis, ACCOUNT, rate).rows} == {"t1": 59, "t2:x": 59}
    (usage,) = read_usage(redis, ACCOUNT, [replace(money, scope_id="t1")])
    assert usage.key == "t1"


async def test_rates_of_each_are_found_by_what_is_used_of_them(world: World, redis: Redis) -> None:
    limit = world.limit(60, scope="customer", scope_id="*", kind="requests_per_minute", window="minute")
    for name, times in (("acme", 2), ("bolt", 1)):
        for _ in range(times):
            await world.granted(1, of=customer(name))
    redis.hset(world.names.rates, f"{limit.id}:idle", 1)  # long ago
    each = read_each(redis, ACCOUNT, limit)
    assert [(row.key, row.used) for row in each.rows] == [("acme", 2), ("bolt", 1)]
    assert each.total == 2
