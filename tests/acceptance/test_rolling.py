"""Workers end and others take their place, while clients are being served."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from .client import Answer, Client
from .conftest import Install
from .installation import Installation, until
from .load import LIMIT_NANO, document

KEPT, FRESH = 12, 4
DRAIN_S, PATIENT_DRAIN_S = 2.0, 5.0


async def rolled(one: Installation, restarts: int) -> tuple[int, int]:
    """Restart all workers so often under constant load; how many were answered, and streams among them.

    A connection refused or reset, a refusal, and an answer that is not whole fail the test where they occur.
    """
    key = one.key(100 * LIMIT_NANO)
    going, quick, streamed = True, 0, 0

    async def ask(client: Client, *, stream: bool) -> None:
        nonlocal quick, streamed
        answer = await client.ask(document(20 if stream else 3, 20 if stream else 2, stream=stream))
        assert answer.status == 200, answer.body
        assert answer.done if stream else answer.whole
        quick, streamed = quick + (not stream), streamed + stream

    async def constantly(*, kept: bool, stream: bool) -> None:
        client = Client(one.port, key.secret)
        while going:
            await ask(client, stream=stream)
            if not kept:
                client.close()
        client.close()

    asking = [asyncio.create_task(constantly(kept=True, stream=False)) for _ in range(KEPT)]
    asking += [asyncio.create_task(constantly(kept=False, stream=False)) for _ in range(FRESH)]
    asking += [asyncio.create_task(constantly(kept=True, stream=True)) for _ in range(FRESH)]
    for number in range(restarts):
        former = one.children("worker")
        one.process.send_signal(signal.SIGHUP)
        await until(lambda done=number + 1: one.log().count('"event": "reloaded"') == done)
        assert not set(former) & set(one.children("worker"))
    going = False
    await asyncio.gather(*asking)
    await one.settled()
    assert {event.status for event in one.events()} == {"succeeded"}
    assert len(one.events()) == quick + streamed
    assert one.faults() == []
    return quick, streamed


async def test_a_rolling_restart_refuses_and_resets_nothing(install: Install) -> None:
    one = await install(workers=1)
    await rolled(one, 1)
    assert await one.stop() == 0


@pytest.mark.slow
async def test_20_rolling_restarts_refuse_and_reset_nothing(install: Install) -> None:
    one = await install(workers=2)
    quick, streamed = await rolled(one, 20)
    assert await one.stop() == 0
    print(f"20 rolling restarts: {quick} answers and {streamed} streams, all whole")


async def stopped(one: Installation, streams: int) -> float:
    """SIGTERM while so many streams and two whole answers run, half of them longer than the drain.

    What ends in time is whole; the rest is cut with an error; each has one event. Seconds until the exit.
    """
    key = one.key(LIMIT_NANO)
    clients = [Client(one.port, key.secret) for _ in range(streams + 2)]
    asked = [document(20 if n % 2 else 2_000, 20, stream=n < streams) for n in range(len(clients))]
    before = len(one.events())
    running = [asyncio.create_task(each.ask(what)) for each, what in zip(clients, asked, strict=True)]
    await until(lambda: all(each.received for each in clients[:streams]))
    began = time.monotonic()
    assert await one.stop() == 0
    ended_s = time.monotonic() - began
    answers = await asyncio.gather(*running)
    assert ended_s <= 30
    whole, cut = answers[1::2], answers[0::2]
    assert all(answer.status == 200 and answer.whole for answer in whole)
    assert all(answer.done for answer in whole[:-1])
    assert [(answer.status, answer.whole, answer.body[-300:]) for answer in cut if not told(answer)] == []
    events = {event.id: event.status for event in one.events()}
    assert len(events) - before == len(answers), "one event each"
    assert [events[answer.request_id] for answer in whole] == ["succeeded"] * len(whole)
    assert [events[answer.request_id] for answer in cut] == ["drained"] * len(cut)
    return ended_s


def told(answer: Answer) -> bool:
    """Whether a cut answer says that the gateway ends."""
    if answer.status == 503:
        return answer.code == "draining" and answer.headers["x-should-retry"] == "true"
    return answer.status == 200 and answer.whole and not answer.done and b'"code":"draining"' in answer.body


async def test_a_stop_lets_streams_end_within_the_drain_and_tells_those_it_cuts(install: Install) -> None:
    one = await install(workers=1, drain_s=PATIENT_DRAIN_S)
    print(f"stopped {await stopped(one, 20):.1f} s after SIGTERM, with a drain of {PATIENT_DRAIN_S} s")


@pytest.mark.slow
async def test_50_stops_with_100_streams(install: Install) -> None:
    one = await install(drain_s=DRAIN_S)
    waits = [await stopped(one, 100)]
    for _ in range(49):
        await one.start()
        waits.append(await stopped(one, 100))
    assert one.faults() == []
    print(f"50 stops, {DRAIN_S:g} s of drain: ended after {min(waits):.1f} to {max(waits):.1f} s")
