"""kill -9 of gateway workers that carry streams, at any moment, two hundred times.

pytest tests/torture/test_kills.py -m slow -s
"""

from __future__ import annotations

import asyncio
import random
from time import monotonic

import pytest

from tests.acceptance.installation import until
from tests.acceptance.load import LIMIT_NANO, kill

from .client import Crowd
from .conftest import Build, Serve
from .site import Site
from .truth import account_for

KILLS, STREAMS, HASTY = 200, 24, 2
STREAMS_HIT = 5
"""Streams that a victim carries at least."""
KILLS_PER_LIFE = 10
"""After so many `serve` is stopped and started: its pauses before a worker's next life grow."""
SHORT_LEASES = "{lease_ms: 1000, heartbeat_ms: 250, reap_every_ms: 100}"
DEFAULT_KILLS = 4
AWAY_ROUNDS, ROUNDS_PER_LIFE, AWAY_S = 12, 4, 0.8
"""Rounds in which Redis goes first, and the workers once requests have ended that nobody could tell it of."""
LEASE_ENDS_S = 90.0
"""The lease, half a heartbeat more for the second look, two passes of the reaper, and time to spare."""


@pytest.mark.slow
async def test_200_killed_workers_leave_one_event_for_each_request(build: Build) -> None:
    print(await hunt(build, KILLS, SHORT_LEASES, lives=KILLS_PER_LIFE))


@pytest.mark.slow
async def test_killed_workers_leave_one_event_for_each_request_at_default_leases(build: Build) -> None:
    print(await hunt(build, DEFAULT_KILLS, "{}", lives=DEFAULT_KILLS))


@pytest.mark.slow
async def test_killed_workers_that_could_not_reach_redis_leave_their_closes_in_journals(
    build: Build, valkey: Serve
) -> None:
    server = valkey()
    one = await build(redis_url=server.url, ledger=SHORT_LEASES)
    key = one.key(100 * LIMIT_NANO)
    crowd = Crowd(one, key, STREAMS, HASTY, chance=random.Random(AWAY_ROUNDS))
    crowd.begin()
    killed = 0
    for number in range(AWAY_ROUNDS):
        if number and number % ROUNDS_PER_LIFE == 0:
            await start_anew(one, crowd)
        workers = await one.workers(2)
        await until(lambda: len(crowd.ports()) >= STREAMS // 2)
        crowd.check()
        server.kill()
        await asyncio.sleep(AWAY_S)
        kill(*workers)
        killed += len(workers)
        one.forget_connection()
        server.start()
    await crowd.rest()
    await one.settled(LEASE_ENDS_S)
    found = account_for(one, key, crowd.book, ended_elsewhere=True)
    assert found.closed_by["journal"] >= AWAY_ROUNDS
    assert found.statuses["orphaned"] >= killed
    assert await one.stop() == 0
    print(f"{killed} kills of workers {AWAY_S} s after Redis was killed, {AWAY_ROUNDS} times; {found}")


async def start_anew(one: Site, crowd: Crowd) -> None:
    """Stop `serve` in order, and start it again, once nothing streams."""
    await crowd.rest()
    assert await one.stop() == 0
    await one.start()
    crowd.begin()


async def hunt(build: Build, kills: int, ledger: str, *, lives: int) -> str:
    """Kill whoever carries most, again and again, while a crowd streams; returns the figures."""
    chance = random.Random(kills)
    one = await build(workers=2, ledger=ledger)
    key = one.key(100 * LIMIT_NANO)
    crowd = Crowd(one, key, STREAMS, HASTY, chance=chance)
    began, hit = monotonic(), 0
    crowd.begin()
    for number in range(kills):
        if number and number % lives == 0:
            await start_anew(one, crowd)
        await one.workers(2)
        moment_s = monotonic() + chance.uniform(0.0, 0.4)
        await until(lambda: monotonic() >= moment_s and one.busiest(crowd.ports())[0] >= STREAMS_HIT)  # noqa: B023
        crowd.check()
        streams, victim = one.busiest(crowd.ports())
        kill(victim)
        await until(lambda: victim not in one.children("worker"))  # noqa: B023
        hit += streams
    await crowd.rest()
    killing_s = monotonic() - began
    await one.settled(LEASE_ENDS_S)
    found = account_for(one, key, crowd.book, ended_elsewhere=True)
    assert hit >= kills * STREAMS_HIT * 0.9
    assert found.statuses["orphaned"] >= kills
    assert found.statuses["succeeded"] >= kills
    assert await one.stop() == 0
    return f"{kills} kills, {hit} streams carried by the killed, {killing_s:.0f} s; {found}"
