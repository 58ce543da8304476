"""Makes an empty or doubtful shard of the ledger whole again, from what is recorded.

A shard knows all that was spent since `complete_since`, on the server run that `run_id` names. Where that
does not hold (a new server, a flush, a restart, a failover) `open` answers COLD, until `seed_shard` has
written the counters of every present window: what the event store counts, and what has ended and is not
stored yet. Holds come from the open records that are there at the end; records of requests that have an
event by then are ended, because it was their close that got lost. Rows of past windows stay as they
are, and rates begin anew.

What journals keep is not counted here: when it is replayed, the close adds it wherever the ledger cannot
know it yet.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from budgets.batch import MARKER_MS as BATCH_MARKER_MS
from budgets.client import clock_us
from budgets.closing import MARKER_MS
from budgets.counted import LimitIndex, amounts
from budgets.limit import AMOUNT_MAX, LimitTerms
from budgets.movements import NOTHING_SPILLED, Movements, Spilled
from budgets.names import ShardNames, names_on
from budgets.rowset import place_of
from budgets.running import run_script
from budgets.scripts import DROP, SEED, SEED_ROWS
from budgets.tally import tally
from budgets.window import FOREVER_MS, Window
from metering.eventstore import EventStore
from metering.snapshot import Snapshot

LOCK_MS = 3_000
"""Renewed with each write. It spares double work only (who does not have it writes nothing), so one that a
killed process leaves must not keep the ledger away for long."""
ROUNDS_MAX = 200
"""What ends meanwhile is counted too: each round takes in what ended during the one before."""
ROWS_AT_ONCE = 1_000
"""Rows, or forgotten hashes, in one script call: less than a millisecond of the server's time."""
RECORDS_AT_ONCE = 200
"""Open records in one script call: each takes the server about 6 us."""

ROW = struct.Struct("<3q")
_NEVER, _AFTER_LAST_USE = "0", "-1"
_UNMARKED = "-"
_UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_log = structlog.get_logger(__name__)


class SeedError(Exception):
    """The shard could not be made whole now; the text says why. It may be tried again."""


class _MadeWhole(Exception):
    """Another process was faster."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """A shard that is whole now: how many rows were written, and in how many rounds."""

    rows: int
    rounds: int


def seed_shard(
    redis: Any,
    shard: str,
    indexes: Sequence[LimitIndex],
    store: EventStore,
    *,
    run_id: str,
    mark: str | None = None,
    spilled: Spilled = NOTHING_SPILLED,
) -> Seeded | None:
    """Write the rows of all limits of the shard's accounts and end its coldness; None if it is whole.

    `indexes`: of every account on the shard, published already. `run_id`: of the server that has the shard.
    `mark`: a field of its meta hash that was set before that was published, and is gone if it is.
    Only one process seeds a shard at a time. Raises SeedError when another one is at it, when the server is
    emptied meanwhile, or when requests end faster than they can be counted;
    metering.eventstore.StoreUnavailable; redis.RedisError.
    """
    names = names_on(shard)
    seeding = _Seeding(redis, names, indexes)
    seeding.lock()
    try:
        if is_whole(redis, names, run_id):
            return None
        seeding.begin(mark)
        with store.snapshot() as snapshot:
            seeding.count_record(snapshot)
            movements = Movements(redis, names, store, snapshot, spilled)
        for round_number in range(1, ROUNDS_MAX + 1):
            movements.read_outbox()
            movements.read_record()
            changed = seeding.count(movements)
            seeding.mark(movements)
            seeding.write(None if round_number == 1 else changed)
            seeding.drop_ended(store, movements)
            if seeding.end(movements.last_id):
                return Seeded(seeding.rows_written, round_number)
    except _MadeWhole:
        return None
    finally:
        seeding.unlock()
    raise SeedError(f"requests on shard {shard} end faster than they can be counted")


def is_whole(redis: Any, names: ShardNames, run_id: str) -> bool:
    """Whether the shard was made whole on this run of its server."""
    since, seeded_on = redis.hmget(names.meta, "complete_since", "run_id")
    return since is not None and seeded_on == run_id.encode()


def ends_of(limit: LimitTerms, window: Window) -> str:
    """When the hash of the limit's rows expires, as the scripts take it: ms, 0 never, -1 after its use."""
    if limit.scope == "trace":
        return _AFTER_LAST_USE
    return _NEVER if window.end_ms == FOREVER_MS else str(window.end_ms)


class _Seeding:
    """One seeder's work on one shard: the rows as they are to be, and the lock to write them under."""

    def __init__(self, redis: Any, names: ShardNames, indexes: Sequence[LimitIndex]) -> None:
        self.rows_written = 0
        self._redis = redis
        self._names = names
        self._indexes: Mapping[str, LimitIndex] = {index.account_id: index for index in indexes}
        self._token = secrets.token_hex(16)
        self._now_ms = 0
        self._rows: dict[str, dict[str, list[int]]] = {}  # hash -> field -> [spent, doubted]
        self._ends: dict[str, str] = {}
        self._counted: set[str] = set()
        self._looked_at: set[str] = set()
        self._marks: set[str] = set()
        self._marked = {limit.id: limit for index in indexes for limit in index.limits if limit.thresholds}

    def lock(self) -> None:
        if not self._redis.set(self._names.seeding, self._token, nx=True, px=LOCK_MS):
            raise SeedError(f"another process is making shard {self._names.shard} whole; try again")

    def unlock(self) -> None:
        self._redis.eval(_UNLOCK, 1, self._names.seeding, self._token)

    def begin(self, mark: str | None) -> None:
        """From here on the shard is not whole, and the rows of its present windows are gone."""
        self._now_ms = clock_us(self._redis, self._names.meta) // 1_000
        hashes = dict.fromkeys([self._names.now])
        for index in self._indexes.values():
            for limit in index.limits:
                if limit.scope != "trace":  # a trace's rows are written over
                    hashes[place_of(limit, "", index.account_id, self._now_ms).hash] = None
        self._put([], [], first=mark or _UNMARKED)
        listed = list(hashes)
        for start in range(0, len(listed), ROWS_AT_ONCE):
            batch = listed[start : start + ROWS_AT_ONCE]
            self._put(batch, [part for _ in batch for part in (0, _NEVER)])

    def count_record(self, snapshot: Snapshot) -> None:
        """Sum what is recorded."""
        for index in self._indexes.values():
            for part in tally(snapshot, index, index.limits, self._now_ms):
                for name, field, spent, doubted in part.lines():
                    self._row(name, field, ends_of(part.limit, part.window))[:] = spent, doubted

    def count(self, movements: Movements) -> dict[str, set[str]]:
        """Add what was met since the last round; gives the fields of each hash that changed."""
        changed: dict[str, set[str]] = {}
        for name, movement in movements.found.items():
            index = self._indexes.get(movement.counted.of.account_id)
            if name in self._counted or index is None:
                continue
            self._counted.add(name)
            for row in index.rows(movement.counted):
                if row.window.end_ms > self._now_ms:  # rows of past windows are left alone
                    spent, doubted = amounts(row.limit.kind, movement.counted)
                    line = self._row(row.hash, row.field, ends_of(row.limit, row.window))
                    line[0] += spent
                    line[1] += doubted
                    changed.setdefault(row.hash, set()).add(row.field)
        return changed

    def mark(self, movements: Movements) -> None:
        """Leave the markers of batches that are counted here, which went with the memory: an entry that is in
        a file survived it, and its batch may be told again before that is recorded."""
        for marker in sorted(movements.markers - self._marks):
            self._redis.set(marker, "1", px=BATCH_MARKER_MS)
        self._marks |= movements.markers

    def write(self, changed: Mapping[str, Iterable[str]] | None) -> None:
        """Write these rows, by default all."""
        keys: list[str] = []
        args: list[Any] = []
        for name in self._rows if changed is None else changed:
            fields = self._rows[name] if changed is None else changed[name]
            for pairs in self._contents(name, fields):
                keys.append(name)
                args += (len(pairs) // 2, self._ends[name], *pairs)
                if len(args) >= 2 * ROWS_AT_ONCE:
                    self._put(keys, args)
                    keys, args = [], []
        if keys:
            self._put(keys, args)

    def drop_ended(self, store: EventStore, movements: Movements) -> None:
        """End the open records of requests that have an event: their close was lost, and counts by that.

        Without this they would hold money until their leases end, and be ended a second time then.
        """
        names = self._names
        found = [each.decode() for each in self._redis.zrange(names.leases, 0, -1)]
        new = [request_id for request_id in found if request_id not in self._looked_at]
        self._looked_at.update(new)
        stored = store.recorded(new)
        ended = [each for each in new if each in stored or each in movements.found]
        for start in range(0, len(ended), RECORDS_AT_ONCE):
            batch = ended[start : start + RECORDS_AT_ONCE]
            keys = (names.seeding, names.leases, *(names.open + request_id for request_id in batch))
            given = (self._token, MARKER_MS, names.base, *batch)
            while (answer := run_script(self._redis, DROP, keys, given)) == b"LOST":
                self.lock()
            if answer:
                _log.warning("ended_records_dropped", shard=names.shard, count=answer)

    def end(self, last_id: str) -> bool:
        """Add what running requests hold and let requests in; False when one has ended since `last_id`."""
        names = self._names
        keys = (names.meta, names.leases, names.outbox, names.seeding)
        answer = run_script(self._redis, SEED, keys, (self._token, last_id, names.base, names.open))
        if answer == b"LOST":
            self.lock()
        self._check_memory(answer)
        return bool(answer == b"SEEDED")

    def _row(self, name: str, field: str, ends: str) -> list[int]:
        rows = self._rows.get(name)
        if rows is None:
            rows, self._ends[name] = self._rows.setdefault(name, {}), ends
        return rows.setdefault(field, [0, 0])

    def _contents(self, name: str, fields: Iterable[str]) -> Iterator[list[Any]]:
        """Names and contents of these rows, in handy portions."""
        rows, pairs = self._rows[name], list[Any]()
        for field in fields:
            spent, doubted = rows[field]
            self.rows_written += 1
            pairs += (field, ROW.pack(self._exact(field, spent), 0, self._exact(field, doubted)))
            if self._marked:
                pairs += self._mark(field, spent)
            if len(pairs) >= 2 * ROWS_AT_ONCE:
                yield pairs
                pairs = []
        if pairs:
            yield pairs

    def _mark(self, field: str, spent: int) -> tuple[Any, ...]:
        """What a limit's row has crossed was told when it was crossed; it is not told again."""
        limit = self._marked.get(field.partition(":")[0])
        told = [mark for mark in limit.thresholds if 100 * spent >= mark * limit.value] if limit else []
        return (f"!{field}", told[-1]) if told else ()

    def _exact(self, field: str, amount: int) -> int:
        """The amount, or the nearest that the ledger counts exactly: a bound in doubt must still refuse."""
        if not 0 <= amount <= AMOUNT_MAX:
            _log.error("row_beyond_exact_arithmetic", row=field, amount=amount)
            return min(max(amount, 0), AMOUNT_MAX)
        return amount

    def _put(self, hashes: Sequence[str], args: Sequence[Any], *, first: str = "") -> None:
        keys = (self._names.seeding, self._names.meta, *hashes)
        given = (self._token, LOCK_MS, first, *args)
        while (answer := run_script(self._redis, SEED_ROWS, keys, given)) == b"LOST":
            self.lock()  # it ran out during a long sum; ours again, unless another process took over
        if answer == b"WHOLE":
            raise _MadeWhole
        self._check_memory(answer)

    def _check_memory(self, answer: Any) -> None:
        if answer == b"GONE":
            raise SeedError(f"shard {self._names.shard} lost its memory while it was made whole")
