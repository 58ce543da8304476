"""The event store: where closed cost events rest, each once, with their rollups and what became known later.

`append` takes any batch, ignores ids that are already there, and writes event rows and rollups in one
transaction: after it returns the events are on the disk, and before that nothing of them is visible. The
same holds for adjustments and notices. All amounts are whole nano-USD, all moments milliseconds since the
epoch (UTC).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from metering.adjustment import Adjustment, decode_adjustment, encode_adjustment
from metering.costsums import CostRow, cost_by
from metering.database import Where, is_gone, is_too_large, open_database, writing
from metering.event import DEFAULT_ACCOUNT, CostEvent, decode, encode
from metering.eventtable import (
    Appended,
    Difference,
    adjustments,
    events,
    insert_adjustments,
    insert_events,
)
from metering.ingested import settle_uncounted
from metering.notice import Notice, find_notices, insert_notices
from metering.rowsums import Sums, row_sums
from metering.snapshot import Later, Place, Snapshot, later

__all__ = [
    "PAGE_MAX",
    "Appended",
    "CostRow",
    "Difference",
    "EventStore",
    "Page",
    "StoreUnavailable",
    "Sums",
    "UnstorableEvent",
]

CHUNK_MAX = 500
"""Events in one statement: so few that no sum over them can pass 64 bits (500 x 2^54)."""
PAGE_MAX = 1_000


class StoreUnavailable(Exception):
    """The database is busy beyond patience, full or unreadable. Nothing was stored; it may be tried again."""


class UnstorableEvent(Exception):
    """Something of the batch can never be stored (an amount or sum beyond 64 bits). Nothing was stored."""


@dataclass(frozen=True, slots=True)
class Page:
    """Events, newest first, and the cursors of the neighbouring pages; None where there are none."""

    events: tuple[CostEvent, ...]
    older: str | None
    newer: str | None


class EventStore:
    """Events and rollups in one database. Safe to use from several threads, processes and nodes."""

    def __init__(self, where: Where, *, create: bool = True, patience_ms: int | None = None) -> None:
        """Open and migrate. Raises metering.database.DatabaseError; `create` False refuses an absent one.

        `patience_ms`: how long to wait for another writer.
        """
        self._engine = open_database(where, create=create, patience_ms=patience_ms)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def append(self, batch: Sequence[CostEvent], documents: Sequence[bytes] | None = None) -> Appended:
        """Store the events whose ids are new, with their rollups, and tell what became of each.

        `documents` are the events as they came, kept as they are; by default they are encoded. Of several
        events with one id the first counts. Raises StoreUnavailable or UnstorableEvent.
        """
        with self._writing() as connection:
            return self.add(connection, batch, documents)

    def add(
        self, connection: Connection, batch: Sequence[CostEvent], documents: Sequence[bytes] | None = None
    ) -> Appended:
        """As `append`, in a `transaction` of the caller's."""
        texts = documents if documents is not None else [encode(event) for event in batch]
        ordered = sorted(zip(batch, texts, strict=True), key=lambda item: item[0].id)
        done = [
            insert_events(connection, ordered[start : start + CHUNK_MAX])
            for start in range(0, len(ordered), CHUNK_MAX)
        ]
        return Appended(
            sum(each.added for each in done),
            sum(each.repeated for each in done),
            tuple(difference for each in done for difference in each.differing),
        )

    def append_adjustments(
        self, batch: Sequence[Adjustment], documents: Sequence[bytes] | None = None
    ) -> int:
        """Store the adjustments whose ids are new, and give their number.

        Sums of their events change at once; where an event is not here yet, as soon as it comes. Raises
        StoreUnavailable or UnstorableEvent.
        """
        texts = documents if documents is not None else [encode_adjustment(each) for each in batch]
        with self._writing() as connection:
            return insert_adjustments(connection, batch, texts)

    def append_notices(self, batch: Sequence[Notice]) -> int:
        """Store the notices whose ids are new, and give their number. Raises as `append`."""
        with self._writing() as connection:
            return insert_notices(connection, batch)

    def settle_uncounted(self, ids: Sequence[str]) -> int:
        """The ledger has counted these batches of reported events (metering.ingested); gives how many of them
        were still waiting. Raises as `append`."""
        with self._writing() as connection:
            return settle_uncounted(connection, ids)

    def transaction(self) -> AbstractContextManager[Connection]:
        """A transaction of the caller's that holds the write lock, committed at its end. Raises as `append`.

        For what must be stored together with events (metering.ingested).
        """
        return self._writing()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with writing(self._engine) as connection:
                yield connection
        except (sa.exc.IntegrityError, sa.exc.DataError, OverflowError, UnicodeError) as error:
            raise UnstorableEvent(_sentence(error)) from error
        except sa.exc.DBAPIError as error:
            if is_too_large(error):
                raise UnstorableEvent(_sentence(error)) from error
            if isinstance(error, sa.exc.ProgrammingError) and not is_gone(error):
                raise  # a statement of ours is wrong; trying again would hide it
            raise StoreUnavailable(_sentence(error)) from error

    def recorded(self, ids: Sequence[str]) -> set[str]:
        """Those of the event ids that are stored."""
        return self._present(events, ids)

    def recorded_adjustments(self, ids: Sequence[str]) -> set[str]:
        """Those of the adjustment ids that are stored."""
        return self._present(adjustments, ids)

    def _present(self, table: sa.Table, ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        with self._engine.connect() as connection:
            for start in range(0, len(ids), CHUNK_MAX):
                chunk = ids[start : start + CHUNK_MAX]
                found.update(connection.scalars(sa.select(table.c.id).where(table.c.id.in_(chunk))))
        return found

    def find(self, event_id: str) -> CostEvent | None:
        """The event with this id."""
        with self._engine.connect() as connection:
            document = connection.scalar(sa.select(events.c.document).where(events.c.id == event_id))
        return None if document is None else decode(document)

    def adjustments_of(self, event_id: str) -> list[Adjustment]:
        """What became known of the event after its close, in order of arrival."""
        query = (
            sa.select(adjustments.c.document)
            .where(adjustments.c.event_id == event_id)
            .order_by(adjustments.c.seq)
        )
        with self._engine.connect() as connection:
            return [decode_adjustment(document) for document in connection.scalars(query)]

    def page(
        self,
        *,
        before: str | None = None,
        after: str | None = None,
        limit: int = 50,
        account_id: str = DEFAULT_ACCOUNT,
        customer: str | None = None,
        feature: str | None = None,
        key_id: str | None = None,
        model: str | None = None,
        status: str | None = None,
    ) -> Page:
        """Up to `limit` events (at most PAGE_MAX) by id, newest first.

        Without a cursor the newest; else the nearest older than `before`, or the nearest newer than `after`.
        Filters are exact; "" finds events without the name.
        """
        limit = max(1, min(limit, PAGE_MAX))
        filters = {
            "customer": customer,
            "feature": feature,
            "key_id": key_id,
            "model": model,
            "status": status,
        }
        query = sa.select(events.c.id, events.c.document)
        for name, value in filters.items():
            if value is not None:
                query = query.where(events.c[name] == value)
        # Where an index leads to the rows, it starts with the account. Elsewhere rows are met in the order of
        # ids, and the account must not look like a reason to take another index and sort all of its events.
        indexed = customer is not None or feature is not None or key_id is not None
        account = events.c.account_id if indexed else sa.func.coalesce(events.c.account_id, "")
        query = query.where(account == account_id).limit(limit + 1)
        forward = after is not None
        if after is not None:
            query = query.where(events.c.id > after)
        if before is not None:
            query = query.where(events.c.id < before)
        query = query.order_by(events.c.id.asc() if forward else events.c.id.desc())
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        more, rows = len(rows) > limit, rows[:limit]
        if forward:
            rows = rows[::-1]
        if not rows:
            return Page((), older=None, newer=None)
        return Page(
            tuple(decode(row.document) for row in rows),
            older=rows[-1].id if (more or forward) else None,
            newer=rows[0].id if (more or not forward) else None,
        )

    def arrivals(self, after: int | None = None, *, limit: int = PAGE_MAX) -> tuple[list[CostEvent], int]:
        """Events in the order in which they were stored, after a place in that order, and the next place.

        Every event is met exactly once, also one whose id is older than events met before. Without a place:
        no events, and the place after all that is stored by now.
        """
        with self._engine.connect() as connection:
            if after is None:
                return [], connection.scalar(sa.select(sa.func.max(events.c.seq))) or 0
            rows = connection.execute(
                sa.select(events.c.seq, events.c.document)
                .where(events.c.seq > after)
                .order_by(events.c.seq)
                .limit(limit)
            ).all()
        return [decode(row.document) for row in rows], rows[-1].seq if rows else after

    def row_sums(
        self,
        account_id: str,
        columns: Sequence[str],
        where: Mapping[str, str],
        from_ms: int,
        to_ms: int | None,
    ) -> dict[tuple[str, ...], Sums]:
        """Sums of requests begun in [from_ms, to_ms), grouped by any of metering.rowsums.ROW_COLUMNS.

        One entry for each combination of names that requests had, corrections included; requests that lack
        one of the names are in none. `where` are names that must be so. ValueError for unknown columns.
        """
        with self._engine.connect() as connection:
            return row_sums(connection, account_id, columns, where, from_ms, to_ms)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The record as it is now, unchanged by what is stored meanwhile. Raises StoreUnavailable."""
        with self._reading() as connection:
            yield Snapshot(connection)

    def later(self, place: Place) -> Later:
        """Events and adjustments stored after the place. Raises StoreUnavailable."""
        with self._reading() as connection:
            return later(connection, place)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            if isinstance(error, sa.exc.ProgrammingError) and not is_gone(error):
                raise
            raise StoreUnavailable(_sentence(error)) from error

    def cost_by(
        self,
        dimensions: Sequence[str],
        since_ms: int | None = None,
        until_ms: int | None = None,
        *,
        account_id: str = DEFAULT_ACCOUNT,
        from_events: bool = False,
    ) -> list[CostRow]:
        """Summed measures of requests begun in [since_ms, until_ms) by any of DIMENSIONS, dearest first.

        Answered from rollups where one knows the dimensions, else from single events; `from_events` asks for
        the latter always. Both give the same rows. ValueError for an unknown or repeated dimension.
        """
        with self._engine.connect() as connection:
            return cost_by(connection, dimensions, since_ms, until_ms, account_id, from_events=from_events)

    def notices(
        self, since_ms: int = 0, *, account_id: str = DEFAULT_ACCOUNT, limit: int = PAGE_MAX
    ) -> list[Notice]:
        """The oldest `limit` notices of limits at or after `since_ms`, oldest first."""
        with self._engine.connect() as connection:
            return find_notices(connection, account_id, since_ms, limit)


def _sentence(error: Exception) -> str:
    """A driver's error without the statement and the parameters that SQLAlchemy or the server adds to it."""
    words = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
    return words.partition("\n")[0]
