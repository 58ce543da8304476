"""The event store as the recorder needs it: one that may be away, come back, or be another one by now.

SQLite goes on writing to a file that was moved or deleted, and says nothing. What it commits there is not
where anybody looks for it, so a write counts only if afterwards the path still leads to the file that was
opened. (A server ends its connections with the database.) Whatever else stands in the way of a write is
StoreUnavailable too: it may end, and the recorder keeps what it has until then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from billing.ratebook import RateBook
from metering.adjustment import Adjustment
from metering.database import DatabaseError, Where, identity, shown
from metering.event import CostEvent
from metering.eventstore import Appended, EventStore, StoreUnavailable
from metering.notice import Notice

_Answer = TypeVar("_Answer")


class Storage:
    """Appends to the database, opened at the first use and again after each failure.

    It is made only by the first use: a database that vanished later may be on a disk that will be back.
    """

    def __init__(self, where: Where) -> None:
        self._where = where
        self._store: EventStore | None = None
        self._rates: RateBook | None = None
        self._opened: object = None
        self._create = True

    def append(self, batch: Sequence[CostEvent], documents: Sequence[bytes]) -> Appended:
        """As EventStore.append. Raises StoreUnavailable or UnstorableEvent, as the others here do."""
        return self._write(lambda store: self._append(store, batch, documents))

    def append_adjustments(self, batch: Sequence[Adjustment], documents: Sequence[bytes]) -> int:
        """As EventStore.append_adjustments."""
        return self._write(lambda store: store.append_adjustments(batch, documents))

    def append_notices(self, batch: Sequence[Notice]) -> int:
        """As EventStore.append_notices."""
        return self._write(lambda store: store.append_notices(batch))

    def settle_uncounted(self, ids: Sequence[str]) -> int:
        """As EventStore.settle_uncounted."""
        return self._write(lambda store: store.settle_uncounted(ids))

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _append(self, store: EventStore, batch: Sequence[CostEvent], documents: Sequence[bytes]) -> Appended:
        """Prices are read before the transaction begins: what decides is in force when it is stored."""
        assert self._rates is not None
        return store.append(batch, documents, revenue=self._rates.for_batch(batch))

    def _write(self, act: Callable[[EventStore], _Answer]) -> _Answer:
        try:
            answer = act(self._open())
            if identity(self._where) != self._opened:
                raise StoreUnavailable(f"{shown(self._where)}: the file was moved, deleted or replaced")
        except StoreUnavailable:
            self.close()
            raise
        return answer

    def _open(self) -> EventStore:
        if self._store is not None and identity(self._where) != self._opened:
            self.close()
        if self._store is None:
            try:
                self._store = EventStore(self._where, create=self._create)
            except DatabaseError as error:
                raise StoreUnavailable(str(error)) from error
            self._rates = RateBook(self._store.reading)
            self._opened, self._create = identity(self._where), False
        return self._store
