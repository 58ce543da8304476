"""Many processes spend one budget at once: never a nano-dollar too much, never one lost."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from redis import Redis

from tests.budgets.racer import race
from tests.budgets.server import Server, World

PROCESSES = 4
COROUTINES = 64
ASKS = 3_600


def test_four_processes_race_for_one_dollar_and_none_overshoots(server: Server, redis: Redis) -> None:
    world = World(redis, None)  # type: ignore[arg-type]  # its own ledger is not used here
    world.make_whole()
    world.put_key()
    limits = [
        world.limit(10**9),
        world.limit(2 * 10**9, window="lifetime"),
        world.limit(5, enforcement="soft"),
    ]
    highest = samples = 0
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        runs = [
            pool.submit(race, server.url, limits, number, COROUTINES, ASKS // PROCESSES, world.now_ms)
            for number in range(PROCESSES)
        ]
        while not all(run.done() for run in runs):
            highest = max(highest, sum(world.counters(limits[0])))
            samples += 1
        told = [run.result() for run in runs]

    asked, opened = sum(each.asked for each in told), sum(each.opened for each in told)
    spent, doubted = sum(each.spent for each in told), sum(each.doubted for each in told)
    assert asked >= ASKS
    assert opened > 1_000
    assert sum(each.exhausted + each.busy for each in told) == asked - opened > 0
    assert sum(each.repeated_closes for each in told) > 0
    assert samples > 10
    assert highest <= 10**9
    assert 970_000_000 <= spent + doubted <= 10**9
    for limit in limits:
        assert world.counters(limit) == (spent, 0, doubted)
    events = world.outbox()
    assert len(events) == len({event["id"] for event in events}) == opened
    assert sum(event["cost_nano"] for event in events) == spent
    assert sum(event.get("doubted_nano", 0) for event in events) == doubted
    assert redis.zcard(world.names.leases) == 0
