"""Gateway workers stand still for longer than their leases, and wake: what was ended for them stays ended.

pytest tests/torture/test_pauses.py -m slow -s
"""

from __future__ import annotations

import asyncio
import random
import signal
from time import monotonic

import pytest

from tests.acceptance.client import Answer
from tests.acceptance.installation import until
from tests.acceptance.load import LIMIT_NANO, document, kill

from .client import Asked, BookedClient
from .conftest import Build
from .site import Site
from .truth import account_for

PAUSES, FEW_PAUSES = 100, 4
WORKERS, STREAMS = 2, 14
LEASES = "{lease_ms: 600, heartbeat_ms: 200, reap_every_ms: 100}"
WAKING_S = 1.0
"""Within so long after its waking, a worker has cancelled what it carried."""
TOKENS, PACE_MS = 3_000, 20.0
"""A minute's stream: whatever ends early was ended by somebody."""


async def test_few_paused_workers_find_their_requests_ended_and_end_none_again(build: Build) -> None:
    print(await lull(build, FEW_PAUSES))


@pytest.mark.slow
async def test_100_paused_workers_find_their_requests_ended_and_end_none_again(build: Build) -> None:
    print(await lull(build, PAUSES))


async def lull(build: Build, pauses: int) -> str:
    """Stop all workers, let their leases end, let them go on; as often as it takes. Returns the figures."""
    chance = random.Random(pauses)
    one = await build(workers=WORKERS, ledger=LEASES)
    key = one.key(100 * LIMIT_NANO)
    book: list[Asked] = []
    cancelled_s: list[float] = []
    held = 0
    pids = await one.workers(WORKERS)
    for _ in range(pauses // WORKERS):
        clients = [BookedClient(one.port, key.secret, book) for _ in range(STREAMS)]
        asking = [asyncio.create_task(each.ask(document(TOKENS, PACE_MS, stream=True))) for each in clients]
        await until(lambda: one.simulator.open()["streams"] == STREAMS)
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        held += len(one.open_ids())
        kill(*pids, number=signal.SIGSTOP)
        try:
            await until(lambda: not one.open_ids())  # ended for those who do not move
            assert one.simulator.open()["streams"] == STREAMS, "the provider knows nothing of it"
        finally:
            kill(*pids, number=signal.SIGCONT)
        cancelled_s.append(await until_cancelled(one))
        check(await asyncio.gather(*asking))
        for each in clients:
            each.close()
    await one.settled()
    found = account_for(one, key, book, ended_elsewhere=True)
    assert held == found.events == found.statuses["orphaned"] == len(book) == STREAMS * (pauses // WORKERS)
    assert found.closed_by == {"reaper": held}
    assert await one.workers(WORKERS) == pids, "they were paused, not replaced"
    worst_s, mean_s = max(cancelled_s), sum(cancelled_s) / len(cancelled_s)
    assert worst_s <= WAKING_S
    assert await one.stop() == 0
    return (
        f"{pauses} paused workers, {held} requests ended for them, 0 ended again; all upstream cancelled "
        f"{worst_s:.2f} s after waking at worst, {mean_s:.2f} s in the mean; {found}"
    )


async def until_cancelled(one: Site) -> float:
    """Seconds until the provider has seen every one of its streams cancelled."""
    began = monotonic()
    await until(lambda: one.simulator.open()["streams"] == 0)
    return monotonic() - began


def check(answers: list[Answer]) -> None:
    """Every client was told that its stream was cut, and why."""
    assert all(answer.status == 200 and answer.whole and not answer.done for answer in answers)
    assert all(b'"code":"lease_lost"' in answer.body for answer in answers)
