"""A recorder that spills, drains, and is killed at a step of one's choice; run in a process of its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from budgets.client import connect_sync
from budgets.reaper import Reaper
from gateway.recorder import recording, water
from gateway.recorder.metrics import RecorderCounters
from gateway.recorder.outbox import Outbox
from gateway.recorder.recording import Recorder
from gateway.recorder.spill import FOLDER, Spill
from gateway.recorder.storage import Storage
from metering import database
from metering.eventstore import EventStore

HIGH_WATER = 10
STEPS: tuple[tuple[Any, str], ...] = (
    (os, "write"),
    (os, "fsync"),
    (os, "unlink"),
    (os, "close"),
    (Outbox, "settle"),
    (Outbox, "pending"),
    (Spill, "put"),
    (Spill, "seal"),
    (Spill, "take"),
    (Spill, "finish"),
    (EventStore, "append"),
)
"""It is killed before or after one of these, (owner, name): all that changes a disk or Redis."""


def doomed(url: str, path: Path, entries: int, dies_after: int) -> None:
    """Spill the entries of the outbox and drain them, and be killed after so many steps."""
    database.BUSY_TIMEOUT_MS = 20
    water.SPILL_MAX, recording.BATCH_MAX = 100, 100
    steps = iter(range(dies_after, -1, -1))

    def step() -> None:
        if next(steps, 0) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(act: Callable[..., object]) -> Callable[..., object]:
        def stepped(*arguments: object, **more: object) -> object:
            step()
            result = act(*arguments, **more)
            step()
            return result

        return stepped

    for owner, name in STEPS:
        setattr(owner, name, stepping(getattr(owner, name)))
    redis = connect_sync(url, timeout_s=5)
    stop = threading.Event()
    lock: sqlite3.Connection | None = sqlite3.connect(path, isolation_level=None)
    assert lock is not None
    lock.execute("BEGIN IMMEDIATE")

    def observe(counters: RecorderCounters) -> None:
        nonlocal lock
        if counters.spilled >= entries - HIGH_WATER and lock is not None:
            lock.execute("ROLLBACK")
            lock.close()
            lock = None
        if counters.recorded + counters.duplicates >= entries:
            stop.set()

    recorder = Recorder(
        Outbox(redis),
        Storage(path),
        Reaper(redis, heartbeat_ms=10_000),
        Spill(path.parent / FOLDER, segment_bytes=100_000),
        reap_every_s=60,
        high_water=HIGH_WATER,
        observe=observe,
    )
    recorder.run(stop)
