"""Brings recorded reports onto the rows of limits, each batch once.

What cannot be counted now (the ledger is away, or this process was killed in between) stands in the record as
not counted, and is told again from there. The recorder takes it from that list when the ledger's outbox says
that it was counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from redis.exceptions import RedisError

from accounts.plan import PlanLimit
from accounts.publishing import Publisher
from budgets.batch import Batch, decode_batch
from budgets.client import SyncClient
from budgets.counted import Counted, LimitIndex
from budgets.counting import count_batch
from budgets.limit import LimitTerms
from gateway.ingest.metrics import UNCOUNTED, counted_exceeding
from gateway.ingest.recording import Recorded
from metering.eventstore import EventStore

AGAIN_S = 30.0
"""What has been told is told again after so long, in case the ledger has lost it."""
AT_ONCE = 500
PAUSE_S = 1.0
"""After the ledger could not be reached, before it is tried again: who reports must not wait for that."""
BEHIND_MAX = 500
"""So many batches may stand as not counted before reports are told to come later: limits that are a hundred
thousand events behind say nothing any more."""

log = structlog.get_logger(component="ingest")
IndexOf = Callable[[str], LimitIndex]


class Counting:
    """Counts batches of any account; used in one thread. `index`: an account's limits, as the record has
    them now. `publisher` publishes customers that reports have made."""

    def __init__(
        self,
        store: EventStore,
        redis: SyncClient,
        index: IndexOf,
        publisher: Publisher,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._redis = redis
        self._index = index
        self._publisher = publisher
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._told: dict[str, float] = {}
        self._unpublished: dict[str, set[str]] = {}
        self._first: set[str] = set()
        self._away_until: float | None = None
        self._waiting = 0

    @property
    def behind(self) -> bool:
        """Whether so much stands as not counted that no more should be taken."""
        return self._waiting > BEHIND_MAX

    def count(self, recorded: Recorded) -> frozenset[str] | None:
        """Count these batches; gives the ids of events that are beyond a hard limit, None where that cannot
        be known now."""
        for account_id, newcomers in recorded.newcomers.items():
            if newcomers.customers:
                self._unpublished.setdefault(account_id, set()).update(newcomers.customers)
            if newcomers.first:
                self._first.add(account_id)
        if self._away_until is not None and self._monotonic() < self._away_until:
            self._waiting += len(recorded.batches)
            return None
        exceeding: set[str] = set()
        known = True
        counted = 0
        try:
            for batch in recorded.batches:
                found = self._count(batch, recorded.limits)
                known = known and found is not None
                exceeding |= found or frozenset()
                counted += 1
            self._publish()
            self._away_until = None
        except RedisError as error:
            self._lament(error)
            self._waiting += len(recorded.batches) - counted
            known = False
        counted_exceeding(len(exceeding))
        return frozenset(exceeding) if known else None

    def recount(self) -> int:
        """Tell the ledger what stands as not counted and was not told lately, and publish what could not be;
        gives the number of batches told. Raises StoreUnavailable."""
        with self._store.snapshot() as snapshot:
            waiting = snapshot.uncounted
        self._waiting = len(waiting)
        UNCOUNTED.set(len(waiting))
        now = self._monotonic()
        names = {each.id for each in waiting}
        self._told = {name: at for name, at in self._told.items() if name in names}
        due = [each for each in waiting if now - self._told.get(each.id, -AGAIN_S) >= AGAIN_S][:AT_ONCE]
        told = 0
        try:
            for each in due:
                self._count(decode_batch(each.document), {})
                told += 1
            self._publish()
            self._away_until = None
        except RedisError as error:
            self._lament(error)
        return told

    def _count(self, batch: Batch, limits: Mapping[str, Sequence[PlanLimit]]) -> frozenset[str] | None:
        def own(counted: Counted) -> Sequence[LimitTerms]:
            return limits.get(counted.id, ())

        done = count_batch(self._redis, self._index(batch.account_id), batch, own, self._now_ms())
        self._told[batch.id] = self._monotonic()
        return done.exceeding

    def _publish(self) -> None:
        for account_id, customers in list(self._unpublished.items()):
            self._publisher.publish_customers(account_id, sorted(customers))
            if account_id in self._first:
                self._publisher.publish(account_id)
                self._first.discard(account_id)
            del self._unpublished[account_id]

    def _lament(self, error: Exception) -> None:
        if self._away_until is None:
            log.warning("ledger_unavailable", reason=str(error))
        self._away_until = self._monotonic() + PAUSE_S
