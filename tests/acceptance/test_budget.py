"""Five hundred streams at once want twice what one key may spend: not a nano-dollar more is spent."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import pytest
from redis.exceptions import RedisError

from simulator.process import Simulator

from .audit import audit
from .client import Answer, Broken, Client
from .conftest import Install
from .installation import Installation, Key, connections, until
from .load import busiest, kill

WORDS = "Tell us about the river and the mill by the old stone bridge, please, and take your time. " * 44
"""About 930 tokens: just too short for the provider's prompt cache, so that every stream costs the same."""
LENGTHS = (60, 150, 300, 400, 590)
"""Tokens of the answers, by turns: their number is not known to the gateway unless the client bounds it."""
SPENT_LEAST = 0.97
RETRY_S = 0.8
AWAY_S = 50
"""Four kills cost a few seconds each; a lock left by a dead process would cost a minute."""


def document(tokens: int, pace_ms: float, *, bounded: bool) -> dict[str, Any]:
    """A stream of so many tokens. The wish travels as metadata, so that it is no part of the prompt."""
    asked: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": WORDS}],
        "stream": True,
        "metadata": {"simulate": f"tokens={tokens} pace_ms={pace_ms}"},
    }
    if bounded:
        asked["max_completion_tokens"] = tokens + tokens // 4
    return asked


@dataclass
class Tally:
    """What the clients were told."""

    streams: int
    answers: list[Answer] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)
    codes: Counter[str | None] = field(default_factory=Counter)
    held_most: int = 0
    samples: int = 0
    broken: int = 0
    sockets: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0


async def demand(
    one: Installation,
    key: Key,
    streams: int,
    pace_ms: float,
    *,
    bounded: bool,
    trouble: Callable[[Tally], Awaitable[None]] | None = None,
) -> Tally:
    """All streams at once, each until it was answered, or refused for good.

    `trouble` happens meanwhile: then streams may break, and those that never began are asked for again.
    """
    tally = Tally(streams)
    chance = random.Random(streams)
    port = one.port
    together = asyncio.Barrier(streams)

    async def want(number: int) -> None:
        client = Client(port, key.secret)
        asked = document(LENGTHS[number % len(LENGTHS)], pace_ms, bounded=bounded)
        await together.wait()
        try:
            while True:
                try:
                    answer = await client.ask(asked)
                except Broken:
                    assert trouble is not None
                    tally.broken += 1
                    await asyncio.sleep(0.1)
                    continue
                if answer.status == 200:
                    tally.answers.append(answer)
                    return
                tally.refused[answer.status] += 1
                tally.codes[answer.code] += 1
                if answer.status == 402:
                    return
                assert answer.status == 429 or (trouble is not None and answer.status == 503), answer.body
                assert answer.headers["x-should-retry"] == "true"
                wait_s = min(float(answer.headers["retry-after"]), RETRY_S)
                await asyncio.sleep(wait_s * chance.uniform(0.6, 1.4))
        finally:
            client.close()

    async def watch() -> None:
        workers = one.children("worker")
        while True:
            with contextlib.suppress(RedisError):
                row = one.counters(key)
                tally.samples += 1
                tally.held_most = max(tally.held_most, row.spent + row.reserved + row.doubted)
            for pid in workers:
                with contextlib.suppress(FileNotFoundError):
                    tally.sockets[pid] = max(tally.sockets.get(pid, 0), connections(pid))
            await asyncio.sleep(0.05)

    began = monotonic()
    watching = asyncio.create_task(watch())
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(streams):
                group.create_task(want(number))
            if trouble is not None:
                await trouble(tally)
    finally:
        watching.cancel()
    tally.seconds = monotonic() - began
    return tally


async def true_cost_nano(simulator: Simulator, streams: int) -> int:
    """What the provider charges for all of the streams, asked without a gateway between."""
    client = Client(simulator.port, "sk-direct")
    for tokens in LENGTHS:
        answer = await client.ask(document(tokens, 0, bounded=False))
        assert answer.done
    client.close()
    total = simulator.total_nano()
    simulator.reset()
    assert streams % len(LENGTHS) == 0
    return total * streams // len(LENGTHS)


async def overrun(install: Install, simulator: Simulator, streams: int, pace_ms: float, bounded: bool) -> str:
    """The whole story; returns its figures."""
    limit_nano = await true_cost_nano(simulator, streams) // 2
    one = await install()
    key = one.key(limit_nano)
    tally = await demand(one, key, streams, pace_ms, bounded=bounded)
    await one.settled()
    row, events, bill = one.counters(key), one.events(), simulator.bill()

    # There was more demand than budget to the very end, from all sides, and holds were in each other's way.
    assert tally.refused[402] > 0
    assert len(tally.answers) + tally.refused[402] == streams
    assert set(tally.codes) <= {"budget_reserved", "budget_exceeded"}
    assert tally.refused[429] >= streams // 10
    assert len(tally.answers) >= streams // 4
    assert all(answer.done for answer in tally.answers)
    assert len(tally.sockets) == 2
    assert min(tally.sockets.values()) > streams // 10
    assert tally.samples >= 10
    assert tally.held_most > limit_nano * 0.9

    # The bound held at every moment, and was used.
    assert bill["total_nano"] <= limit_nano
    assert tally.held_most <= limit_nano
    assert row.spent <= limit_nano
    assert (row.reserved, row.doubted) == (0, 0)
    assert row.spent >= SPENT_LEAST * limit_nano

    # Each paid request has its one event, at the provider's figure; there is no event of anything else.
    billed = {entry["id"]: entry["nano"] for entry in bill["requests"]}
    assert Counter(event.id for event in events) == Counter(billed.keys())
    assert {event.id: event.cost_nano for event in events} == billed
    assert {answer.request_id for answer in tally.answers} == set(billed)
    assert sum(event.cost_nano or 0 for event in events) == row.spent == one.rolled_up_nano()
    assert one.dead_letters() == 0
    assert not one.faults(), one.faults()[0]
    written = [event.max_output_written for event in events if event.max_output_written is not None]
    assert bool(written) is not bounded
    assert await one.stop() == 0
    return (
        f"{streams} streams, bounded={bounded}: {len(tally.answers)} granted ({len(written)} with a written "
        f"maximum), {tally.refused[429]} x 429, {tally.refused[402]} x 402; of {limit_nano} nano-USD spent "
        f"{row.spent / limit_nano:.4f}, held at most {tally.held_most / limit_nano:.4f}; "
        f"bill - spent = {bill['total_nano'] - row.spent}; {tally.seconds:.1f} s"
    )


@pytest.mark.parametrize("bounded", [True, False], ids=["client_bounds_its_output", "gateway_bounds_it"])
async def test_500_streams_spend_no_more_than_the_limit_and_nearly_all_of_it(
    install: Install, simulator: Simulator, bounded: bool
) -> None:
    print(await overrun(install, simulator, 500, 1, bounded))


@pytest.mark.slow
@pytest.mark.parametrize("bounded", [True, False], ids=["client_bounds_its_output", "gateway_bounds_it"])
async def test_1500_slow_streams_spend_no_more_than_the_limit_and_nearly_all_of_it(
    install: Install, simulator: Simulator, bounded: bool
) -> None:
    print(await overrun(install, simulator, 1_500, 10, bounded))


@pytest.mark.slow
async def test_limit_holds_while_workers_valkey_and_recorder_are_killed(
    install: Install, simulator: Simulator
) -> None:
    streams = 500
    limit_nano = await true_cost_nano(simulator, streams) // 2
    one = await install(ledger="{lease_ms: 2000, heartbeat_ms: 400, reap_every_ms: 200}")
    key = one.key(limit_nano)
    killed: list[str] = []

    async def trouble(tally: Tally) -> None:
        for share, name in ((0.1, "worker"), (0.2, "valkey"), (0.3, "recorder"), (0.4, "worker valkey")):
            # Each when so much of the limit is gone, with streams running.
            await until(partial(spent_reaches, one, key, share * limit_nano))
            pids = {"worker": busiest(one), "valkey": one.valkey_pid, "recorder": one.children("recorder")[0]}
            await until(lambda: simulator.open()["streams"] >= 5)
            kill(*(pids[each] for each in name.split()))
            one.forget_connection()
            killed.append(name)
            await until(lambda: len(one.children("worker")) == 2)

    tally = await demand(one, key, streams, 4, bounded=True, trouble=trouble)
    await one.settled()
    figures, row = audit(one, key, tally.answers), one.counters(key)
    assert len(killed) == 4
    assert tally.seconds < AWAY_S, "the ledger was away for long"
    assert tally.refused[402] > 0
    assert len(tally.answers) + tally.refused[402] == streams
    assert figures.statuses["orphaned"] >= 10
    assert tally.held_most <= limit_nano
    assert row.spent + row.doubted <= limit_nano
    assert figures.bill_nano <= limit_nano
    assert row.spent + row.doubted >= SPENT_LEAST * limit_nano
    print(
        f"{streams} streams, 4 kills: {tally.broken} connections broken, {tally.refused[503]} x 503; "
        f"spent + doubted {(row.spent + row.doubted) / limit_nano:.4f} of {limit_nano}; {figures}"
    )


def spent_reaches(one: Installation, key: Key, nano: float) -> bool:
    """Is so much spent or doubted? Not known while the ledger is away."""
    try:
        row = one.counters(key)
    except RedisError:
        return False
    return row.spent + row.doubted >= nano
