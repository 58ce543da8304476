"""The recorder: moves closed requests' events from the ledger's outbox to the event store, and reaps.

read a batch -> decode -> append in one transaction -> settle (acknowledge and delete in Redis). A crash at
any point leaves an entry either not stored or stored and not settled; it is read again, and the store
ignores ids it has. So every event is stored exactly once. Adjustments and limits' notices go the same way.

One process for a whole installation suffices; more do no harm. When Redis is away it waits and begins
anew with what it had pending; when the database is busy or full it keeps its entries, in Redis too, and
tries again; when that lasts so long that Redis would fill up, the oldest go to files (`spill`) and
are stored from there first. An entry that is no event, or can never be stored, goes to the dead stream.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from budgets.reaper import Reaper
from gateway.recorder.entry import Entry
from gateway.recorder.filing import Filed, Filing
from gateway.recorder.metrics import RecorderCounters
from gateway.recorder.outbox import IDLE_MS, Outbox
from gateway.recorder.spill import Spill, SpillFailed, TakenSegment
from gateway.recorder.storage import Storage
from gateway.recorder.water import HIGH_WATER, Water, excess, low_enough, too_high
from metering.eventstore import StoreUnavailable

BATCH_MAX = 2_000
"""Entries in one transaction. They share its syncs, and the pages of indexes and rollups: of a long backlog,
an event of a batch of 500 takes a third more of the time than one of 2,000."""
WAIT_MS = 500
"""How long one read waits in Redis: the bound on noticing the stop signal."""
GATHER_S = 0.25
"""Pause after a batch that was not full. Events of one batch share the commit, its fsync and the pages of the
rollups: at 1,000 events a second an event of a batch of 250 takes two thirds of the time of one of 100."""
CLAIM_EVERY_S = 30.0
DRAIN_S = 5.0
"""After the stop signal, the time for what is still in the outbox; what remains is read at the next start."""
PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 0.5
SPILL_S = 10.0
"""After so long the database is asked again."""

_log = structlog.get_logger(component="recorder")


class Recorder:
    """One recorder's loop. `monotonic` is a clock in seconds that never steps.

    `trouble` names what it waits for (redis_unavailable, database_unavailable), None while all is well.
    """

    def __init__(
        self,
        outbox: Outbox,
        storage: Storage,
        reaper: Reaper,
        spill: Spill,
        *,
        reap_every_s: float,
        high_water: int = HIGH_WATER,
        idle_s: float = IDLE_MS / 1_000,
        monotonic: Callable[[], float] = time.monotonic,
        observe: Callable[[RecorderCounters], None] = lambda counters: None,
    ) -> None:
        self.counters = RecorderCounters()
        self._outbox = outbox
        self._filing = Filing(storage)
        self._reaper = reaper
        self._spill = spill
        self._reap_every_s = reap_every_s
        self._high_water = high_water
        self._claim_every_s = min(CLAIM_EVERY_S, idle_s / 2)
        self._monotonic = monotonic
        self._observe = observe
        self._held: list[Entry] = []
        self._held_since = 0.0
        self._full = False
        self._recovering = True
        self._taken: TakenSegment | None = None
        self._segments = True
        self._reap_at = self._claim_at = 0.0
        self._spill_fault = ""
        self.trouble: str | None = None
        self._pause_s = PAUSE_MIN_S

    def run(self, stop: threading.Event) -> None:
        """Record until `stop` is set, then for a last moment what is still there."""
        while not stop.is_set():
            well = self._attempt(lambda: self._round(stop)) and self._is_over()
            if well and self.trouble:
                _log.info("resumed", after=self.trouble)
                self.trouble, self._pause_s = None, PAUSE_MIN_S
            if well:
                self.counters.state = "draining" if self._taken is not None else "recording"
            if well or self.trouble == "database_unavailable":  # which reaping does not need
                self._attempt(self._periodic)
            if self.trouble == "database_unavailable":
                self._attempt(lambda: self._relieve(stop))
            if not well:
                stop.wait(self._pause_s)
                self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        deadline = self._monotonic() + DRAIN_S
        while self._monotonic() < deadline and self._attempt(self._drained) and self._held:
            pass
        self._spill.seal()
        if self._taken is not None:
            self._taken.release()
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
            self._forget_held()
            self._lament("redis_unavailable", error)
            return False
        return True

    def _is_over(self) -> bool:
        """Whether what was waited for is there again: a round with nothing to store says nothing of it."""
        return self.trouble != "database_unavailable" or self._attempt(self._filing.probe)

    def _lament(self, trouble: str, error: Exception) -> None:
        if self.trouble != trouble:
            self.trouble = self.counters.state = trouble
            _log.warning(trouble, reason=str(error), kept_entries=len(self._held))
            self._observe(self.counters)

    def _round(self, stop: threading.Event) -> None:
        """Store a batch: of the spill first, then of what is held, else of what is read now.

        While Redis holds more than it should, both have their turn.
        """
        if self._segments and self._drain() and self.counters.backlog <= self._high_water:
            return
        if self._held and self._monotonic() - self._held_since > self._claim_every_s:
            self._forget_held()  # and read again: it shows the others that we live, and us what they took
        if not self._held:
            self._read(None if self._segments else WAIT_MS)
            self._full = len(self._held) >= BATCH_MAX
        if self._held:
            self._record()
            if not self._held and not self._full and not self._recovering and not self._segments:
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
            self._held = self._outbox.fresh(wait_ms, BATCH_MAX)
        self._held_since = self._monotonic()

    def _forget_held(self) -> None:
        """What is held is pending in Redis, and is read again from there."""
        self._held = []
        self._recovering = True

    def _record(self) -> None:
        """Store and settle the next batch of the held entries. Raises as the store and Redis do."""
        batch = self._held[:BATCH_MAX]
        filed = self._filing.file(batch, self._bury)
        self._outbox.settle(filed.stored)
        del self._held[: len(batch)]
        self._count(filed)

    def _drain(self) -> bool:
        """Store the next batch of the oldest segment and delete a finished one; False: there is none for us.

        Raises as the store does, and Redis when something must be buried.
        """
        if self._taken is None:
            self._spill.seal()
            self._taken = self._spill.take()
            if self._taken is None:
                self._segments = False
                return False
        batch = self._taken.next(BATCH_MAX)
        if batch:
            filed = self._filing.file(batch, self._bury_spilled)
            self._taken.position += len(batch)
            self.counters.drained += len(batch)
            self._count(filed)
        if not self._taken.next(1):
            self._spill.finish(self._taken)
            self._taken = None
        return True

    def _relieve(self, stop: threading.Event) -> None:
        """While the database is away: move the oldest entries to the spill if Redis holds too much."""
        water = self._outbox.water()
        self.counters.backlog = water.entries
        if not too_high(water, self._high_water):
            return
        spilled = self.counters.spilled
        deadline = self._monotonic() + SPILL_S
        while not low_enough(water, self._high_water) and not stop.is_set() and self._monotonic() < deadline:
            if not self._held:
                self._read(None)
            if not self._held:
                break  # what is left is in the hands of others
            batch = self._held[: excess(water, self._high_water)]
            try:
                self._spill.put(batch)
            except SpillFailed as error:
                self._tell_state("spill_failed", water, reason=str(error))
                return
            self._segments = True
            self._outbox.settle(batch)
            del self._held[: len(batch)]
            self.counters.spilled += len(batch)
            water = self._outbox.water()
            self.counters.backlog = water.entries
        self._measure_spill()
        if self.counters.spilled > spilled:
            self._tell_state("spilling", water, spilled=self.counters.spilled - spilled)

    def _tell_state(self, state: str, water: Water, **facts: object) -> None:
        """Say once that the backlog is moved to files, or cannot be."""
        if self.counters.state != state:
            self.counters.state = state
            tell = _log.error if state == "spill_failed" else _log.warning
            tell(state, backlog=water.entries, memory_percent=water.memory_percent, **facts)
        self._observe(self.counters)

    def _count(self, filed: Filed) -> None:
        self.counters.recorded += filed.events
        self.counters.duplicates += filed.repeated
        self.counters.conflicts += filed.differing
        self.counters.adjustments += filed.adjustments
        self.counters.notices += filed.notices
        self._observe(self.counters)

    def _bury(self, entry: Entry, reason: str) -> None:
        if self._outbox.bury(entry, reason):
            self._tell_dead(entry, reason)

    def _bury_spilled(self, entry: Entry, reason: str) -> None:
        if self._outbox.bury_spilled(entry, reason):
            self._tell_dead(entry, reason)

    def _tell_dead(self, entry: Entry, reason: str) -> None:
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
            self._measure_spill()
            self._observe(self.counters)
        if now >= self._claim_at and not self._held and not self.trouble:
            self._held = self._outbox.abandoned()
            self._held_since = now
            if not self._held:  # else there may be more of them
                self._claim_at = now + self._claim_every_s
                self._outbox.forget_idle_readers()
                gc.collect()

    def _measure_spill(self) -> None:
        try:
            waiting = self._spill.waiting()
        except OSError as error:
            if str(error) != self._spill_fault:
                self._spill_fault = str(error)
                _log.error("spill_unusable", reason=str(error))
            self._segments = self._taken is not None
            return
        self.counters.waiting_entries, self.counters.waiting_bytes = waiting.entries, waiting.size
        self._segments = waiting.segments > 0 or self._taken is not None
