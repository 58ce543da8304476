"""Limits as people read them."""

from __future__ import annotations

from redis import Redis

from budgets.usage import read_usage
from budgets.window import window_at
from tests.budgets.server import ACCOUNT, World


async def test_each_limit_is_read_with_its_present_window_and_the_value_in_force(
    world: World, redis: Redis
) -> None:
    day, month = world.limit(1_000, window="day"), world.limit(5_000)
    await world.close((await world.granted(300)).lease, 120, 30)
    await world.granted(40)
    redis.hset(world.names.limit + day.id, "value", 150)
    first, second = read_usage(redis, ACCOUNT, [day, month])
    assert (first.limit, first.window) == (day, window_at("day", world.now_ms))
    assert (first.value_nano, first.spent_nano, first.reserved_nano, first.doubted_nano) == (150, 120, 40, 30)
    assert (first.remaining_nano, second.remaining_nano) == (-40, 4_810)
    assert first.published


async def test_a_limit_that_the_ledger_does_not_know_is_told_apart(world: World, redis: Redis) -> None:
    limit = world.limit(1_000)
    world.rows.drop_limit(ACCOUNT, limit.id)
    (usage,) = read_usage(redis, ACCOUNT, [limit])
    assert (usage.published, usage.value_nano, usage.spent_nano) == (False, 1_000, 0)
    assert read_usage(redis, ACCOUNT, []) == []
