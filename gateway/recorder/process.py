"""The recorder as a process: its parts, its reader's name, its end. Its loop is `recording`."""

from __future__ import annotations

import gc
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import structlog
from redis.exceptions import RedisError

from budgets.client import SyncClient, connect_sync
from budgets.journal import FOLDER as JOURNALS
from budgets.reaper import Reaper
from gateway.healing.healing import Healing
from gateway.healing.metrics import healing_exporter
from gateway.healing.upkeep import Upkeep
from gateway.recorder.aging import Aging
from gateway.recorder.metrics import exporter
from gateway.recorder.outbox import Outbox
from gateway.recorder.reader_slot import ReaderSlot
from gateway.recorder.recording import WAIT_MS, Recorder
from gateway.recorder.spill import FOLDER, Spill
from gateway.recorder.storage import Storage
from gateway.serve.logs import configure_logs
from gateway.settings import Settings
from metering.database import Where

CONNECT_PAUSE_S = 0.5

_log = structlog.get_logger(component="recorder")


def run_recorder(
    *,
    settings: Settings,
    redis_url: str,
    database: Where,
    metrics_dir: Path | None,
    data_dir: Path | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Record until SIGTERM or SIGINT (or `stop`). A database that cannot be opened is waited for.

    `metrics_dir` holds the value files of the supervisor's scrape port. `data_dir` (by default where the
    database's file is) holds the spill and the slots of readers' names; several may run on one.
    """
    if not structlog.is_configured():
        configure_logs(settings.server.log_level)
    observe = exporter(metrics_dir) if metrics_dir is not None else lambda counters: None
    stop = stop or threading.Event()
    _stop_on_signals(stop)
    if data_dir is None:
        assert isinstance(database, Path), "a database on a server is in no directory"
        data_dir = database.parent
    slot = ReaderSlot.take(data_dir)
    redis, another = _connected(settings, redis_url, stop), _connected(settings, redis_url, stop)
    if redis is None or another is None:
        slot.release()
        return
    storage = Storage(database)
    upkeep = Upkeep(
        another,
        Healing(another, database, spill_folder=data_dir / FOLDER),
        data_dir / JOURNALS,
        healing_exporter() if metrics_dir is not None else lambda counters: None,
    )
    aging = Aging(database, settings.recorder.retention_days)
    idle_ms = settings.recorder.claim_idle_ms
    recorder = Recorder(
        Outbox(redis, reader=slot.name, idle_ms=idle_ms),
        storage,
        Reaper(redis, heartbeat_ms=settings.ledger.heartbeat_ms),
        Spill(data_dir / FOLDER),
        reap_every_s=settings.ledger.reap_every_ms / 1_000,
        high_water=settings.recorder.high_water,
        idle_s=idle_ms / 1_000,
        observe=observe,
    )
    # A batch makes and drops a hundred thousand small objects without cycles. Looking through them for cycles
    # took a sixth of the recorder's time, so that is done between batches, every CLAIM_EVERY_S.
    gc.freeze()
    gc.disable()
    try:
        with ThreadPoolExecutor(2, "upkeep") as beside:
            kept, aged = beside.submit(upkeep.run, stop), beside.submit(aging.run, stop)
            kept.add_done_callback(lambda _: stop.set())  # a fault of it ends the process, to be started anew
            aged.add_done_callback(lambda done: stop.set() if done.exception() else None)
            try:
                recorder.run(stop)
            finally:
                stop.set()
        kept.result()
        aged.result()
    finally:
        gc.enable()
        upkeep.close()
        redis.close()
        another.close()
        storage.close()
        slot.release()


def _connected(settings: Settings, url: str, stop: threading.Event) -> SyncClient | None:
    """A client of the Redis there, which is waited for; None when asked to stop before."""
    told = False
    while not stop.is_set():
        try:
            return connect_sync(
                url,
                timeout_s=(WAIT_MS + 10 * settings.ledger.timeout_ms) / 1_000,
                connect_timeout_s=settings.ledger.timeout_ms / 1_000,
            )
        except RedisError as error:
            if not told:
                _log.warning("redis_unavailable", reason=str(error))
                told = True
            stop.wait(CONNECT_PAUSE_S)
    return None


def _stop_on_signals(stop: threading.Event) -> None:
    """Setting the flag is all a handler does; the read in progress ends by itself."""
    if threading.current_thread() is not threading.main_thread():
        return

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
