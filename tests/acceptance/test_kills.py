"""kill -9 of each process while streams run and requests end: every request still has its one event."""

from __future__ import annotations

import asyncio
import os
import random
from time import monotonic

import pytest

from .audit import audit
from .conftest import Install
from .installation import one_server_at_most, servers_on, until
from .load import HASTY, LIMIT_NANO, STREAMS, Load, busiest, kill

QUICK_LEASES = "{lease_ms: 3000, heartbeat_ms: 500, reap_every_ms: 200}"
LONG_LEASES = "{reap_every_ms: 200}"


@pytest.mark.parametrize(
    "also_valkey",
    [pytest.param(False, marks=pytest.mark.slow, id="serve"), pytest.param(True, id="serve_and_valkey")],
)
async def test_no_event_is_lost_or_doubled_when_serve_is_killed(install: Install, also_valkey: bool) -> None:
    one = await install(ledger=QUICK_LEASES)
    key = one.key(LIMIT_NANO)
    load = Load(one, key)
    await load.begin()
    crew = [*one.children("worker"), *one.children("recorder")]
    assert len(crew) == 3
    async with one_server_at_most(one.data_dir):
        await load.until_just_finished()
        open_then, ended_then = load.open_streams(), len(load.answers)
        load.hurrying = False
        kill(*([one.valkey_pid] if also_valkey else []), one.process.pid)
        one.forget_connection()
        await one.process.wait()
        await one.start()  # at once, whatever the dead have left
        took = monotonic()
        streamed = await load.rest_ends()
        assert not set(crew) & set(one.children("worker") + one.children("recorder"))
        await load.hurry(10)
        await one.settled()
        took = monotonic() - took
    assert not [answer for answer in streamed if answer.whole], "no stream outlives its gateway"
    figures = audit(one, key, load.answers)
    assert open_then >= STREAMS
    assert ended_then >= 3 * HASTY
    assert figures.statuses["orphaned"] >= STREAMS
    assert figures.statuses["succeeded"] >= ended_then + 10
    assert figures.doubted_nano > 0
    await until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in crew))
    assert await one.stop() == 0
    assert servers_on(one.data_dir) == []
    print(f"{open_then} streams open; {figures}; all reaped {took:.1f} s after the start")


async def test_no_event_is_lost_or_doubled_when_valkey_is_killed(install: Install) -> None:
    one = await install(ledger=LONG_LEASES)
    key = one.key(LIMIT_NANO)
    load = Load(one, key)
    await load.begin()
    async with one_server_at_most(one.data_dir):
        former = one.valkey_pid
        await load.until_just_finished()
        open_then, ended_then = load.open_streams(), len(load.answers)
        kill(former)
        one.forget_connection()
        await until(lambda: servers_on(one.data_dir) not in ([former], []))
        took = monotonic()
        await load.hurry(10)
        took = monotonic() - took
        streamed = await load.rest_ends()
        await one.settled()
    assert open_then >= STREAMS
    assert load.broken == 0
    assert len(streamed) == STREAMS
    assert all(answer.done for answer in streamed), "streams do not notice"
    figures = audit(one, key, load.answers)
    assert figures.statuses["succeeded"] >= ended_then + STREAMS + 10
    assert figures.statuses["orphaned"] == 0
    assert await one.stop() == 0
    print(f"{open_then} streams open; {figures}; {load.refused} x 503; answered again after {took:.1f} s")


async def test_no_event_is_lost_or_doubled_when_a_worker_is_killed(install: Install) -> None:
    one = await install(ledger=QUICK_LEASES)
    key = one.key(LIMIT_NANO)
    load = Load(one, key)
    await load.begin()
    victim = busiest(one)
    (other,) = set(one.children("worker")) - {victim}
    await load.until_just_finished()
    open_then = load.open_streams()
    kill(victim)
    streamed = await load.rest_ends()
    await until(lambda: len(one.children("worker")) == 2)
    await load.hurry(10)
    await one.settled()
    workers = one.children("worker")
    assert other in workers
    assert victim not in workers
    assert open_then >= STREAMS
    figures = audit(one, key, load.answers)
    done = sum(answer.done for answer in streamed)
    assert 5 <= done <= STREAMS - 5
    assert figures.statuses["orphaned"] >= STREAMS - done
    assert figures.doubted_nano > 0
    assert await one.stop() == 0
    print(f"{open_then} streams open, {done} of them whole; {load.broken} connections broken; {figures}")


@pytest.mark.slow
async def test_no_event_is_lost_or_doubled_when_the_recorder_is_killed(install: Install) -> None:
    one = await install(ledger=LONG_LEASES)
    key = one.key(LIMIT_NANO)
    load = Load(one, key)
    await load.begin()
    (victim,) = one.children("recorder")
    await load.until_just_finished()
    waiting, open_then = len(one.outbox()), load.open_streams()
    kill(victim)
    streamed = await load.rest_ends()
    await one.settled()
    assert one.children("recorder") != [victim]
    assert waiting >= 1
    assert open_then >= STREAMS
    assert load.broken == load.refused == 0
    assert sum(answer.done for answer in streamed) == STREAMS
    figures = audit(one, key, load.answers)
    assert figures.statuses.keys() == {"succeeded"}
    assert figures.doubted_nano == 0
    assert await one.stop() == 0
    print(f"{open_then} streams open, {waiting} events not stored; {figures}")


@pytest.mark.slow
async def test_no_event_is_lost_or_doubled_in_twelve_kills_of_anything(install: Install) -> None:
    chance = random.Random(2)
    one = await install(ledger=QUICK_LEASES)
    key = one.key(LIMIT_NANO)
    load = Load(one, key)
    victims = ["worker", "valkey", "recorder", "serve", "worker valkey", "recorder valkey", "serve valkey"]
    killed = [*victims, *chance.choices(victims, k=5)]
    chance.shuffle(killed)
    async with one_server_at_most(one.data_dir):
        for names in killed:
            await load.begin()
            await asyncio.sleep(chance.uniform(0, 1))  # any moment of a request's life
            assert load.open_streams() >= 5
            pids = {
                "worker": busiest(one),
                "valkey": one.valkey_pid,
                "recorder": one.children("recorder")[0],
                "serve": one.process.pid,
            }
            load.hurrying = "serve" not in names
            kill(*(pids[name] for name in names.split()))
            one.forget_connection()
            if "serve" in names:
                await one.process.wait()
                await one.start()
            await load.rest_ends()
            await load.hurry(5)
        await one.settled()
    figures = audit(one, key, load.answers)
    assert figures.statuses["orphaned"] >= STREAMS
    assert figures.statuses["succeeded"] >= len(killed) * STREAMS // 2
    assert await one.stop() == 0
    print(f"{len(killed)} kills ({', '.join(killed)}); {load.broken} broken, {load.refused} x 503; {figures}")
