"""Two thousand streams at once want twice what one key may spend: all of it is used, and nothing beyond.

pytest tests/torture/test_demand.py -m slow -s
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from time import monotonic

import pytest

from simulator.process import Simulator
from tests.acceptance.client import Answer
from tests.acceptance.installation import Installation, Key, until
from tests.acceptance.test_budget import LENGTHS, RETRY_S, document, true_cost_nano

from .client import Asked, BookedClient
from .conftest import Build
from .truth import account_for

STREAMS, PACE_MS, WORKERS = 2_000, 6.0, 2
FEW_STREAMS, FEW_PACE_MS = 200, 1.0
SPENT_LEAST = 0.99
FEW_SPENT_LEAST = 0.97
"""A stream's ceiling is a larger part of a smaller budget."""
LEFT = re.compile(r"has \$([0-9.]+) left of \$[0-9.]+")


@dataclass
class Demand:
    """What was asked and told. `refusals`: (length, nano-USD that the refusal said were left)."""

    book: list[Asked] = field(default_factory=list)
    granted: dict[str, int] = field(default_factory=dict)
    refused: list[tuple[int, int | None]] = field(default_factory=list)
    waited: Counter[str | None] = field(default_factory=Counter)
    held_most: int = 0
    samples: int = 0


async def test_200_streams_use_the_budget_up_and_no_more(build: Build, simulator: Simulator) -> None:
    print(await use_up(build, simulator, FEW_STREAMS, FEW_PACE_MS, True, FEW_SPENT_LEAST))


@pytest.mark.slow
@pytest.mark.parametrize("bounded", [True, False], ids=["client_bounds_its_output", "gateway_bounds_it"])
async def test_2000_streams_use_the_budget_up_and_no_more(
    build: Build, simulator: Simulator, bounded: bool
) -> None:
    print(await use_up(build, simulator, STREAMS, PACE_MS, bounded, SPENT_LEAST))


async def use_up(
    build: Build, simulator: Simulator, streams: int, pace_ms: float, bounded: bool, least: float
) -> str:
    """Everybody wants at once, until answered or refused for good. Returns the figures."""
    limit_nano = await true_cost_nano(simulator, streams) // 2
    one = await build(workers=WORKERS)
    key = one.key(limit_nano)
    began = monotonic()
    demand = await everybody(one, key, streams, pace_ms, bounded=bounded)
    took_s = monotonic() - began
    await one.settled()
    row = one.counters(key)
    used = row.spent + row.doubted
    found = account_for(one, key, demand.book)
    assert found.bill_nano <= used <= limit_nano
    assert demand.held_most <= limit_nano
    assert used >= least * limit_nano
    assert demand.refused, "there was demand to the end"
    assert len(demand.granted) + len(demand.refused) == streams
    assert sum(demand.waited.values()) > 0, "holds were in each other's way"
    assert demand.samples >= 5

    # What a stream of each length may cost: the least that was ever held for one, and was enough. Those that
    # name no maximum are alike, whatever they will come to.
    least_held: dict[int, int] = {}
    for event in one.events():
        if (tokens := demand.granted.get(event.id)) is not None and event.held_nano is not None:
            kind = tokens if bounded else 0
            least_held[kind] = min(least_held.get(kind, event.held_nano), event.held_nano)
    ceilings = {tokens: least_held[tokens if bounded else 0] for tokens in LENGTHS}
    wrong = [
        (tokens, left)
        for tokens, left in demand.refused
        if left is None or left >= ceilings[tokens] or limit_nano - used >= ceilings[tokens]
    ]
    assert not wrong, f"refused although it fits: {wrong[:5]}, ceilings {ceilings}, left {limit_nano - used}"
    assert found.statuses == {"succeeded": len(demand.granted)}
    assert await one.stop() == 0
    waited = ", ".join(f"{count} x {code}" for code, count in demand.waited.items())
    return (
        f"{streams} streams in {took_s:.1f} s, bounded={bounded}: {len(demand.granted)} granted, "
        f"{len(demand.refused)} refused for good ({waited} before), 0 of them with enough left; of "
        f"{limit_nano} nano-USD {used / limit_nano:.4f} used, held at most "
        f"{demand.held_most / limit_nano:.4f}; {found}"
    )


async def everybody(one: Installation, key: Key, streams: int, pace_ms: float, *, bounded: bool) -> Demand:
    """All at once, each until it is answered or refused for good."""
    demand = Demand()
    chance = random.Random(streams)
    together = asyncio.Barrier(streams)

    async def want(tokens: int) -> None:
        client = BookedClient(one.port, key.secret, demand.book)
        asked = document(tokens, pace_ms, bounded=bounded)
        await together.wait()
        while True:
            answer = await client.ask(asked)
            if answer.status == 200:
                assert answer.done
                demand.granted[answer.request_id] = tokens
                break
            if answer.status == 402:
                demand.refused.append((tokens, left(answer)))
                break
            assert answer.code == "budget_reserved", answer.body
            demand.waited[answer.code] += 1
            await asyncio.sleep(min(float(answer.headers["retry-after"]), RETRY_S) * chance.uniform(0.6, 1.4))
        client.close()

    async def watch() -> None:
        while True:
            row = one.counters(key)
            demand.samples += 1
            demand.held_most = max(demand.held_most, row.spent + row.reserved + row.doubted)
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(streams):
                group.create_task(want(LENGTHS[number % len(LENGTHS)]))
    finally:
        watching.cancel()
    await until(watching.done)
    return demand


def left(answer: Answer) -> int | None:
    """Nano-USD that a refusal says were free."""
    told = LEFT.search(answer.body.decode())
    return int(Decimal(told[1]) * 10**9) if told else None
