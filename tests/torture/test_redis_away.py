"""Redis dies again and again, stands still, forgets its scripts: under load, with nothing lost or unpaid.

pytest tests/torture/test_redis_away.py -m slow -s
"""

from __future__ import annotations

import asyncio
import random
from time import monotonic

import pytest

from tests.acceptance.installation import until
from tests.acceptance.load import LIMIT_NANO

from .client import Asked, Crowd
from .conftest import Build, Serve
from .proxy import FaultProxy
from .rate import Rate, first_success_s, share_s
from .truth import account_for

PER_S, STREAMS = 200, 6
KILLS, KILL_EVERY_S, AWAY_S = 30, 2.0, 0.2
FEW_KILLS = 3
AWAY_LONG_S = (0.2, 3.0, 10.0)
STOPPED_S = 5.0
REFUSED_S = 0.3
"""A refusal because of the ledger comes within so long."""
RECOVERED_S = 2.0
"""Requests succeed again within so long after the server answers again."""
QUICK_TIMEOUT = "{timeout_ms: 150}"
FLUSHES, FLUSH_EVERY_S = 30, 0.1
CUTS = 60


def refused_within(refused: list[Asked]) -> str:
    """How soon refusals came, in words."""
    median, most, worst = (share_s(refused, share) * 1_000 for share in (0.5, 0.99, 1.0))
    return f"refused within {median:.0f} ms in the median, {most:.0f} ms for 99 %, {worst:.0f} ms at worst"


async def test_few_deaths_of_redis_lose_and_double_nothing(build: Build, valkey: Serve) -> None:
    print(await deaths(build, valkey, FEW_KILLS))


@pytest.mark.slow
async def test_30_deaths_of_redis_in_a_minute_lose_and_double_nothing(build: Build, valkey: Serve) -> None:
    print(await deaths(build, valkey, KILLS))


async def deaths(build: Build, valkey: Serve, kills: int) -> str:
    """kill -9 every two seconds, started again a moment later. Returns the figures."""
    server = valkey()
    one = await build(redis_url=server.url)
    key = one.key(100 * LIMIT_NANO)
    rate = Rate(one, key, PER_S)
    crowd = Crowd(one, key, STREAMS, book=rate.book)
    rate.begin()
    crowd.begin()
    await until(lambda: len(rate.since(0)) >= PER_S // 4)
    recovered_s: list[float | None] = []
    for _ in range(kills):
        died_s = monotonic()
        server.kill()
        one.forget_connection()
        await asyncio.sleep(AWAY_S)
        server.start()
        up_s = monotonic()
        await asyncio.sleep(KILL_EVERY_S - (up_s - died_s))
        recovered_s.append(first_success_s(rate.book, up_s))
    await until(lambda: first_success_s(rate.book, up_s))
    recovered_s[-1] = first_success_s(rate.book, up_s)
    await asyncio.gather(rate.rest(), crowd.rest())
    await one.settled(90)
    found = account_for(one, key, rate.book, ended_elsewhere=True)
    refused = [asked for asked in rate.book if asked.status == 503]
    assert len(rate.book) >= 0.9 * PER_S * KILL_EVERY_S * kills
    assert len(refused) >= 0.5 * PER_S * AWAY_S * kills
    assert found.broken == 0
    in_time = [seconds for seconds in recovered_s if seconds is not None]
    assert max(in_time) <= RECOVERED_S  # where the next kill left time for it, and after the last
    assert share_s(refused, 0.99) <= REFUSED_S
    assert await one.stop() == 0
    return (
        f"{kills} kills of Redis at {PER_S} requests/s: {refused_within(refused)}; "
        f"success again {max(in_time):.2f} s after the restart at worst "
        f"(in {len(in_time)} of {kills}, before the next kill); {found}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("away_s", AWAY_LONG_S)
async def test_redis_is_of_use_2_seconds_after_its_return_however_long_it_was_away(
    build: Build, valkey: Serve, away_s: float
) -> None:
    server = valkey()
    one = await build(redis_url=server.url)
    key = one.key(100 * LIMIT_NANO)
    rate = Rate(one, key, PER_S)
    rate.begin()
    await until(lambda: len(rate.since(0)) >= PER_S // 4)
    server.kill()
    one.forget_connection()
    await asyncio.sleep(away_s)
    server.start()
    up_s = monotonic()
    await until(lambda: first_success_s(rate.book, up_s))
    recovered_s = first_success_s(rate.book, up_s)
    await rate.rest()
    await one.settled()
    found = account_for(one, key, rate.book, ended_elsewhere=True)
    print(
        f"Redis killed, and away for {away_s} s: success again {recovered_s:.2f} s after its return; {found}"
    )
    assert recovered_s is not None
    assert recovered_s <= RECOVERED_S
    assert await one.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ledger", "refused_s"),
    [pytest.param("{}", 1.3, id="default_timeout"), pytest.param(QUICK_TIMEOUT, REFUSED_S, id="150_ms")],
)
async def test_redis_that_stands_still_for_5_seconds_delays_no_refusal(
    build: Build, valkey: Serve, ledger: str, refused_s: float
) -> None:
    server = valkey()
    one = await build(redis_url=server.url, ledger=ledger)
    key = one.key(100 * LIMIT_NANO)
    rate = Rate(one, key, PER_S)
    crowd = Crowd(one, key, STREAMS, book=rate.book)
    rate.begin()
    crowd.begin()
    await until(lambda: len(rate.since(0)) >= PER_S)
    stopped_s = monotonic()
    server.pause()
    try:
        await asyncio.sleep(STOPPED_S)
    finally:
        server.go_on()
    went_on_s = monotonic()
    await until(lambda: first_success_s(rate.book, went_on_s))
    recovered_s = first_success_s(rate.book, went_on_s)
    await asyncio.gather(rate.rest(), crowd.rest())
    await one.settled(90)
    found = account_for(one, key, rate.book, ended_elsewhere=True)
    refused = [asked for asked in rate.since(stopped_s, went_on_s - refused_s) if asked.status == 503]
    assert len(refused) >= 0.8 * PER_S * (STOPPED_S - refused_s)
    assert recovered_s is not None
    assert recovered_s <= RECOVERED_S
    assert share_s(refused, 0.99) <= refused_s
    assert await one.stop() == 0
    print(
        f"Redis stopped for {STOPPED_S} s, ledger {ledger}: {refused_within(refused)}; "
        f"success again {recovered_s:.2f} s after it went on; {found}"
    )


async def test_forgotten_scripts_are_taught_again_and_nobody_notices(build: Build, valkey: Serve) -> None:
    server = valkey()
    one = await build(redis_url=server.url)
    key = one.key(100 * LIMIT_NANO)
    rate = Rate(one, key, PER_S)
    rate.begin()
    for _ in range(FLUSHES):
        server.client.script_flush()
        await asyncio.sleep(FLUSH_EVERY_S)
    await rate.rest()
    await one.settled()
    found = account_for(one, key, rate.book)
    assert found.broken == found.refused == 0
    assert found.statuses == {"succeeded": len(rate.book)}
    assert await one.stop() == 0
    print(f"{FLUSHES} x SCRIPT FLUSH at {PER_S} requests/s; {found}")


@pytest.mark.slow
async def test_ledger_links_that_break_anywhere_lose_and_double_nothing(build: Build, valkey: Serve) -> None:
    """Replies of opens and closes are lost after Redis has done them, calls are cut before it has."""
    chance = random.Random(CUTS)
    server = valkey()
    async with FaultProxy(server.address) as proxy:
        one = await build(
            redis_url=f"redis://{proxy.address}/0", direct=server.url, ledger="{reap_every_ms: 200}"
        )
        # In a thread: who publishes at the start holds the record's lock while Redis answers by this loop.
        key = await asyncio.to_thread(one.key, 100 * LIMIT_NANO)
        rate = Rate(one, key, PER_S)
        crowd = Crowd(one, key, STREAMS, book=rate.book)
        rate.begin()
        crowd.begin()
        await until(lambda: len(rate.since(0)) >= PER_S // 4)
        for _ in range(CUTS):
            way = {chance.choice(("cut_up", "cut_down")): chance.randint(1, 4_000)}
            proxy.fault(cut_by=chance.choice(("reset", "end")), **way)
            await asyncio.sleep(chance.uniform(0.1, 0.5))
            proxy.heal()
            await asyncio.sleep(chance.uniform(0.0, 0.3))
        await asyncio.gather(rate.rest(), crowd.rest())
        await one.settled(90)
        found = account_for(one, key, rate.book, ended_elsewhere=True)
        assert found.broken == 0
        assert found.answered >= len(rate.book) // 5
        assert await one.stop() == 0
    print(f"{CUTS} cuts of the ledger's links at {PER_S} requests/s; {found}")
