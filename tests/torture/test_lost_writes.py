"""Redis loses what it had acknowledged: it is emptied under load, or a replica that lags takes its place.

    pytest tests/torture/test_lost_writes.py -m slow -s

A budget that is nearly used up stands by: whatever is admitted on counters that forgot would go past it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic, time

import pytest
from redis.exceptions import RedisError

from gateway.healing.healing import Healing
from gateway.settings import DATABASE
from tests.acceptance.installation import Key, until
from tests.acceptance.load import document

from .client import Asked, BookedClient, Crowd
from .conftest import Build, Serve
from .proxy import FaultProxy
from .rate import Rate
from .site import Site
from .truth import lost_and_doubled
from .valkey import Valkey

PER_S, STREAMS = 200, 6
BUDGET_REQUESTS, FEW_BUDGET_REQUESTS = 3_000, 800
"""The budget, in quick requests."""
EMPTIED_AT, FEW_EMPTIED_AT = (0.3, 0.5, 0.7, 0.8, 0.9), (0.6,)
"""Redis is emptied when so much of the budget is used; and once more when all of it is."""
REFUSED_LAST = 40
"""The budget counts as used up when so many in a row were refused."""
RECOVERED_S = 20.0
"""A bound for machines that do other things; on a quiet one it is about a second, which is printed."""
LAG_S, FAILED_OVER_AT = 1.0, 0.75
HEARTBEAT_S, RECONCILE_S = 1.0, 60.0
AGREED_S = HEARTBEAT_S + RECONCILE_S + 30.0
NIGHT_S = 60.0
LEDGER = "{lease_ms: 3000, heartbeat_ms: 1000, reap_every_ms: 200}"


@dataclass(frozen=True, slots=True)
class Loss:
    """A moment at which Redis forgot: by the clock of intervals, and when requests were decided again."""

    at_s: float
    decided_s: float | None


async def test_redis_emptied_under_load_admits_nothing_on_zeroed_counters(
    build: Build, valkey: Serve
) -> None:
    print(await emptied(build, valkey, FEW_BUDGET_REQUESTS, FEW_EMPTIED_AT))


@pytest.mark.slow
async def test_redis_emptied_six_times_under_load_admits_nothing_on_zeroed_counters(
    build: Build, valkey: Serve
) -> None:
    print(await emptied(build, valkey, BUDGET_REQUESTS, EMPTIED_AT))


async def emptied(build: Build, valkey: Serve, requests: int, shares: Sequence[float]) -> str:
    """FLUSHALL at each share of the budget, and when it is used up. Returns the figures."""
    server = valkey()
    one = await build(redis_url=server.url, ledger=LEDGER)
    limit_nano = requests * await cost_nano(one)
    key = one.key(limit_nano)
    rate, crowd = start(one, key)
    losses = []
    for share in shares:
        await until(partial(uses, one, key, share * limit_nano))
        losses.append(await empty(server, rate))
    # The last time, nothing waits to be recorded: whatever is admitted then is admitted on counters at zero.
    await until(lambda: used_up(rate.book) and not one.outbox() and not one.open_ids())
    losses.append(await empty(server, rate))
    await until(lambda: used_up(rate.since(losses[-1].at_s)))
    admitted = [asked for asked in rate.since(losses[-1].at_s) if asked.status == 200]
    assert not admitted, f"{len(admitted)} were admitted on counters that had forgotten"
    await asyncio.gather(rate.rest(), crowd.rest())
    agreed_s, excess = await until_agreed(one, key)
    figures = judge(one, key, rate.book, limit_nano, losses)
    assert await one.stop() == 0
    return (
        f"FLUSHALL x {len(losses)} at {PER_S} requests/s on a budget nearly used up; "
        f"ledger >= events {agreed_s:.1f} s after the last request, {excess}; {figures}"
    )


@pytest.mark.slow
async def test_replica_that_lags_takes_over_and_the_ledger_agrees_with_the_events_again(
    build: Build, valkey: Serve
) -> None:
    primary, replica = valkey(), valkey()
    async with FaultProxy(primary.address) as link:
        replica.client.replicaof(*link.address.split(":"))
        await until(lambda: replica.client.info("replication")["master_link_status"] == "up")
        one = await build(
            redis_url=f"redis://{primary.address},{replica.address}/0", direct=primary.url, ledger=LEDGER
        )
        limit_nano = BUDGET_REQUESTS * await cost_nano(one)
        key = one.key(limit_nano)
        rate, crowd = start(one, key)
        await until(partial(uses, one, key, FAILED_OVER_AT * limit_nano))

        lag_ms = time() * 1_000
        link.fault(swallow="both")
        await asyncio.sleep(LAG_S)
        known = replica.client.info("replication")["slave_repl_offset"]
        lost_bytes = primary.client.info("replication")["master_repl_offset"] - known
        at_s = monotonic()
        primary.kill()
        replica.client.replicaof("NO", "ONE")
    promoted_s, promoted_ms = monotonic(), time() * 1_000
    one.forget_connection()
    one.direct = replica.url
    losses = [Loss(at_s, await decided_s(rate, promoted_s))]
    await until(lambda: used_up(rate.book))
    await asyncio.gather(rate.rest(), crowd.rest())
    agreed_s, excess = await until_agreed(one, key)
    figures = judge(one, key, rate.book, limit_nano, losses, lag_ms=(lag_ms, promoted_ms))
    assert lost_bytes > 0
    assert await one.stop() == 0
    print(
        f"replica {LAG_S} s behind promoted at {PER_S} requests/s: {lost_bytes} bytes of writes lost; "
        f"ledger >= sum of events {agreed_s:.1f} s after the last request, {excess}; {figures}"
    )


async def cost_nano(one: Site) -> int:
    """What one quick request costs, asked once."""
    key = one.key(10**9)
    client = BookedClient(one.port, key.secret, [])
    assert (await client.ask(document(3, 0, stream=False))).status == 200
    client.close()
    total = one.simulator.total_nano()
    await one.settled()
    one.simulator.reset()
    return total


def start(one: Site, key: Key) -> tuple[Rate, Crowd]:
    """The load: quick requests, and streams beside them, in one book."""
    rate = Rate(one, key, PER_S)
    crowd = Crowd(one, key, STREAMS, book=rate.book, allowed=(402, 429, 503))
    rate.begin()
    crowd.begin()
    return rate, crowd


def uses(one: Site, key: Key, nano: float) -> bool:
    """Is so much of the budget used, by the ledger?"""
    try:
        row = one.counters(key)
    except RedisError:
        return False
    return row.spent + row.doubted >= nano


def used_up(book: Sequence[Asked]) -> bool:
    """Were the last ones all refused for good?"""
    answered = [asked.status for asked in book if asked.answer is not None]
    return len(answered) >= REFUSED_LAST and set(answered[-REFUSED_LAST:]) == {402}


async def empty(server: Valkey, rate: Rate) -> Loss:
    """FLUSHALL, and until requests are decided again."""
    at_s = monotonic()
    server.client.flushall()
    return Loss(at_s, await decided_s(rate, at_s))


async def decided_s(rate: Rate, since_s: float) -> float:
    """Seconds until a request that was asked later is granted or refused for good."""

    def found() -> float:
        later = [asked for asked in rate.since(since_s) if asked.status in (200, 402)]
        return min((asked.asked_s + asked.took_s for asked in later), default=0.0)

    end_s: float = await until(found)
    return end_s - since_s


async def until_agreed(one: Site, key: Key) -> tuple[float, str]:
    """Seconds until nothing is open and the ledger lacks nothing that events tell; then what it has beyond.

    What it has too much is taken away at night only, so a comparison is made as at night, and they are equal.
    """
    began = monotonic()
    await one.settled()
    while any(has < told for has, told in zip(row_of(one, key), sums_of(one, key), strict=True)):
        assert monotonic() - began < AGREED_S, f"ledger {row_of(one, key)}, events {sums_of(one, key)}"
        await asyncio.sleep(0.1)
    agreed_s = monotonic() - began
    row, sums = row_of(one, key), sums_of(one, key)
    assert row[2] == 0
    night = Healing(
        one.redis, one.data_dir / DATABASE, reconcile_every_s=0.05, nightly_hour=datetime.now(UTC).hour
    )
    try:
        while row_of(one, key) != sums_of(one, key):
            waited_s = monotonic() - began - agreed_s
            assert waited_s < NIGHT_S, f"ledger {row_of(one, key)}, events {sums_of(one, key)}"
            await asyncio.to_thread(night.pass_once, int(monotonic() * 1_000))
            await asyncio.sleep(0.05)
    finally:
        night.close()
    return agreed_s, f"{row[0] - sums[0]} spent and {row[1] - sums[1]} doubted too much until the night"


def row_of(one: Site, key: Key) -> tuple[int, int, int]:
    """Spent, doubted and reserved, by the ledger."""
    row = one.counters(key)
    return row.spent, row.doubted, row.reserved


def sums_of(one: Site, key: Key) -> tuple[int, int, int]:
    """The same by the events, of which none is open."""
    events = [event for event in one.events() if event.key_id == key.id]
    return sum(event.cost_nano or 0 for event in events), sum(event.doubted_nano for event in events), 0


def judge(
    one: Site,
    key: Key,
    book: list[Asked],
    limit_nano: int,
    losses: Sequence[Loss],
    *,
    lag_ms: tuple[float, float] = (0.0, 0.0),
) -> str:
    """Assert what must hold although writes were lost. `lag_ms`: when grants may have been forgotten."""
    lost, strange, doubled = lost_and_doubled(one, key, book)
    assert not strange
    assert not doubled
    assert not lost, f"{len(lost)} events are lost, though their workers live: {sorted(lost)[:5]}"
    events = [event for event in one.events() if event.key_id == key.id]
    row = one.counters(key)
    bill_nano = one.simulator.bill()["total_nano"]
    granted_nano = sum(event.held_nano or 0 for event in events if lag_ms[0] <= event.started_ms <= lag_ms[1])
    overshoot_nano = max(0, row.spent + row.doubted - limit_nano)
    assert bill_nano <= row.spent + row.doubted
    assert overshoot_nano <= granted_nano
    slowest_s = max(loss.decided_s or 0.0 for loss in losses)
    assert slowest_s <= RECOVERED_S
    assert not one.faults(), one.faults()[0]
    return (
        f"decided again after {slowest_s:.2f} s at worst; asked {len(book)}, events {len(events)}, "
        f"lost 0, doubled 0; spent {row.spent} + doubted {row.doubted} of {limit_nano} nano-USD; "
        f"overshoot {overshoot_nano} <= grants in the lag {granted_nano}; "
        f"bill {bill_nano}"
    )
