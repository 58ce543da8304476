"""Clients that leave at any byte: one event each, nothing left open, and an estimate close to the bill.

The bound on the estimate is meant for a machine that has nothing else to do: what the provider says while it
waits for its turn to hear of the hang-up is on its bill, and nobody here can know it.

pytest tests/acceptance/test_aborts.py -m slow -s
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.installation import Installation, Key, until
from tests.acceptance.load import LIMIT_NANO, PROMPT

from .conftest import Install

CLIENTS, FEW_CLIENTS = 2_000, 80
AT_ONCE = 20
TOKENS = (50, 400)
PACE_MS = (15.0, 40.0)
BYTES_A_TOKEN = 330
"""About what one token takes in a stream, so that cuts fall anywhere in it and some behind its end."""
ERROR_MAX = 0.05
"""Of the 95th percentile in the large trial, of the median in the small one, which has company."""
PATIENCE_S = 60.0
SURFACES = ("chat", "completion")


@dataclass(frozen=True, slots=True)
class Leaver:
    """A client, and the byte of its answer after which it leaves. `reset`: with a reset, not in order."""

    tag: str
    surface: str
    stream: bool
    tokens: int
    pace_ms: float
    after_bytes: int
    reset: bool
    bill_full: bool

    def body(self) -> dict[str, Any]:
        """What it asks for."""
        simulate = f"tokens={self.tokens} pace_ms={self.pace_ms:.1f} bill_full={int(self.bill_full)}"
        more = {"stream": self.stream, "metadata": {"simulate": simulate}}
        if self.surface == "completion":
            prompt = f"{PROMPT} ({self.tag})"
            return {"model": "gpt-3.5-turbo-instruct", "prompt": prompt, "max_tokens": 500, **more}
        messages = [{"role": "user", "content": f"{PROMPT} ({self.tag})"}]
        return {"model": "gpt-4o-mini", "messages": messages, "max_completion_tokens": 500, **more}


@dataclass
class Seen:
    """What the clients got to see."""

    begun: int = 0
    whole: int = 0


def leavers(count: int, chance: random.Random, *, bill_full: bool) -> list[Leaver]:
    """So many clients, half of them streaming, that leave at random bytes."""
    made = []
    for number in range(count):
        stream = number % 2 == 0
        tokens = chance.randint(*TOKENS)
        longest = tokens * BYTES_A_TOKEN if stream else 2_000
        made.append(
            Leaver(
                tag=f"left-{number}",
                surface=chance.choice(SURFACES),
                stream=stream,
                tokens=tokens,
                pace_ms=chance.uniform(*PACE_MS) if stream else chance.uniform(0, 5),
                after_bytes=chance.randint(0, longest),
                reset=chance.random() < 0.5,
                bill_full=bill_full,
            )
        )
    return made


async def leave(leaver: Leaver, port: int, secret: str, seen: Seen) -> None:
    """Ask, read so many bytes of the answer, and be gone."""
    body = json.dumps(leaver.body()).encode()
    path = "/v1/completions" if leaver.surface == "completion" else "/v1/chat/completions"
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {secret}",
        f"Observe-Task-Id: {leaver.tag}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    async with asyncio.timeout(PATIENCE_S):
        reading, writing = await asyncio.open_connection("127.0.0.1", port)
        try:
            writing.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            await writing.drain()
            if not leaver.after_bytes:
                return
            got = b""
            while len(got) < leaver.after_bytes:
                part = await reading.read(leaver.after_bytes - len(got))
                if not part or b"data: [DONE]" in got[-200:] + part or b"0\r\n\r\n" in part:
                    seen.whole += 1
                    break
                got += part
                if not leaver.stream and got.endswith(b"}"):
                    seen.whole += 1
                    break
            if got:
                seen.begun += 1
                assert b"HTTP/1.1 200 OK".startswith(got[:15]), got[:200]
        finally:
            if leaver.reset:
                writing.transport.abort()
            else:
                writing.close()
                with contextlib.suppress(OSError):
                    await writing.wait_closed()


async def trial(install: Install, count: int, *, drains: bool) -> tuple[float, float, str]:
    """All clients come and go; median and 95th percentile of the estimates' errors, and the figures.

    `drains`: the provider bills what it would have said, so that what nobody waits for is read to its end.
    """
    switch = {"TOLLKEEPER_PROVIDERS__SIMULATED__CANCEL_STOPS_BILLING": str(not drains).lower()}
    one: Installation = await install(environment=switch)
    key: Key = one.key(1_000 * LIMIT_NANO)
    seen = Seen()
    everyone = leavers(count, random.Random(4), bill_full=drains)
    waiting = iter(everyone)

    async def take() -> None:
        for leaver in waiting:
            await leave(leaver, one.port, key.secret, seen)

    await asyncio.gather(*(take() for _ in range(AT_ONCE)))
    await one.settled()
    await until(lambda: one.simulator.open()["requests"] == 0)
    assert one.simulator.open()["streams"] == 0

    events = {event.id: event for event in one.events() if event.key_id == key.id}
    tags = Counter(event.task_id for event in events.values())
    assert set(tags) == {leaver.tag for leaver in everyone}
    assert max(tags.values()) == 1, "one event each"
    bill = one.simulator.bill()
    billed = {entry["id"]: entry["nano"] for entry in bill["requests"]}
    assert not billed.keys() - events.keys(), "whatever the provider saw has its event"
    for request_id, nano in billed.items():
        event = events[request_id]
        assert nano <= (event.cost_nano or 0) + event.doubted_nano, (event, nano)
        if event.status == "succeeded" or drains:
            assert (event.cost_nano, event.doubted_nano) == (nano, 0), (event, nano)
    row = one.counters(key)
    spent = sum(event.cost_nano or 0 for event in events.values())
    assert (row.reserved, row.spent) == (0, spent)
    assert not one.faults(), one.faults()[0]
    errors = sorted(
        abs((events[name].cost_nano or 0) - nano) / nano
        for name, nano in billed.items()
        if nano and (drains or events[name].status == "cancelled")
    )
    assert errors, "nobody left in the middle"
    p50, p95 = errors[len(errors) // 2], errors[int(len(errors) * 0.95)]
    statuses = Counter(event.status for event in events.values())
    assert await one.stop() == 0
    await until(lambda: one.simulator.open()["connections"] == 0)
    return (
        p50,
        p95,
        (
            f"{count} clients, {seen.begun} saw bytes, {seen.whole} all of them; events {len(events)}: "
            f"{dict(statuses)}; estimates {len(errors)}: p50 {p50:.2%}, p95 {p95:.2%}, "
            f"max {errors[-1]:.2%}; spent {spent} of {bill['total_nano']} nano-USD billed"
        ),
    )


@pytest.mark.parametrize("drains", [False, True])
async def test_a_few_clients_leave(install: Install, drains: bool) -> None:
    p50, _, figures = await trial(install, FEW_CLIENTS, drains=drains)
    print(figures)
    assert p50 <= ERROR_MAX, figures


@pytest.mark.slow
@pytest.mark.parametrize("drains", [False, True])
async def test_two_thousand_clients_leave(install: Install, drains: bool) -> None:
    _, p95, figures = await trial(install, CLIENTS, drains=drains)
    print(figures)
    assert p95 <= ERROR_MAX, figures
