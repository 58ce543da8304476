"""A thousand processes die by kill -9 after they have opened requests in the ledger; some stand still first.

    pytest tests/torture/test_deaths.py -m slow -s

The witnesses are the lines that the processes wrote before they died (see `nursery`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import random
import signal
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time_ns
from typing import Any

import pytest
from sqlalchemy import text

from accounts.keyring import Keyring, NewLimit
from accounts.limitbook import LimitBook
from budgets.ledger import Versions
from budgets.limit import Attribution, LimitTerms
from budgets.names import names_of
from budgets.rows import LedgerRows
from budgets.rowset import place_of
from gateway.serve.preparation import prepare
from gateway.settings import ProviderSettings, Settings
from metering.database import open_database
from metering.event import CostEvent, decode
from metering.eventstore import EventStore
from tests.acceptance.installation import ROOT, until

from .conftest import Serve
from .nursery import Terms

DEATHS, FEW_DEATHS = 1_000, 60
ALIVE = 8
"""Processes at once."""
OLDEST_S = 0.12
"""A process dies so long after its first request was opened, at most."""
PAUSED_SHARE = 0.1
"""So many of them stand still before, for long enough that their requests are ended for them."""
PAUSE_S, AWAKE_S = 1.2, 0.2
LEASE_MS, HEARTBEAT_MS, REAP_EVERY_MS = 250, 60, 60
LIMIT = 10**13
PROVIDERS = {"nobody": ProviderSettings(base_url="http://127.0.0.1:9/v1", prices="openai")}
RECORDER = """\
import sys
from pathlib import Path
from gateway.recorder.process import run_recorder
from gateway.settings import Settings
settings = Settings(ledger={"lease_ms": %d, "heartbeat_ms": %d, "reap_every_ms": %d})
run_recorder(settings=settings, redis_url=sys.argv[1], database=Path(sys.argv[2]), metrics_dir=None)
"""


@dataclass
class Witness:
    """What was heard of the processes."""

    born: int = 0
    asked: set[str] = field(default_factory=set)
    opened: dict[str, int] = field(default_factory=dict)
    closing: dict[str, tuple[int, int]] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    first_open: dict[int, asyncio.Event] = field(default_factory=dict)
    births: asyncio.Queue[int] = field(default_factory=asyncio.Queue)

    async def listen(self, reading: asyncio.StreamReader) -> None:
        """Take every line to the end."""
        while line := await reading.readline():
            pid, word, *rest = line.decode().split()
            if word == "born":
                self.born += 1
                self.first_open[int(pid)] = asyncio.Event()
                self.births.put_nowait(int(pid))
            elif word == "asks":
                self.asked.add(rest[0])
            elif word == "opened":
                self.opened[rest[0]] = int(rest[1])
                self.first_open[int(pid)].set()
            elif word == "closes":
                self.closing[rest[0]] = int(rest[1]), int(rest[2])
            else:
                self.closed[rest[0]] = rest[1]


async def test_sixty_deaths_leave_one_event_for_each_open_request(valkey: Serve, tmp_path: Path) -> None:
    print(await massacre(valkey, tmp_path, FEW_DEATHS))


@pytest.mark.slow
async def test_1000_deaths_leave_one_event_for_each_open_request(valkey: Serve, tmp_path: Path) -> None:
    print(await massacre(valkey, tmp_path, DEATHS))


async def massacre(valkey: Serve, tmp_path: Path, deaths: int) -> str:
    """Let so many processes die, and hear the witnesses. Returns the figures."""
    server, database = valkey(), tmp_path / "tollkeeper.db"
    settings = Settings(providers=PROVIDERS, server={"data_dir": tmp_path})
    await asyncio.to_thread(prepare, settings, server.url)
    terms = make_key(server.client, database)
    names = names_of(terms.of.account_id)
    chance, witness = random.Random(deaths), Witness()
    key = pickle.dumps(terms).hex()
    async with (
        process("-c", RECORDER % (LEASE_MS, HEARTBEAT_MS, REAP_EVERY_MS), server.url, str(database)),
        process("-m", "tests.torture.nursery", server.url, str(LEASE_MS), str(HEARTBEAT_MS), key) as nursery,
    ):
        assert nursery.stdout is not None
        server.client.zadd(names.leases, {"nobody's": 1})
        await until(lambda: not server.client.zcard(names.leases))  # the reaper is at work
        began = monotonic()
        listening = asyncio.create_task(witness.listen(nursery.stdout))
        places = [deaths // ALIVE + (place < deaths % ALIVE) for place in range(ALIVE)]
        paused = await asyncio.gather(*(one_after_the_other(nursery, witness, n, chance) for n in places))
        await listening_ends(nursery, listening)
        await until(lambda: not server.client.zcard(names.leases))
        await until(lambda: not server.client.xlen(names.outbox))
    events = stored(database)

    # Everything that was opened has its one event, and nothing else has one.
    assert witness.born == deaths
    assert set(witness.opened) <= events.keys() <= witness.asked
    for one_id, event in events.items():
        check(witness, one_id, event)
    store = EventStore(database)
    rolled_up = sum(row.cost_nano for row in store.cost_by(()))
    store.close()
    spent = sum(event.cost_nano or 0 for event in events.values())
    doubted = sum(event.doubted_nano for event in events.values())
    assert rolled_up == spent
    assert {limit.kind: counters(server.client, terms, limit) for limit in terms.limits} == {
        "money": (spent, 0, doubted),
        "requests": (len(events), 0, 0),
        "concurrency": (0, 0, 0),
    }
    by = Counter(event.closed_by for event in events.values())
    assert by["reaper"] >= deaths * 0.9
    late = sum(answer == "closed" for answer in witness.closed.values())
    # Of few, and beside other programs, it may be that none lives long enough after it woke.
    assert late > 0 or deaths < DEATHS, "nobody woke to find its requests ended"
    return (
        f"{deaths} deaths ({sum(paused)} after a pause) in {monotonic() - began:.0f} s: "
        f"opened {len(witness.opened)} (and {len(events) - len(witness.opened)} whose answer nobody lived "
        f"to read), events {len(events)}, lost 0, doubled 0; closed by worker {by['worker']}, by reaper "
        f"{by['reaper']}, {late} closes came too late; "
        f"sum of events = spent = {spent}, doubted {doubted}, reserved 0 nano-USD"
    )


def make_key(redis: Any, database: Path) -> Terms:
    """A key with a limit of each kind that is held, wide enough for all."""
    engine = open_database(database)
    try:
        rows = LedgerRows(redis)
        _, record = Keyring(engine, rows).create("torture", limits=[NewLimit("lifetime", LIMIT)])
        book = LimitBook(engine, rows)
        book.set("key", record.id, "requests", "lifetime", LIMIT)
        book.set("key", record.id, "concurrency", "now", LIMIT)
        record = Keyring(engine, rows).find(record.id)
    finally:
        engine.dispose()
    of = Attribution(record.account_id, record.id)
    return Terms(of, Versions(record.version), tuple(record.limits))


def counters(redis: Any, terms: Terms, limit: LimitTerms) -> tuple[int, int, int]:
    """(spent, reserved, doubted) of the limit's present row."""
    row = place_of(limit, terms.of.key_id, terms.of.account_id, time_ns() // 1_000_000)
    found = redis.hget(row.hash, row.field)
    spent, reserved, doubted = struct.unpack("<3q", found) if found else (0, 0, 0)
    return spent, reserved, doubted


async def one_after_the_other(
    nursery: asyncio.subprocess.Process, witness: Witness, deaths: int, chance: random.Random
) -> int:
    """Let so many live and die in this place; returns how many stood still before."""
    assert nursery.stdin is not None
    paused = 0
    for _ in range(deaths):
        nursery.stdin.write(b".")
        pid = await witness.births.get()
        async with asyncio.timeout(120):
            await witness.first_open[pid].wait()
        await asyncio.sleep(chance.uniform(0, OLDEST_S))
        if chance.random() < PAUSED_SHARE:
            paused += 1
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(PAUSE_S)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(chance.uniform(0, AWAKE_S))
        os.kill(pid, signal.SIGKILL)
    return paused


async def listening_ends(nursery: asyncio.subprocess.Process, listening: asyncio.Task[None]) -> None:
    """No more births; the nursery ends, and with it what can be heard."""
    assert nursery.stdin is not None
    nursery.stdin.close()
    async with asyncio.timeout(60):
        await listening


def check(witness: Witness, one_id: str, event: CostEvent) -> None:
    """The event says what its process had said, or what the reaper had to conclude."""
    held = witness.opened.get(one_id)
    if witness.closed.get(one_id) == "ok":
        assert event.closed_by == "worker"
    if event.closed_by == "worker":
        assert (event.cost_nano, event.doubted_nano) == witness.closing[one_id], event
    else:
        assert event.status == "orphaned"
        assert witness.closed.get(one_id) != "ok"
        assert held is None or (event.cost_nano or 0) + event.doubted_nano == held, event


def stored(database: Path) -> dict[str, CostEvent]:
    """Every row of the event table."""
    engine = open_database(database)
    try:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT document FROM event_documents")).all()
    finally:
        engine.dispose()
    events = [decode(row[0]) for row in rows]
    assert len({event.id for event in events}) == len(events)
    return {event.id: event for event in events}


@asynccontextmanager
async def process(*words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another Python, for as long as it is needed."""
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.terminate()
        await running.wait()
