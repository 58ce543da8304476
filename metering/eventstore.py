"""The event store: where closed cost events rest, each once, with their rollups and what became known later.

`append` takes any batch, ignores ids that are already there, and writes event rows and rollups in one
transaction: after it returns the events are on the disk, and before that nothing of them is visible. The
same holds for adjustments and notices. All amounts are whole nano-USD, all moments milliseconds since the
epoch (UTC).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import sqlalchemy as sa
from sqlalchemy import Connection

from metering.adjustment import Adjustment, decode_adjustment, encode_adjustment
from metering.costsums import CostRow, cost_by
from metering.database import Where, is_gone, is_too_large, open_database, writing
from metering.event import DEFAULT_ACCOUNT, CostEvent, decode, encode
from metering.eventcolumns import adjustments, event_documents, events
from metering.eventpage import PAGE_MAX, Page, Span, UnknownCursor, event_page
from metering.eventtable import (
    Appended,
    Difference,
    RevenueOf,
    explicit,
    insert_adjustments,
    insert_events,
)
from metering.ingested import settle_uncounted
from metering.notice import Notice, find_notices, insert_notices
from metering.outcome import Outcome, insert_outcomes, outcomes_of
from metering.rebuild import Rebuilt, rebuild
from metering.removal import EventsRemoved, complete_since
from metering.retention import Removed, remove_events
from metering.rowsums import Sums, row_sums
from metering.snapshot import Later, Place, Snapshot, later
from metering.taskpage import TaskPage, TaskRow, find_task, task_page
from metering.tasktable import settle_tasks

__all__ = [
    "PAGE_MAX",
    "Appended",
    "CostRow",
    "Difference",
    "EventStore",
    "EventsRemoved",
    "Outcome",
    "Page",
    "Rebuilt",
    "Removed",
    "StoreUnavailable",
    "Sums",
    "TaskPage",
    "TaskRow",
    "UnknownCursor",
    "UnstorableEvent",
]

CHUNK_MAX = 1_000
"""Events that are summed and stored together."""


class StoreUnavailable(Exception):
    """The database is busy beyond patience, full or unreadable. Nothing was stored; it may be tried again."""


class UnstorableEvent(Exception):
    """Something of the batch can never be stored (an amount or sum beyond 64 bits). Nothing was stored."""


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

    def append(
        self,
        batch: Sequence[CostEvent],
        documents: Sequence[bytes] | None = None,
        *,
        revenue: RevenueOf | None = None,
    ) -> Appended:
        """Store the events whose ids are new, with their tasks and rollups, and tell what became of each.

        `documents` are the events as they came, kept as they are; by default they are encoded. `revenue`
        gives what is owed for an event, nano-USD and where it comes from, which is stored beside it for good;
        by default the amount that came with it. Of several events with one id the first counts. Raises
        StoreUnavailable or UnstorableEvent.
        """
        with self._writing() as connection:
            return self.add(connection, batch, documents, revenue=revenue)

    def add(
        self,
        connection: Connection,
        batch: Sequence[CostEvent],
        documents: Sequence[bytes] | None = None,
        *,
        revenue: RevenueOf | None = None,
    ) -> Appended:
        """As `append`, in a `transaction` of the caller's."""
        texts = documents if documents is not None else [encode(event) for event in batch]
        ordered = sorted(zip(batch, texts, strict=True), key=lambda item: item[0].id)
        done = [
            insert_events(connection, ordered[start : start + CHUNK_MAX], revenue or explicit)
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

    def append_outcomes(self, given: Sequence[Outcome]) -> int:
        """Store the outcomes whose ids are new, and give their number.

        They count at once, for tasks whose events are not here yet as soon as these come. Raises
        StoreUnavailable or UnstorableEvent.
        """
        with self._writing() as connection:
            return self.add_outcomes(connection, given)

    def add_outcomes(self, connection: Connection, given: Sequence[Outcome]) -> int:
        """As `append_outcomes`, in a `transaction` of the caller's."""
        new = insert_outcomes(connection, given)
        of_tasks: dict[tuple[str, str], list[Outcome]] = {}
        for each in new:
            of_tasks.setdefault((each.account_id, each.task_id), []).append(each)
        settle_tasks(connection, (), of_tasks)
        return len(new)

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

    def find(self, event_id: str, account_id: str | None = None) -> CostEvent | None:
        """The event with this id; where an account is named, only one of its events."""
        query = (
            sa.select(event_documents.c.document)
            .select_from(events.join(event_documents, events.c.seq == event_documents.c.seq))
            .where(events.c.id == event_id)
        )
        if account_id is not None:
            query = query.where(sa.func.coalesce(events.c.account_id, "") == account_id)
        with self._engine.connect() as connection:
            document = connection.scalar(query)
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
        since_ms: int = 0,
        until_ms: int | None = None,
        most: int | None = None,
        **names: str | None,
    ) -> Page:
        """Up to `limit` events (at most PAGE_MAX) begun in [since_ms, until_ms), newest first by their start.

        Without a cursor the newest; else the nearest older than `before`, or the nearest newer than `after`:
        cursors of a page, or ids of events of the account. `names` are any of metering.eventpage.FILTERS,
        exact; "" finds events without the name. With `most`, no more events than that are looked at: the page
        may then have fewer than there are, or none, and its cursor goes on from there. ValueError for unknown
        names, UnknownCursor (one of them) for other cursors.
        """
        filters = {name: value for name, value in names.items() if value is not None}
        with self._reading() as connection:
            return event_page(
                connection,
                account_id,
                filters,
                Span(since_ms, until_ms),
                before=before,
                after=after,
                limit=limit,
                most=most,
            )

    def task(self, task_id: str, account_id: str = DEFAULT_ACCOUNT) -> TaskRow | None:
        """The task that requests named so, or that a request with this id is by itself."""
        with self._reading() as connection:
            return find_task(connection, account_id, task_id)

    def tasks(
        self,
        *,
        before: str | None = None,
        limit: int = 50,
        account_id: str = DEFAULT_ACCOUNT,
        since_ms: int = 0,
        until_ms: int | None = None,
        most: int | None = None,
        **names: str | None,
    ) -> TaskPage:
        """Up to `limit` tasks that requests named or that were given an outcome, begun in [since_ms,
        until_ms), newest first by their first event; as `page`. `names`: metering.taskpage.FILTERS."""
        filters = {name: value for name, value in names.items() if value is not None}
        with self._reading() as connection:
            return task_page(
                connection,
                account_id,
                filters,
                Span(since_ms, until_ms),
                before=before,
                limit=limit,
                most=most,
            )

    def outcomes_of(self, task_id: str, account_id: str = DEFAULT_ACCOUNT) -> list[Outcome]:
        """What was said of the task, the latest last."""
        with self._reading() as connection:
            return outcomes_of(connection, account_id, task_id)

    def complete_since(self) -> int:
        """The moment from which all events are there, ms; 0 where none was ever removed."""
        with self._reading() as connection:
            return complete_since(connection)

    def remove_events(
        self, before_ms: int, keep: Sequence[int] = (), *, stopped: Callable[[], bool] = lambda: False
    ) -> Removed:
        """Remove single events begun before `before_ms`, a UTC day's first moment, in many small
        transactions; their sums and tasks stay (metering.retention). `keep`: moments at which sums begin that
        must stay exact. `stopped` is asked between two of them. Raises StoreUnavailable; what was removed
        until then stays so."""
        return remove_events(self._writing, before_ms, keep, stopped)

    def rebuild(self) -> Rebuilt:
        """Make tasks and rollups anew from the events, as far as these are there (metering.rebuild), while
        others read and write. Raises StoreUnavailable; it may be begun again."""
        return rebuild(self._writing)

    def arrivals(self, after: int | None = None, *, limit: int = PAGE_MAX) -> tuple[list[CostEvent], int]:
        """Events in the order in which they were stored, after a place in that order, and the next place.

        Every event is met exactly once, also one whose id is older than events met before. Without a place:
        no events, and the place after all that is stored by now.
        """
        with self._engine.connect() as connection:
            if after is None:
                return [], connection.scalar(sa.select(sa.func.max(events.c.seq))) or 0
            rows = connection.execute(
                sa.select(event_documents)
                .where(event_documents.c.seq > after)
                .order_by(event_documents.c.seq)
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

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to the record, for what is kept beside the events. Raises StoreUnavailable."""
        return self._reading()

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
        where: Mapping[str, str] | None = None,
        top: int | None = None,
        from_events: bool = False,
    ) -> list[CostRow]:
        """Summed measures of requests begun in [since_ms, until_ms) by any of DIMENSIONS, dearest first.

        `where` are names that must be so, "" for their absence; `top` gives the dearest alone. Answered from
        rollups where one knows the dimensions, else from single events; `from_events` asks for the latter
        always. Both give the same rows. ValueError for an unknown or repeated dimension; EventsRemoved where
        single events are needed that were removed for their age.
        """
        with self._reading() as connection:
            return cost_by(
                connection,
                dimensions,
                since_ms,
                until_ms,
                account_id,
                where or {},
                top=top,
                from_events=from_events,
            )

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
