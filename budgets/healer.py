"""Healer: keeps the ledger whole and true, shard by shard, beside whatever else its process does.

A shard that is not whole on the run of its server has lost its memory, or may have. Its keys and limits are
published again at once; running requests are put back by their workers, who notice by themselves and have
a moment of grace for it; then it is seeded. While every shard is whole, those that accounts use are compared
with the record.
A pass never waits: it does what can be done now, and the next one goes on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from redis.exceptions import RedisError

from budgets.client import SyncClient, server_of_name
from budgets.counted import LimitIndex
from budgets.movements import NOTHING_SPILLED, Spilled
from budgets.names import all_shards, names_on, shard_of
from budgets.reconcile import ReconcileCounters, Reconciler
from budgets.seed import SeedError, seed_shard
from budgets.shardpipeline import LedgerCluster
from metering.eventstore import EventStore

GRACE_S = 0.8
"""Workers look at their server every 0.4 s, and tell at once what it may have forgotten."""
UNUSED_GRACE_MS = 3_000
"""A shard without accounts is made whole, too, so that one to come is served from its first request; but late
enough for the list of accounts to name all that were made before the memory was lost."""
LOOK_EVERY_MS = 200
CHECK_EVERY_MS = 60_000
"""How often the limits in force are compared with the recorded ones: a command may not have reached Redis."""
CHECK_AGAIN_MS = 5_000
"""The same, where publishing has failed."""
VALUES_AT_ONCE = 1_000
_METAS = """
local metas = {}
for i, name in ipairs(KEYS) do metas[i] = redis.call('HMGET', name, unpack(ARGV)) end
return metas
"""
_META = ("complete_since", "run_id", "unsure")
_log = structlog.get_logger(__name__)


class Terms(Protocol):
    """The record of limits. Its errors go to the caller."""

    def accounts(self) -> Sequence[str]:
        """Every account."""

    def index(self, account_id: str) -> LimitIndex:
        """All limits of the account as they are now."""


@dataclass(slots=True)
class HealerCounters:
    """What was healed since the start, of shards that accounts use. `cold`: those that are not whole now;
    `cold_ms`: how long those were that were seeded here. `republished`: limits in force were not the recorded
    ones, or gone. `reconcile`: of the comparisons.
    """

    reseeds: int = 0
    cold: int = 0
    cold_ms: int = 0
    rows_seeded: int = 0
    republished: int = 0
    reconcile: ReconcileCounters = field(default_factory=ReconcileCounters)


@dataclass(slots=True)
class _Cold:
    """A shard that is not whole, by our monotonic clock: since when, and since when with this memory, on this
    run of its server; and whether keys and limits were published into that."""

    since_ms: int
    noticed_ms: int
    run_id: str
    published: bool = False


class Healer:
    """One suffices; several do no harm: a lock lets one seed, and corrections are of what was found.

    `republish` puts every key and limit in force again. `grace_s`: from noticing to seeding.
    """

    def __init__(
        self,
        redis: SyncClient,
        store: EventStore,
        terms: Terms,
        republish: Callable[[], object],
        *,
        grace_s: float = GRACE_S,
        spilled: Spilled = NOTHING_SPILLED,
        reconciler: Reconciler | None = None,
        counters: HealerCounters | None = None,
    ) -> None:
        self.reconciler = reconciler or Reconciler(redis, store, spilled=spilled)
        self.counters = counters or HealerCounters(reconcile=self.reconciler.counters)
        self._redis: Any = redis  # redis-py types every reply as maybe awaitable
        self._store = store
        self._terms = terms
        self._republish = republish
        self._grace_ms = int(grace_s * 1_000)
        self._spilled = spilled
        self._cold: dict[str, _Cold] = {}
        self._mark = f"published:{secrets.token_hex(4)}"
        self._look_at_ms = self._check_at_ms = 0

    def pass_once(self, monotonic_ms: int) -> None:
        """Do what can be done now. To be called often, with a clock that never steps: looking costs little.

        Raises redis.RedisError, metering.eventstore.StoreUnavailable; the next pass goes on.
        """
        if monotonic_ms < self._look_at_ms:
            return
        self._look_at_ms = monotonic_ms + LOOK_EVERY_MS
        shards: dict[str, list[str]] = {shard: [] for shard in all_shards()}
        for account_id in self._terms.accounts():
            shards[shard_of(account_id)].append(account_id)
        runs = self._look(shards, monotonic_ms)
        if any(shard in runs for shard in self._cold):
            self._warm(shards, runs, monotonic_ms)
            if any(shards[shard] for shard in self._cold):
                return
        if monotonic_ms >= self._check_at_ms:
            self._check_at_ms = monotonic_ms + CHECK_AGAIN_MS
            if not all(self._is_published(shard, self._indexes(shards[shard])) for shard in runs):
                self._republish()
                _log.warning("published_again", reason="values in force were not those that are recorded")
                self.counters.republished += 1
            self._check_at_ms = monotonic_ms + CHECK_EVERY_MS
        warm = [shard for shard in runs if shards[shard] and shard not in self._cold]
        self.reconciler.advance(warm, lambda shard: self._indexes(shards[shard]), monotonic_ms)

    def _is_published(self, shard: str, indexes: Sequence[LimitIndex]) -> bool:
        """Whether the limits in force are those that are recorded, with their values."""
        names = names_on(shard)
        for index in indexes:
            if not self._redis.exists(names.account + index.account_id):
                return False
            recorded = list(index.values.items())
            for start in range(0, len(recorded), VALUES_AT_ONCE):
                batch = recorded[start : start + VALUES_AT_ONCE]
                found = self._redis.hmget(names.limits, [name for name, _ in batch])
                if any(text != b"%d" % value for (_, value), text in zip(batch, found, strict=True)):
                    return False
        return True

    def _indexes(self, accounts: Sequence[str]) -> list[LimitIndex]:
        return [self._terms.index(account_id) for account_id in accounts]

    def _look(self, shards: Mapping[str, Sequence[str]], monotonic_ms: int) -> dict[str, str]:
        """Note which shards are not whole; gives the run id of each one's server. A server that cannot be
        reached keeps nobody else from being healed."""
        servers: dict[int, str | None] = {}
        runs: dict[str, str] = {}
        fault: RedisError | None = None
        for shard in shards:
            try:
                server: Any = server_of_name(self._redis, names_on(shard).meta)
                if id(server) not in servers:
                    servers[id(server)] = None
                    servers[id(server)] = server.info("server")["run_id"]
            except RedisError as error:
                fault = error
                continue
            run_id = servers[id(server)]
            if run_id is not None:
                runs[shard] = run_id
        if fault is not None and not runs:
            raise fault
        for shard, meta in self._metas(list(runs)):
            if meta is None:
                del runs[shard]
                continue
            since, seeded_on, unsure, mark = meta
            if since is not None and seeded_on == runs[shard].encode():
                if self._cold.pop(shard, None) is not None or mark is not None:
                    self._redis.hdel(names_on(shard).meta, self._mark)
                if unsure is not None:
                    self._redis.hdel(names_on(shard).meta, "unsure")
                    self.reconciler.hurry(shard)
            else:
                noted = self._note_cold(shard, runs[shard], mark is not None, monotonic_ms)
                if noted and shards[shard]:
                    _log.warning("shard_cold", shard=shard, lost=since is None)
        self._count_cold(shards)
        return runs

    def _note_cold(self, shard: str, run_id: str, marked: bool, monotonic_ms: int) -> bool:
        """A grace begins with each memory: with each run of the server, and when that was emptied. Gives
        whether one began."""
        known = self._cold.get(shard)
        if known is not None and known.run_id == run_id and (marked or not known.published):
            return False
        since_ms = monotonic_ms if known is None else known.since_ms
        self._cold[shard] = _Cold(since_ms, monotonic_ms, run_id)
        self.reconciler.forget(shard)
        return True

    def _count_cold(self, shards: Mapping[str, Sequence[str]]) -> None:
        self.counters.cold = sum(1 for shard in self._cold if shards[shard])

    def _metas(self, shards: Sequence[str]) -> Iterator[tuple[str, list[bytes | None] | None]]:
        """What each shard says of itself (_META); None for one that cannot be asked now."""
        names = [names_on(shard).meta for shard in shards]
        if isinstance(self._redis, LedgerCluster):
            pipeline = self._redis.pipeline(transaction=False)
            for name in names:
                pipeline.hmget(name, *_META, self._mark)
            metas = pipeline.execute(raise_on_error=False)
        else:  # where all are on one server, one command is a tenth of the work
            metas = self._redis.eval(_METAS, len(names), *names, *_META, self._mark)
        for shard, meta in zip(shards, metas, strict=True):
            yield shard, None if isinstance(meta, Exception) else meta

    def _warm(self, shards: Mapping[str, Sequence[str]], runs: Mapping[str, str], monotonic_ms: int) -> None:
        if not all(cold.published for cold in self._cold.values()):
            # A mark first: where it is still there afterwards, all lies in the memory that it lies in.
            marked = [(shard, cold) for shard, cold in self._cold.items() if runs.get(shard) == cold.run_id]
            for shard, cold in marked:
                self._redis.hset(names_on(shard).meta, self._mark, cold.run_id)
            self._republish()
            for _, cold in marked:
                cold.published = True
        for shard, cold in list(self._cold.items()):
            if not cold.published or shard not in runs:
                continue
            grace_ms = self._grace_ms if shards[shard] else max(self._grace_ms, UNUSED_GRACE_MS)
            if monotonic_ms - cold.noticed_ms < grace_ms:
                continue
            try:
                seeded = seed_shard(
                    self._redis,
                    shard,
                    self._indexes(shards[shard]),
                    self._store,
                    run_id=runs[shard],
                    mark=self._mark,
                    spilled=self._spilled,
                )
            except SeedError as error:
                _log.warning("shard_not_seeded", shard=shard, reason=str(error))
                continue
            del self._cold[shard]
            self._count_cold(shards)
            if seeded is not None and shards[shard]:
                self.counters.reseeds += 1
                self.counters.rows_seeded += seeded.rows
                self.counters.cold_ms += monotonic_ms - cold.since_ms
                _log.warning("shard_seeded", shard=shard, rows=seeded.rows, rounds=seeded.rounds)
