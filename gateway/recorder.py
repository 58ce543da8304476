"""The recorder: moves closed requests' events from the ledger's outbox to the event store, and reaps.

read a batch -> decode -> append in one transaction -> settle (acknowledge and delete in Redis). A crash at
any point leaves an entry either not stored or stored and not settled; it is read again, and the store
ignores ids it has. So every event is stored exactly once.

One process for a whole installation suffices; more do no harm. When Redis is away it waits and begins
anew with what it had pending; when the database is busy or full it keeps its entries, in Redis too, and
tries again. An entry that is no event, or can never be stored, goes to the dead stream.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType

import structlog
from prometheus_client import Counter, Gauge
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from budgets.reaper import Reaper
from gateway.metrics_files import use_value_files
from gateway.outbox import Entry, Outbox
from gateway.serve.logs import configure_logs
from gateway.settings import Settings
from metering.event import CostEvent, EventError, decode
from metering.eventstore import EventStore, StoreUnavailable, UnstorableEvent

BATCH_MAX = 500
"""Events in one transaction."""
WAIT_MS = 500
"""How long one read waits in Redis: the bound on noticing the stop signal."""
GATHER_S = 0.25
"""Pause after a batch that was not full. Events of one batch share the commit, its fsync and the pages of the
rollups: at 1,000 events a second an event of a batch of 250 takes two thirds of the time of one of 100."""
CLAIM_EVERY_S = 30.0
DRAIN_S = 5.0
"""After the stop signal, the time for what is still in the outbox; what remains is read at the next start."""
PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 5.0

_log = structlog.get_logger(component="recorder")


@dataclass(slots=True)
class RecorderCounters:
    """What this recorder has done since it started, and how many entries wait (`backlog`)."""

    recorded: int = 0
    duplicates: int = 0
    dead: int = 0
    reaped: int = 0
    backlog: int = 0


class Recorder:
    """One recorder's loop. `monotonic` is a clock in seconds that never steps.

    `trouble` names what it waits for (redis_unavailable, database_unavailable), None while all is well.
    """

    def __init__(
        self,
        outbox: Outbox,
        store: EventStore,
        reaper: Reaper,
        *,
        reap_every_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        observe: Callable[[RecorderCounters], None] = lambda counters: None,
    ) -> None:
        self.counters = RecorderCounters()
        self._outbox = outbox
        self._store = store
        self._reaper = reaper
        self._reap_every_s = reap_every_s
        self._monotonic = monotonic
        self._observe = observe
        self._held: list[Entry] = []
        self._recovering = True
        self._reap_at = self._claim_at = 0.0
        self.trouble: str | None = None
        self._pause_s = PAUSE_MIN_S

    def run(self, stop: threading.Event) -> None:
        """Record until `stop` is set, then for a last moment what is still there."""
        while not stop.is_set():
            well = self._attempt(lambda: self._round(stop))
            if well and self.trouble:
                _log.info("resumed", after=self.trouble)
                self.trouble, self._pause_s = None, PAUSE_MIN_S
            if well or self.trouble == "database_unavailable":  # which reaping does not need
                self._attempt(self._periodic)
            if not well:
                stop.wait(self._pause_s)
                self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        deadline = self._monotonic() + DRAIN_S
        while self._monotonic() < deadline and self._attempt(self._drained) and self._held:
            pass
        self._observe(self.counters)

    def _attempt(self, act: Callable[[], object]) -> bool:
        """Do it; False when Redis or the database is away, told once for each outage."""
        try:
            act()
        except StoreUnavailable as error:
            self._lament("database_unavailable", error)
            return False
        except RedisError as error:
            # What is in memory is pending in Redis too, and a reply may have been lost: begin anew.
            self._held = []
            self._recovering = True
            self._lament("redis_unavailable", error)
            return False
        return True

    def _lament(self, trouble: str, error: Exception) -> None:
        if self.trouble != trouble:
            self.trouble = trouble
            _log.warning(trouble, reason=str(error), kept_entries=len(self._held))

    def _round(self, stop: threading.Event) -> None:
        """Read unless entries are held, and store one batch of them."""
        if not self._held:
            self._read(WAIT_MS)
        full = len(self._held) >= BATCH_MAX
        if self._held:
            self._record()
            if not full and not self._recovering:
                stop.wait(GATHER_S)

    def _drained(self) -> None:
        if not self._held:
            self._read(None)
        self._record()
        if not self._held:
            self._read(None)

    def _read(self, wait_ms: int | None) -> None:
        if self._recovering:
            self._held = self._outbox.pending()
            self._recovering = bool(self._held)
        if not self._held:
            self._held = self._outbox.fresh(wait_ms)

    def _record(self) -> None:
        """Store and settle the next batch of the held entries. Raises as the store and Redis do."""
        batch = self._held[:BATCH_MAX]
        decoded: list[tuple[Entry, CostEvent]] = []
        for entry in batch:
            try:
                decoded.append((entry, decode(entry.fields[b"e"])))
            except KeyError:
                self._bury(entry, "the entry has no field e")
            except EventError as error:
                self._bury(entry, str(error))
        self._append(decoded)
        del self._held[: len(batch)]
        self._observe(self.counters)

    def _append(self, decoded: list[tuple[Entry, CostEvent]]) -> None:
        """Store the batch; an event that can never be stored is found by halving, and buried alone."""
        if not decoded:
            return
        try:
            fresh = self._store.append(
                [event for _, event in decoded], [entry.fields[b"e"] for entry, _ in decoded]
            )
        except UnstorableEvent as error:
            if len(decoded) == 1:
                self._bury(decoded[0][0], f"cannot be stored: {error}")
                return
            middle = len(decoded) // 2
            self._append(decoded[:middle])
            self._append(decoded[middle:])
            return
        self._outbox.settle(entry for entry, _ in decoded)
        self.counters.recorded += fresh
        self.counters.duplicates += len(decoded) - fresh

    def _bury(self, entry: Entry, reason: str) -> None:
        if self._outbox.bury(entry, reason):
            self.counters.dead += 1
            _log.error("dead_letter", stream=entry.stream.decode(), entry=entry.id.decode(), reason=reason)

    def _periodic(self) -> None:
        """Reap, claim what dead readers left, and count what waits; each when its time has come."""
        now = self._monotonic()
        if now >= self._reap_at:
            self._reap_at = now + self._reap_every_s
            ended = self._reaper.pass_once(int(now * 1_000))
            if ended:
                self.counters.reaped += len(ended)
                _log.warning("reaped", requests=ended[:20], count=len(ended))
            self.counters.backlog = self._outbox.length()
            self._observe(self.counters)
        if now >= self._claim_at and not self._held:
            self._claim_at = now + CLAIM_EVERY_S
            self._held = self._outbox.abandoned()
            gc.collect()


def run_recorder(
    *,
    settings: Settings,
    redis_url: str,
    database_path: Path,
    metrics_dir: Path | None,
    stop: threading.Event | None = None,
) -> None:
    """Record until SIGTERM or SIGINT (or `stop`). Raises metering.database.DatabaseError at the start only.

    `metrics_dir` holds the value files of the supervisor's scrape port.
    """
    if not structlog.is_configured():
        configure_logs(settings.server.log_level)
    observe = exporter(metrics_dir) if metrics_dir is not None else lambda counters: None
    stop = stop or threading.Event()
    _stop_on_signals(stop)
    store = EventStore(database_path)
    redis = Redis.from_url(
        redis_url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=settings.ledger.timeout_ms / 1_000,
        socket_timeout=(WAIT_MS + 10 * settings.ledger.timeout_ms) / 1_000,
    )
    recorder = Recorder(
        Outbox(redis),
        store,
        Reaper(redis, heartbeat_ms=settings.ledger.heartbeat_ms),
        reap_every_s=settings.ledger.reap_every_ms / 1_000,
        observe=observe,
    )
    # A batch makes and drops a hundred thousand small objects without cycles. Looking through them for cycles
    # took a sixth of the recorder's time, so that is done between batches, every CLAIM_EVERY_S.
    gc.freeze()
    gc.disable()
    try:
        recorder.run(stop)
    finally:
        gc.enable()
        redis.close()
        store.close()


def _stop_on_signals(stop: threading.Event) -> None:
    """Setting the flag is all a handler does; the read in progress ends by itself."""
    if threading.current_thread() is not threading.main_thread():
        return

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)


def exporter(metrics_dir: Path) -> Callable[[RecorderCounters], None]:
    """A function that brings Prometheus' values up to the counters, in value files of owner `recorder`."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR") != str(metrics_dir):
        use_value_files(metrics_dir, "recorder")
    events, reaped, backlog = _metrics()
    told = RecorderCounters()

    def observe(counters: RecorderCounters) -> None:
        for name in ("recorded", "duplicates", "dead"):
            events.labels(name).inc(getattr(counters, name) - getattr(told, name))
            setattr(told, name, getattr(counters, name))
        reaped.inc(counters.reaped - told.reaped)
        told.reaped = counters.reaped
        backlog.set(counters.backlog)

    return observe


@cache
def _metrics() -> tuple[Counter, Counter, Gauge]:
    """Made at the first use, because value files must be chosen before a metric is constructed."""
    return (
        Counter("tollkeeper_recorder_entries", "Outbox entries taken to their end", ["result"]),
        Counter("tollkeeper_reaped_requests", "Requests ended because their holder vanished"),
        Gauge(
            "tollkeeper_outbox_entries", "Closed requests waiting to be stored", multiprocess_mode="livesum"
        ),
    )
