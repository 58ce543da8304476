"""The event store is away for ten minutes at 100 events a second, comes back, and a fifth is delivered again.

The quick ring runs a small outage; scripts/full the same 60,000 events in ten seconds, for each way of being
away; with TOLLKEEPER_OUTAGE_S=600 in the environment the outage takes the ten minutes that it stands for.
"""

from __future__ import annotations

import os
import random
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.recorder.spill import FOLDER
from gateway.recorder.spilled import SpilledDocuments
from metering.event import CostEvent, decode, encode
from metering.eventstore import EventStore
from tests.budgets.server import Server, engine_binary, start_server
from tests.gateway.recorders import OUTBOXES, Forked, eventually, make_whole, put_documents, spilled, waiting
from tests.metering.events import event

DRAINED_PER_S = 5_000
AGAIN = 0.2
TICK_S = 0.02


@dataclass(frozen=True)
class Outage:
    events: int
    lasts_s: float
    high_water: int
    patience_ms: int = 10_000
    timed: bool = True


QUICK = Outage(4_000, 1.0, 1_000, patience_ms=100, timed=False)
FULL = Outage(60_000, 10.0, 50_000, patience_ms=1_000)
REAL = Outage(60_000, float(os.environ.get("TOLLKEEPER_OUTAGE_S", "0")), 50_000)


@contextmanager
def locked(path: Path, _process: Forked) -> Iterator[None]:
    """Another process writes, and does not end."""
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        lock.execute("ROLLBACK")
        lock.close()


@contextmanager
def full(_path: Path, process: Forked) -> Iterator[None]:
    """No file of the recorder's may grow beyond a size that it has: what it sees of a full disk."""
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def replaced(path: Path, _process: Forked) -> Iterator[None]:
    """Something that is no database lies where it was."""
    parts = [path.with_name(f"{path.name}{suffix}") for suffix in ("", "-wal", "-shm")]
    away = path.parent / "away"
    away.mkdir()
    for part in parts:
        part.rename(away / part.name)
    path.write_bytes(b"this is no database" * 500)
    try:
        yield
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
        for part in parts:
            (away / part.name).rename(part)


Away = Callable[[Path, Forked], AbstractContextManager[None]]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(engine_binary(), tmp_path_factory.mktemp("valkey"))
    make_whole(server)
    yield server
    server.stop()


def make(count: int) -> list[CostEvent]:
    """Requests of an ordinary mix of customers, features, keys and models."""
    chance = random.Random(7)
    now_ms = time.time_ns() // 1_000_000
    return [
        event(
            customer=f"customer-{int(chance.paretovariate(1)) % 500}",
            feature=f"feature-{chance.randrange(20)}",
            key_id=f"key_{chance.randrange(50)}",
            model=f"model-{chance.randrange(10)}",
            cost_nano=chance.randrange(1_000_000),
            started_ms=now_ms,
        )
        for _ in range(count)
    ]


def put_paced(server: Server, documents: list[bytes], lasts_s: float) -> None:
    """All documents over that time, each tick's to one shard after the other."""
    began = time.monotonic()
    done = tick = 0
    while done < len(documents):
        passed = time.monotonic() - began
        due = len(documents) if passed >= lasts_s else int(len(documents) * passed / lasts_s)
        put_documents(server, documents[done:due], OUTBOXES[tick % len(OUTBOXES)])
        done, tick = due, tick + 1
        time.sleep(TICK_S)


def arrived(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
    connection.close()
    return int(count)


def processor_s(pid: int) -> tuple[float, float]:
    """Seconds of a processor that it used, and that it waited for while others had it."""
    used, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(used) / 1e9, int(waited) / 1e9


def assert_exact(path: Path, made: list[CostEvent]) -> None:
    store = EventStore(path)
    ids = [each.id for each in made]
    assert store.recorded(ids) == set(ids)
    rows = store.cost_by(("customer", "feature"))
    assert rows == store.cost_by(("customer", "feature"), from_events=True)
    assert sum(row.events for row in rows) == len(made)
    assert sum(row.cost_nano for row in rows) == sum(each.cost_nano or 0 for each in made)
    store.close()


@pytest.mark.parametrize(
    ("outage", "away"),
    [
        *((QUICK, away) for away in (locked, full, replaced)),
        *(pytest.param(FULL, away, marks=pytest.mark.slow) for away in (locked, full, replaced)),
        pytest.param(
            REAL,
            locked,
            marks=[
                pytest.mark.slow,
                pytest.mark.waits,
                pytest.mark.skipif(not REAL.lasts_s, reason="TOLLKEEPER_OUTAGE_S (seconds) is not set"),
            ],
        ),
    ],
)
def test_outage_of_the_event_store_loses_and_doubles_nothing(
    server: Server, tmp_path: Path, outage: Outage, away: Away
) -> None:
    path = tmp_path / "data" / "t.db"
    EventStore(path).close()
    made = make(outage.events)
    documents = list(map(encode, made))
    before = make(100)
    process = Forked(server, path, patience_ms=outage.patience_ms, high_water=outage.high_water)
    try:
        put_documents(server, map(encode, before))
        eventually(lambda: waiting(server) == 0)
        with away(path, process):
            put_paced(server, documents, outage.lasts_s)
            if away is not full:  # there, nothing can be written
                eventually(lambda: waiting(server) <= outage.high_water)
                assert spilled(path)
            in_redis = waiting(server)  # looked at first, since entries go from here to the files
            kept = {decode(document).id for document in SpilledDocuments(path.parent / FOLDER).events()}
            print(f"{away.__name__}: {in_redis} entries in Redis, {len(kept)} in files")
            assert in_redis + len(kept) >= 0.9 * outage.events  # away it was
            again = random.Random(1).sample(documents, int(AGAIN * len(documents)))
            put_documents(server, again, OUTBOXES[1])
        stored = arrived(path)
        eventually(lambda: arrived(path) > stored, within_s=300)
        began, (used, waited) = time.monotonic(), processor_s(process.pid)
        eventually(lambda: waiting(server) == 0 and not spilled(path), within_s=300)
        wall_s, (used_now, waited_now) = time.monotonic() - began, processor_s(process.pid)
        process.end()
    finally:
        process.kill()
    assert_exact(path, before + made)
    drained = len(made) + len(again)
    quiet_s = wall_s - (waited_now - waited)
    print(
        f"{drained} entries drained in {wall_s:.1f} s, {drained / wall_s:.0f}/s; without what other programs "
        f"took, {drained / quiet_s:.0f}/s; {1e6 * (used_now - used) / drained:.0f} us of processor an entry"
    )
    assert not outage.timed or drained / quiet_s >= DRAINED_PER_S
