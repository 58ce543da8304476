"""A process stands still and goes on later: what was done in its absence is not done again."""

from __future__ import annotations

import asyncio
import signal
from time import monotonic

import pytest

from .audit import audit
from .conftest import Install
from .installation import until
from .load import LIMIT_NANO, STREAMS, Load, busiest, kill

pytestmark = pytest.mark.slow


async def test_paused_worker_finds_its_requests_ended_and_ends_none_again(install: Install) -> None:
    one = await install(ledger="{lease_ms: 1200, heartbeat_ms: 300, reap_every_ms: 100}")
    key = one.key(LIMIT_NANO)
    load = Load(one, key)
    await load.begin()
    load.hurrying = False  # a client whose connection the paused worker holds would wait for it
    victim = busiest(one)
    kill(victim, number=signal.SIGSTOP)
    held = len(one.open_ids())
    try:
        # The other worker's requests end, and what is left is ended for the one that does not move.
        await until(lambda: not one.open_ids())
    finally:
        kill(victim, number=signal.SIGCONT)
    streamed = await load.rest_ends()
    await load.hurry(5)
    await one.settled()
    figures = audit(one, key, load.answers, ended_elsewhere=True)
    assert held >= STREAMS
    assert load.broken == 0
    assert len(streamed) == STREAMS
    assert 5 <= figures.statuses["orphaned"] <= STREAMS - 5
    assert victim in one.children("worker"), "it was paused, not replaced"
    print(f"{held} open; {figures}")


async def test_paused_valkey_refuses_new_work_in_time_and_settles_the_rest_later(install: Install) -> None:
    one = await install(ledger="{reap_every_ms: 200}")
    key = one.key(LIMIT_NANO)
    load = Load(one, key)
    await load.begin()
    before, victim = len(load.answers), one.valkey_pid
    kill(victim, number=signal.SIGSTOP)
    began = monotonic()
    try:
        await until(lambda: load.refused >= 8)
        refused_s = monotonic() - began
        await asyncio.sleep(max(0.0, 3.0 - refused_s))  # beyond every patience with one round trip
    finally:
        kill(victim, number=signal.SIGCONT)
    await load.hurry(5)
    streamed = await load.rest_ends()
    await one.settled()
    figures = audit(one, key, load.answers)
    assert one.valkey_pid == victim
    assert load.broken == 0
    assert sum(answer.done for answer in streamed) == STREAMS
    assert figures.statuses["succeeded"] >= before + STREAMS + 5
    assert figures.statuses["orphaned"] == 0
    print(f"first refusals after {refused_s:.1f} s, {load.refused} x 503; {figures}")
