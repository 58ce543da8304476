"""What the recorder's tests stand on: a recorder in a thread or in a process, and entries for it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from budgets.client import connect_sync
from budgets.names import all_shards, names_on
from budgets.reaper import Reaper
from gateway.recorder.metrics import RecorderCounters
from gateway.recorder.outbox import GROUP, IDLE_MS, Outbox
from gateway.recorder.process import run_recorder
from gateway.recorder.reader_slot import ReaderSlot
from gateway.recorder.recording import Recorder
from gateway.recorder.spill import FOLDER, Spill, segments
from gateway.recorder.storage import Storage
from gateway.recorder.water import HIGH_WATER
from gateway.settings import RecorderSettings, Settings
from metering import database
from metering.database import Where
from metering.event import CostEvent, encode
from metering.eventstore import EventStore
from tests.budgets.server import Server

SHARD = names_on("07")
OUTBOXES = [names_on(shard).outbox for shard in all_shards()]
PATIENCE_S = 60.0

PROGRAM = """
import sys
from pathlib import Path
from gateway.recorder.reader_slot import ReaderSlot
from gateway.recorder.process import run_recorder
from gateway.settings import Settings
run_recorder(settings=Settings(), redis_url=sys.argv[1], database=Path(sys.argv[2]),
             metrics_dir=Path(sys.argv[3]) if len(sys.argv) > 3 else None)
"""


class Running:
    """A recorder in a thread of the test's own process; without a `reader`'s name it takes a slot."""

    def __init__(
        self,
        server: Server,
        path: Path,
        *,
        reader: str | None = None,
        heartbeat_ms: int = 10_000,
        high_water: int = HIGH_WATER,
        idle_ms: int = IDLE_MS,
        segment_bytes: int = 1_000_000,
    ) -> None:
        self._storage = Storage(path)
        self._slot = ReaderSlot.take(path.parent)
        self._redis = connect_sync(server.url, timeout_s=5)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self.recorder = Recorder(
            Outbox(self._redis, reader=reader or self._slot.name, idle_ms=idle_ms),
            self._storage,
            Reaper(self._redis, heartbeat_ms=heartbeat_ms),
            Spill(path.parent / FOLDER, segment_bytes=segment_bytes),
            reap_every_s=0.05,
            high_water=high_water,
            idle_s=idle_ms / 1_000,
            observe=self._observe,
        )
        self._thread = threading.Thread(target=self.recorder.run, args=(self._stop,))

    @property
    def counters(self) -> RecorderCounters:
        return self.recorder.counters

    def start(self) -> Running:
        self._thread.start()
        return self

    def until(self, reached: Callable[[RecorderCounters], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: reached(self.counters), PATIENCE_S), self.counters

    def end(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._redis.close()
        self._storage.close()
        self._slot.release()

    def _observe(self, _counters: RecorderCounters) -> None:
        with self._changed:
            self._changed.notify_all()


@contextmanager
def recording(server: Server, path: Path, **options: Any) -> Iterator[Running]:
    running = Running(server, path, **options).start()
    try:
        yield running
    finally:
        running.end()


def put(server: Server, events: Iterable[CostEvent], stream: str = SHARD.outbox) -> None:
    put_documents(server, map(encode, events), stream)


def put_documents(server: Server, documents: Iterable[bytes], stream: str = SHARD.outbox) -> None:
    pipeline = server.client.pipeline(transaction=False)
    for document in documents:
        pipeline.xadd(stream, {"e": document})
    pipeline.execute()


def spawn(server: Server, path: Path, *more: str) -> subprocess.Popen[bytes]:
    """The recorder as a program."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, server.url, str(path), *more],
        stderr=subprocess.PIPE,
        env=os.environ.copy(),
    )


def eventually(holds: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Wait for something in another process, which can only be asked."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Forked:
    """The recorder as a process to be killed or stopped.

    Forked from a process that has the imports and no more: a child of this one would inherit SQLite's notes
    about the locks that this one holds. `path`: the database's file, or beside what else it keeps where
    `where` names another one. `patience_ms` is that with a locked database, `options` are settings of the
    recorder.
    """

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gateway.recorder.process"])

    def __init__(
        self,
        server: Server,
        path: Path,
        *,
        where: Where | None = None,
        patience_ms: int = 10_000,
        **options: int,
    ) -> None:
        arguments = {
            "settings": Settings(recorder=RecorderSettings(**options)),
            "redis_url": server.url,
            "database": where or path,
            "data_dir": path.parent,
            "metrics_dir": None,
        }
        self._process = self.context.Process(target=_run, args=(patience_ms,), kwargs=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def end(self) -> None:
        """Ask it to end, and see that it does."""
        self._process.terminate()
        self._process.join(PATIENCE_S)
        ended = self._process.exitcode
        self.kill()
        assert ended == 0


def _run(patience_ms: int, **arguments: Any) -> None:
    database.BUSY_TIMEOUT_MS = patience_ms
    run_recorder(**arguments)


def make_whole(server: Server) -> None:
    """As an installation's ledger is once it was seeded: the recorder has no reason to do that meanwhile."""
    now_ms = time.time_ns() // 1_000_000
    for shard in all_shards():
        server.client.hset(names_on(shard).meta, mapping={"complete_since": now_ms, "run_id": server.run_id})


def pending(server: Server, stream: str = SHARD.outbox) -> int:
    return int(server.client.xpending(stream, GROUP)["pending"])


def waiting(server: Server) -> int:
    """Entries in all outboxes."""
    pipeline = server.client.pipeline(transaction=False)
    for stream in OUTBOXES:
        pipeline.xlen(stream)
    return sum(pipeline.execute())


def spilled(path: Path) -> list[Path]:
    """The segments beside the database."""
    return segments(path.parent / FOLDER)


def assert_each_is_recorded_once(store: EventStore, made: list[CostEvent]) -> None:
    ids = [each.id for each in made]
    assert store.recorded(ids) == set(ids)
    assert store.cost_by(()) == store.cost_by((), from_events=True)
    (total,) = store.cost_by(("customer",))
    assert (total.events, total.cost_nano) == (len(made), sum(each.cost_nano or 0 for each in made))
