"""Filing: decodes a batch of entries and puts each into the event store where it belongs.

Events first, then adjustments (which may name events of the same batch), then batches of recorded events that
are counted now, then notices. An entry that is none
of these, or that can never be stored, is buried alone: what is wrong with one holds nothing up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog

from budgets.batch import BatchError, batch_id
from gateway.recorder.entry import Entry
from metering.adjustment import Adjustment, AdjustmentError, decode_adjustment
from metering.event import DEFAULT_ACCOUNT, CostEvent, EventError, decode
from metering.eventstore import Appended, UnstorableEvent
from metering.notice import Notice

Bury = Callable[[Entry, str], None]
"""What to do with an entry that can never be stored; the text says why."""
_Item = TypeVar("_Item")

_log = structlog.get_logger(component="recorder")


class Store(Protocol):
    """What is needed of the event store; gateway.recorder.storage and metering.eventstore have it."""

    def append(self, batch: Sequence[CostEvent], documents: Sequence[bytes]) -> Appended: ...

    def append_adjustments(self, batch: Sequence[Adjustment], documents: Sequence[bytes]) -> int: ...

    def append_notices(self, batch: Sequence[Notice]) -> int: ...

    def settle_uncounted(self, ids: Sequence[str]) -> int: ...


@dataclass(slots=True)
class Filed:
    """What became of a batch: the entries that are stored, however often, and how many were new."""

    stored: list[Entry] = field(default_factory=list)
    events: int = 0
    repeated: int = 0
    differing: int = 0
    adjustments: int = 0
    notices: int = 0


class Filing:
    """Files entries into one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def probe(self) -> None:
        """Raise StoreUnavailable unless events can be stored now."""
        self._store.append((), ())

    def file(self, entries: Iterable[Entry], bury: Bury) -> Filed:
        """Store the entries. Raises StoreUnavailable, and what `bury` raises; then all may be given again."""
        events: list[tuple[Entry, CostEvent]] = []
        adjustments: list[tuple[Entry, Adjustment]] = []
        notices: list[tuple[Entry, Notice]] = []
        batches: list[tuple[Entry, str]] = []
        for entry in entries:
            fields = entry.fields
            try:
                if b"e" in fields:
                    events.append((entry, decode(fields[b"e"])))
                elif b"a" in fields:
                    adjustments.append((entry, decode_adjustment(fields[b"a"])))
                elif b"c" in fields:
                    batches.append((entry, batch_id(fields[b"c"])))
                elif b"limit" in fields:
                    notices.append((entry, notice_of(entry)))
                else:
                    bury(entry, "the entry has no field e, a, c or limit")
            except (EventError, AdjustmentError, BatchError, _NoticeError) as error:
                bury(entry, str(error))
        filed = Filed()
        self._each(filed, events, bury, self._events)
        self._each(filed, adjustments, bury, self._adjustments)
        self._each(filed, batches, bury, self._batches)
        self._each(filed, notices, bury, self._notices)
        return filed

    def _each(
        self,
        filed: Filed,
        items: Sequence[tuple[Entry, _Item]],
        bury: Bury,
        store: Callable[[Filed, Sequence[tuple[Entry, _Item]]], None],
    ) -> None:
        """Store the items; one that can never be stored is found by halving."""
        if not items:
            return
        try:
            store(filed, items)
        except UnstorableEvent as error:
            if len(items) == 1:
                bury(items[0][0], f"cannot be stored: {error}")
                return
            middle = len(items) // 2
            self._each(filed, items[:middle], bury, store)
            self._each(filed, items[middle:], bury, store)
            return
        filed.stored += [entry for entry, _ in items]

    def _events(self, filed: Filed, items: Sequence[tuple[Entry, CostEvent]]) -> None:
        done = self._store.append([event for _, event in items], [entry.fields[b"e"] for entry, _ in items])
        filed.events += done.added
        filed.repeated += done.repeated
        filed.differing += len(done.differing)
        for each in done.differing:
            _log.error(
                "conflicting_event",
                request_id=each.given.id,
                stored_nano=each.stored.cost_nano,
                given_nano=each.given.cost_nano,
                stored_doubted_nano=each.stored.doubted_nano,
                given_doubted_nano=each.given.doubted_nano,
                stored_by=each.stored.closed_by,
                given_by=each.given.closed_by,
            )

    def _adjustments(self, filed: Filed, items: Sequence[tuple[Entry, Adjustment]]) -> None:
        added = self._store.append_adjustments(
            [adjustment for _, adjustment in items], [entry.fields[b"a"] for entry, _ in items]
        )
        filed.adjustments += added
        filed.repeated += len(items) - added

    def _batches(self, filed: Filed, items: Sequence[tuple[Entry, str]]) -> None:
        self._store.settle_uncounted([name for _, name in items])

    def _notices(self, filed: Filed, items: Sequence[tuple[Entry, Notice]]) -> None:
        notices = [notice for _, notice in items]
        added = self._store.append_notices(notices)
        filed.notices += added
        filed.repeated += len(notices) - added
        for each in notices if added else ():
            _log.warning(
                "limit_threshold",
                limit=each.limit_id,
                row=each.row,
                percent=each.percent,
                spent=each.spent,
                value=each.value,
            )


class _NoticeError(ValueError):
    """The entry is not a notice; the text says why."""


def notice_of(entry: Entry) -> Notice:
    """The notice in an entry of a `notices` stream. Its id is the stream's tag and the entry's id there."""
    fields = entry.fields
    try:
        return Notice(
            id=f"{_shard(entry.stream)}-{entry.id.decode()}",
            account_id=(fields.get(b"account") or DEFAULT_ACCOUNT.encode()).decode(),
            limit_id=fields[b"limit"].decode(),
            row=fields[b"row"].decode(),
            percent=int(fields[b"percent"]),
            spent=int(fields[b"spent"]),
            value=int(fields[b"value"]),
            at_ms=int(fields[b"at"]),
        )
    except KeyError as error:
        raise _NoticeError(f"the notice has no field {error.args[0].decode()}") from None
    except ValueError as error:
        raise _NoticeError(f"notice: {error}") from None


def _shard(stream: bytes) -> str:
    """The two digits between a stream's braces."""
    return stream.decode().partition("{")[2].partition("}")[0]
