"""Compares the ledger with the record, row by row, and brings it back to that.

What a row lacks is added at once, since a limit might be passed meanwhile. What it has too much is taken away
by the nightly comparison only: until then it does no more than refuse too early, and a mistake here would
spend money. What a row holds without an open request is freed when two comparisons in a row found it so.
Rows that say what no row says too (free rates, concurrency of nobody) are removed.

The work of one shard is cut into steps, each of which leaves the ledger right, so that whoever calls can do
something else in between; each command keeps the server for less than a few milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from budgets.client import SyncClient, clock_us
from budgets.counted import LimitIndex
from budgets.drift import Comparison, Drift, Group, Place, Seen, compare, groups, walk
from budgets.holds import held_by_open, set_holds
from budgets.movements import NOTHING_SPILLED, Spilled
from budgets.names import ShardNames, names_on
from budgets.running import run_script
from budgets.scripts import ADJUST, PRUNE
from budgets.seed import ends_of
from metering.eventstore import EventStore

BACKLOG_MAX = 20_000
"""With more entries waiting to be recorded than this, a shard is compared when they are."""
TRACES_MAX = 20_000
"""With more traces than this, they are compared at night only."""
SHARE = 50
"""At most a fiftieth of the time is spent on comparing one shard; where that is large, less often."""
CORRECTED_AT_ONCE = 200
BUDGET_S = 0.2
"""Of each call of `advance`."""
TOLD_MAX = 20
"""Corrections of one comparison that are logged one by one."""
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ReconcileCounters:
    """What was compared since the start. Amounts are of money, nano-USD.

    `compared` rows; `unsure` ones, which moved too fast to tell; `skipped` comparisons, for a backlog.
    `raised` rows lacked something, `up_nano` in all; `lowered` ones had too much, `down_nano`; `freed` ones
    held for nobody, or too little. `waiting_nano`: what rows have too much now, until the night.
    """

    compared: int = 0
    unsure: int = 0
    skipped: int = 0
    raised: int = 0
    lowered: int = 0
    freed: int = 0
    pruned: int = 0
    up_nano: int = 0
    down_nano: int = 0
    waiting_nano: int = 0


class Reconciler:
    """Compares each shard once in `every_s`; the first time in the hour `nightly_hour` (UTC) lowers rows too.

    `now_ms` is a wall clock, of which only day and hour are read. `budget_s`: for one call of `advance`.
    """

    def __init__(
        self,
        redis: SyncClient,
        store: EventStore,
        *,
        every_s: float = 60.0,
        nightly_hour: int = 3,
        budget_s: float = BUDGET_S,
        spilled: Spilled = NOTHING_SPILLED,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        counters: ReconcileCounters | None = None,
    ) -> None:
        self.counters = counters or ReconcileCounters()
        self._redis: Any = redis  # redis-py types every reply as maybe awaitable
        self._store = store
        self._every_ms = int(every_s * 1_000)
        self._nightly_hour = nightly_hour
        self._budget_s = budget_s
        self._spilled = spilled
        self._now_ms = now_ms
        self._due: dict[str, int] = {}
        self._running: dict[str, _Work] = {}
        self._lowered_on: dict[str, int] = {}
        self._suspects: dict[str, set[Place]] = {}
        self._many_traces: set[str] = set()
        self._waiting: dict[str, int] = {}

    def forget(self, shard: str) -> None:
        """The shard is made whole anew: what was seen of it says nothing any more."""
        self._running.pop(shard, None)
        self._suspects.pop(shard, None)

    def hurry(self, shard: str) -> None:
        """The shard is to be compared now, from the beginning: something came to light that it may lack."""
        self._running.pop(shard, None)
        self._due[shard] = 0

    def advance(
        self,
        shards: Sequence[str],
        indexes_of: Callable[[str], Sequence[LimitIndex]],
        monotonic_ms: int,
    ) -> None:
        """Go on with what is due of these shards until the budget is used up; at least one step.

        Each shard's first comparison is due when the time between two has passed. Raises as the store and
        Redis do.
        """
        deadline = time.perf_counter() + self._budget_s
        for shard in shards:
            work = self._running.get(shard)
            if work is None:
                if monotonic_ms < self._due.setdefault(shard, monotonic_ms + self._every_ms):
                    continue
                steps = self._compare_shard(shard, indexes_of(shard), self._is_night(shard))
                work = self._running[shard] = _Work(steps)
            self._due[shard] = monotonic_ms + self._every_ms  # also when this fails
            try:
                done = work.go_on(deadline)
            except BaseException:
                del self._running[shard]
                raise
            if not done:
                return
            del self._running[shard]
            self._due[shard] = monotonic_ms + max(self._every_ms, int(work.used_s * 1_000 * SHARE))
            if time.perf_counter() > deadline:
                return

    def compare_now(self, shard: str, indexes: Sequence[LimitIndex], *, nightly: bool = False) -> None:
        """Compare the shard, all at once. Raises as the store and Redis do."""
        self._running.pop(shard, None)
        for _ in self._compare_shard(shard, indexes, nightly):
            pass

    def _is_night(self, shard: str) -> bool:
        moment = datetime.fromtimestamp(self._now_ms() / 1_000, UTC)
        return moment.hour == self._nightly_hour and self._lowered_on.get(shard) != moment.toordinal()

    def _compare_shard(self, shard: str, indexes: Sequence[LimitIndex], nightly: bool) -> Iterator[None]:
        names, redis = names_on(shard), self._redis
        if redis.xlen(names.outbox) > BACKLOG_MAX:
            self.counters.skipped += 1
            return
        since = redis.hget(names.meta, "complete_since")
        by_account = {index.account_id: index for index in indexes}
        now_ms = clock_us(redis, names.meta) // 1_000
        held = held_by_open(redis, names)
        suspects: set[Place] = set()
        waiting = 0
        for group in groups(names, indexes, now_ms):
            if group.hash is None and shard in self._many_traces and not nightly:
                continue
            found = compare(redis, names, self._store, by_account, group, now_ms, self._spilled)
            if since is None or redis.hget(names.meta, "complete_since") != since:
                return  # it is made whole anew, which says more
            waiting += self._correct(names, found, nightly)
            suspects |= _misheld(found.seen, held, group)
            if group.hash is None:
                (self._many_traces.add if len(found.seen) > TRACES_MAX else self._many_traces.discard)(shard)
            yield
        suspects |= self._look_at_running(names, held)
        yield
        self._prune_rates(names)
        self._free(names, suspects & self._suspects.get(shard, set()))
        self._suspects[shard] = suspects
        self._waiting[shard] = waiting
        self.counters.waiting_nano = sum(self._waiting.values())
        if nightly:
            self._lowered_on[shard] = datetime.fromtimestamp(self._now_ms() / 1_000, UTC).toordinal()

    def _correct(self, names: ShardNames, found: Comparison, nightly: bool) -> int:
        """Correct what may be corrected now; the money that rows go on having too much, nano-USD."""
        counters, waiting = self.counters, 0
        counters.compared += found.compared
        counters.unsure += found.unsure
        wanted: list[tuple[Drift, int, int]] = []
        for drift in found.drifts:
            spent = drift.spent if nightly else max(0, drift.spent)
            doubted = drift.doubted if nightly else max(0, drift.doubted)
            if drift.limit.kind == "money":
                waiting += spent - drift.spent + doubted - drift.doubted
            if spent or doubted or not found.seen[drift.place].fit:
                wanted.append((drift, spent, doubted))
        for start in range(0, len(wanted), CORRECTED_AT_ONCE):
            self._write(names, wanted[start : start + CORRECTED_AT_ONCE])
        for drift, spent, doubted in wanted[:TOLD_MAX]:
            _log.warning(
                "row_corrected",
                limit=drift.limit.id,
                row=drift.place[1],
                window=drift.window.id,
                kind=drift.limit.kind,
                spent_added=spent,
                doubted_added=doubted,
            )
        if len(wanted) > TOLD_MAX:
            _log.warning("more_rows_corrected", count=len(wanted) - TOLD_MAX)
        self._free(names, [drift.place for drift, _, _ in wanted if not found.seen[drift.place].fit])
        return waiting

    def _write(self, names: ShardNames, wanted: Sequence[tuple[Drift, int, int]]) -> None:
        keys = (names.meta, names.outbox, names.meta, *(drift.place[0] for drift, _, _ in wanted))
        args: list[Any] = ["0", "", "1"]
        for drift, spent, doubted in wanted:
            args += (drift.place[1], spent, doubted, ends_of(drift.limit, drift.window))
        if run_script(self._redis, ADJUST, keys, args) != b"OK":
            return
        for drift, spent, doubted in wanted:
            lowered = min(spent, doubted) < 0
            self.counters.lowered += lowered
            self.counters.raised += not lowered or max(spent, doubted) > 0
            if drift.limit.kind == "money":
                self.counters.up_nano += max(spent, 0) + max(doubted, 0)
                self.counters.down_nano -= min(spent, 0) + min(doubted, 0)

    def _look_at_running(self, names: ShardNames, held: Mapping[Place, int]) -> set[Place]:
        """Rows of concurrency: which may be wrong, and away with those of nobody."""
        seen = dict(walk(self._redis, names, names.now))
        idle = [place[1] for place, row in seen.items() if row.fit and not row.reserved]
        self._prune(names.now, "counters", idle)
        self._free(names, [place for place, row in seen.items() if not row.fit])
        return _misheld(seen, held, Group(names.now))

    def _prune_rates(self, names: ShardNames) -> None:
        now_us = clock_us(self._redis, names.meta)
        cursor: Any = 0
        while True:
            cursor, found = self._redis.hscan(names.rates, cursor, count=CORRECTED_AT_ONCE)
            self._prune(names.rates, "rates", [name for name, at in found.items() if _is_past(at, now_us)])
            if not cursor:
                return

    def _prune(self, name: str, kind: str, fields: Sequence[str | bytes]) -> None:
        for start in range(0, len(fields), CORRECTED_AT_ONCE):
            batch = fields[start : start + CORRECTED_AT_ONCE]
            self.counters.pruned += run_script(self._redis, PRUNE, (name,), (kind, *batch))

    def _free(self, names: ShardNames, places: Collection[Place]) -> None:
        """Set what these rows say is reserved to what open requests hold."""
        if not places:
            return
        surplus = set_holds(self._redis, names, sorted(places))
        if surplus is None:
            _log.info("holds_not_compared", shard=names.shard, rows=len(places), reason="many requests run")
            return
        for (name, field), amount in surplus.items():
            if amount:
                self.counters.freed += 1
                _log.warning("hold_corrected", row=field, hash=name, reserved_removed=amount)


class _Work:
    """One comparison under way, and the processor time that it has taken."""

    def __init__(self, steps: Iterator[None]) -> None:
        self.used_s = 0.0
        self._steps = steps

    def go_on(self, deadline: float) -> bool:
        """Take steps until the deadline; True when it is done."""
        began = time.process_time()
        try:
            return all(time.perf_counter() <= deadline for _ in self._steps)
        finally:
            self.used_s += time.process_time() - began


def _misheld(seen: Mapping[Place, Seen], held: Mapping[Place, int], group: Group) -> set[Place]:
    """Rows that say another sum of holds than the open requests that were looked at."""
    wrong = {place for place, row in seen.items() if row.reserved != held.get(place, 0)}
    wrong.update(place for place in held if place[0] == group.hash and place not in seen)
    return wrong


def _is_past(arrival: bytes, now_us: int) -> bool:
    return not arrival.isdigit() or int(arrival) <= now_us
