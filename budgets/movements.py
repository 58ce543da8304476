"""Movements: what the ledger has counted and a snapshot of the record has not.

An event goes from the ledger's outbox to the event store, sometimes through files, while others look. Who
reads in the direction of the traffic (outbox, files, what was stored since the snapshot) meets each one at
least once, and by its id counts it once. Entries of an outbox are told with their place in it: the step that
settles a request's rows also appends its event, so rows read together with the outbox's last id contain
exactly the entries up to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from budgets.batch import Batch, BatchError, decode_batch
from budgets.counted import Counted, counted_adjustment, counted_event
from budgets.names import ShardNames, shard_of
from metering.adjustment import Adjustment, AdjustmentError, decode_adjustment
from metering.event import GATEWAY, CostEvent, EventError, decode
from metering.eventstore import EventStore
from metering.snapshot import Snapshot

EntryId = tuple[int, int]
BEFORE: EntryId = (0, 0)
"""The place of what had ended before anything of the ledger was read."""
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Spilled:
    """Encoded events, adjustments and batches that have left Redis for files and are not stored yet, all or
    some.

    `state` is equal to what it was as long as there are no others; by default it never is.
    """

    events: Callable[[], Iterable[bytes]] = tuple
    adjustments: Callable[[], Iterable[bytes]] = tuple
    state: Callable[[], object] = object
    batches: Callable[[], Iterable[bytes]] = tuple


NOTHING_SPILLED = Spilled(state=tuple)


@dataclass(frozen=True, slots=True)
class Movement:
    """One thing counted, and its place in the outbox; None when nobody can tell how late it ended."""

    counted: Counted
    entry: EntryId | None


class Movements:
    """What moves between one shard and the record, from a snapshot of that on.

    `found` holds what is beyond the snapshot, by id, in the order in which it was met. What the snapshot has
    and rows have not yet (budgets.batch) is taken away there, and comes again when its batch is met.
    """

    def __init__(
        self,
        redis: Any,
        names: ShardNames,
        store: EventStore,
        snapshot: Snapshot,
        spilled: Spilled = NOTHING_SPILLED,
    ) -> None:
        self.found: dict[str, Movement] = {}
        self.last_id = "0-0"
        """The last id of the outbox when it was last read."""
        self.markers: set[str] = set()
        """Names of the markers of batches that were met: they are counted."""
        self._redis = redis
        self._names = names
        self._store = store
        self._spilled = spilled
        self._spilled_state: object = None
        self._pending = snapshot.pending
        self._place = snapshot.place
        self._dead_id = "0-0"
        self._late: set[str] = set()
        self._old: set[str] = set()
        self._unchecked: dict[str, bool] = {}  # id -> whether it is an event's
        self._unplaced: list[tuple[Adjustment, EntryId | None]] = []
        self._recorded_until = snapshot.place.event_seq
        mine = (each for each in snapshot.uncounted if self._mine(each.account_id))
        self._batches = {each.id: decode_batch(each.document) for each in mine}
        self._reported: list[CostEvent] = []
        for batch in self._batches.values():
            for counted in batch.taken_away():
                self.found[counted.id] = Movement(counted, BEFORE)

    def read_outbox(self) -> None:
        """Meet what was appended since the last reading."""
        last_id = outbox_place(self._redis, self._names)
        if last_id != self.last_id:
            self.read_outbox_until(last_id)
        for entry_id, fields in self._range(self._names.dead, self._dead_id, "+"):
            # Counted once and not storable: it is not in the record, but the money is spent.
            self._dead_id = entry_id.decode()
            self._meet(fields, entry_of(fields.get(b"entry", entry_id)))

    def read_outbox_until(self, last_id: str) -> None:
        """The same, up to a place that somebody else has read; nothing when that was met."""
        if entry_of(last_id) <= entry_of(self.last_id):
            return
        for entry_id, fields in self._range(self._names.outbox, self.last_id, last_id):
            self._meet(fields, entry_of(entry_id))
        self.last_id = last_id

    def read_record(self, *, unmet: EntryId | None = None) -> None:
        """Meet what has gone further: into files, and into the record since the snapshot.

        `unmet`: the place of what is met here and was not met in the outbox.
        """
        state = self._spilled.state()
        if state != self._spilled_state:
            for document in self._spilled.events():
                self._meet({b"e": document}, unmet)
            for document in self._spilled.adjustments():
                self._meet({b"a": document}, unmet)
            for document in self._spilled.batches():
                self._meet({b"c": document}, unmet)
            self._spilled_state = state
        stored = self._store.recorded([name for name, event in self._unchecked.items() if event])
        stored |= self._store.recorded_adjustments(
            [name for name, event in self._unchecked.items() if not event]
        )
        later = self._store.later(self._place)
        self._place = later.place
        self._late.update(event.id for event in later.events)
        self._late.update(each.id for each in later.adjustments)
        for name in stored - self._late:
            self._old.add(name)  # the snapshot sums it, or has it pending
            self.found.pop(name, None)
        self._unplaced = [each for each in self._unplaced if each[0].id not in self._old]
        for event in later.events:
            if event.source == GATEWAY:
                self._meet_event(event, unmet)
            else:
                self._reported.append(event)
        self._meet_counted([decode_batch(each.document) for each in later.uncounted], unmet)
        for each in later.adjustments:
            self._meet_adjustment(each, unmet)
        self._unchecked.clear()
        self._place_adjustments()

    def _range(self, stream: str, after: str, last: str) -> Iterable[tuple[bytes, dict[bytes, bytes]]]:
        while True:
            batch = self._redis.xrange(stream, f"({after}", last, count=BATCH)
            yield from batch
            if len(batch) < BATCH:
                return
            after = batch[-1][0].decode()

    def _meet(self, fields: dict[bytes, bytes], entry: EntryId | None) -> None:
        try:
            if b"e" in fields:
                self._meet_event(decode(fields[b"e"]), entry)
            elif b"a" in fields:
                self._meet_adjustment(decode_adjustment(fields[b"a"]), entry)
            elif b"c" in fields:
                self._meet_batch(decode_batch(fields[b"c"]), entry)
        except (EventError, AdjustmentError, BatchError):
            pass  # the recorder reports it; it names no money that could be counted

    def _meet_event(self, event: CostEvent, entry: EntryId | None) -> None:
        if event.id in self.found or event.id in self._old or not self._mine(event.account_id):
            return
        if event.id not in self._late:
            self._unchecked[event.id] = True
        counted = counted_event(event, self._pending.get(event.id, ()))
        self.found[event.id] = Movement(counted, entry)

    def _meet_batch(self, batch: Batch, entry: EntryId | None) -> None:
        """It is counted. One that the snapshot does not know as uncounted and that is no later than it had
        been settled before, so that the sums and the rows both have it."""
        known = batch.id in self._batches or batch.event_seq > self._recorded_until
        if known and self._mine(batch.account_id):
            self.markers.add(batch.marker)
            for counted in batch.counted:
                self.found.setdefault(counted.id, Movement(counted, entry))

    def _meet_counted(self, waiting: Sequence[Batch], unmet: EntryId | None) -> None:
        """Of what was reported: what has been counted and settled without being met on its way."""
        names = {batch.id for batch in waiting}
        for name in self._batches.keys() - names:
            self._meet_batch(self._batches[name], unmet)
        uncounted = {counted.id for batch in waiting for counted in batch.counted}
        left, self._reported = self._reported, []
        for event in left:
            if event.id in uncounted:
                self._reported.append(event)
            else:
                self._meet_event(event, unmet)

    def _meet_adjustment(self, adjustment: Adjustment, entry: EntryId | None) -> None:
        name = adjustment.id
        if name in self.found or name in self._old or not self._mine(adjustment.account_id):
            return
        if any(each.id == name for each, _ in self._unplaced):
            return
        if name not in self._late:
            self._unchecked[name] = False
        self._unplaced.append((adjustment, entry))

    def _place_adjustments(self) -> None:
        """Find whose rows they correct. One whose event nobody has changes no row that anybody knows."""
        waiting: list[tuple[Adjustment, EntryId | None]] = []
        for adjustment, entry in self._unplaced:
            met = self.found.get(adjustment.event_id)
            if met is not None:
                event: Counted | None = met.counted
            else:
                stored = self._store.find(adjustment.event_id)
                event = None if stored is None else counted_event(stored)
            if event is None:
                waiting.append((adjustment, entry))
            else:
                self.found[adjustment.id] = Movement(counted_adjustment(adjustment, event), entry)
        self._unplaced = waiting

    def _mine(self, account_id: str) -> bool:
        return shard_of(account_id) == self._names.shard


def outbox_place(redis: Any, names: ShardNames) -> str:
    """The id of the last entry that the shard's outbox was given."""
    try:
        last: bytes = redis.xinfo_stream(names.outbox)["last-generated-id"]
    except ResponseError:
        return "0-0"  # no such stream: nothing has ended on this shard yet
    return last.decode()


def entry_of(entry_id: bytes | str) -> EntryId:
    """An entry's id as two numbers, which compare as entries follow each other."""
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    first, _, second = text.partition("-")
    return int(first), int(second or 0)
