"""kill -9 of the api process and the recorder while events are reported: each is stored and counted once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import struct
from itertools import count

import httpx2

from accounts.keyring import Keyring
from accounts.limitbook import LimitBook
from budgets.names import names_of
from budgets.reconcile import Reconciler
from budgets.rows import LedgerRows
from gateway.healing.healing import RecordedTerms
from metering.database import open_database
from metering.eventstore import EventStore

from .conftest import Install
from .installation import ACCOUNT, Installation, until

BATCH, REPORTERS, KILLS = 20, 6, 5
CENT = 10_000_000
LIMIT_NANO = 100_000 * CENT


async def report(
    one: Installation, secret: str, numbers: count[int], enough: asyncio.Event
) -> tuple[int, int]:
    """Report batch after batch until it is enough; one that was not answered is sent again until it is.
    Gives how many batches were sent, and how often one was sent again."""
    headers = {"Authorization": f"Bearer {secret}"}
    sent = again = 0
    async with httpx2.AsyncClient(timeout=60, headers=headers) as http:
        while not enough.is_set():
            sent += 1
            events = [
                {
                    "eventName": "e",
                    "customerReferenceId": "acme",
                    "featureKey": "f",
                    "costAmount": "0.01",
                    "idempotencyKey": f"event-{next(numbers)}",
                }
                for _ in range(BATCH)
            ]
            while True:
                try:
                    answer = await http.post(
                        f"http://127.0.0.1:{one.port}/api/events/ingest", json={"events": events}
                    )
                except httpx2.TransportError:
                    again += 1
                    continue
                if answer.status_code == 200:
                    found = answer.json()
                    assert found["accepted"] + found["duplicates"] == BATCH, found
                    break
                assert answer.status_code in (502, 503, 504), answer.text
                again += 1
                await asyncio.sleep(0.05)
    return sent, again


async def test_reported_events_are_stored_and_counted_once_when_processes_are_killed(
    install: Install,
) -> None:
    one = await install()
    engine = open_database(one.data_dir / "tollkeeper.db")
    store = EventStore(one.data_dir / "tollkeeper.db")
    try:
        rows = LedgerRows(one.redis)
        secret, _ = Keyring(engine, rows).create("reports", scopes=("events.write",), assertion="any")
        limits = LimitBook(engine, rows)
        limit = limits.set("customer", "acme", "money", "lifetime", LIMIT_NANO).limit
        numbers, enough = count(1), asyncio.Event()
        reporting = [asyncio.create_task(report(one, secret, numbers, enough)) for _ in range(REPORTERS)]
        for kill in range(KILLS):
            before = store.arrivals()[1]
            await until(lambda before=before: store.arrivals()[1] > before + BATCH)
            await asyncio.sleep(random.uniform(0, 0.05))
            for pid in one.children("recorder" if kill == KILLS // 2 else "api"):
                os.kill(pid, signal.SIGKILL)
        enough.set()
        done = await asyncio.gather(*reporting)
        sent, again = (sum(each) for each in zip(*done, strict=True))

        def waiting() -> bool:
            with store.snapshot() as snapshot:
                return bool(snapshot.uncounted)

        await until(lambda: not waiting() and not one.redis.xlen(names_of(ACCOUNT).outbox))
        total = BATCH * sent
        recorded = one.events()
        assert len({event.idempotency_key for event in recorded}) == len(recorded) == total
        assert one.rolled_up_nano() == total * CENT
        row = one.redis.hget(f"{names_of(ACCOUNT).window}life", limit.id)
        assert struct.unpack("<3q", row) == (total * CENT, 0, 0)
        reconciler = Reconciler(one.redis, store)
        index = RecordedTerms(engine).index(ACCOUNT)
        reconciler.compare_now(names_of(ACCOUNT).shard, [index], nightly=True)
        assert (reconciler.counters.raised, reconciler.counters.lowered) == (0, 0)
        assert one.dead_letters() == 0
        print(f"{total} events, {KILLS} kills, {again} requests sent again")
    finally:
        store.close()
        engine.dispose()
    assert await one.stop() == 0
