"""Pages of single events, newest first, by any of their names, in a time that does not depend on the depth.

Every index leads along one name in the order of starts and holds what the other names are tested by. A page
takes the one whose next entries reach back furthest, because it meets the fewest events that are not wanted,
and looks at no more than `most` of them: what it gives may then be less than a page, or nothing, and the
cursor says where to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row, Select

from metering.event import CostEvent, decode
from metering.eventcolumns import event_documents, events
from metering.removal import complete_since
from metering.tasktable import tasks

PAGE_MAX = 1_000
FILTERS = (
    "customer", "workspace", "feature", "plan", "key_id", "model", "provider", "route", "status", "outcome",
    "source", "task_id", "trace_id",
)  # fmt: skip
_LEADS = ("task_id", "trace_id", "status", "customer", "key_id", "model", "feature", "source")
_NOT_INDEXED = {"task_id": "", "trace_id": "", "status": "succeeded", "source": "gateway"}
_PLACE = sa.select(events.c.started_ms, events.c.id)
_PROBED = 200
"""How many entries of each index are skipped to see how far back they reach."""
_PORTION, _GROWTH = 500, 4
"""So many entries are looked at first for names that an index does not lead along, and so many times more
each time that they had too few."""


class UnknownCursor(ValueError):
    """It is not a cursor that a page gave, nor the id of an event of the account."""


@dataclass(frozen=True, slots=True)
class Page:
    """Events, newest first, and the cursors of the neighbouring pages; None where there are none.

    A page that is not full may have an older neighbour, if it was told not to look at every event. `numbers`:
    under which the events are stored (metering.eventcolumns.events.c.seq), in their order.
    """

    events: tuple[CostEvent, ...]
    older: str | None
    newer: str | None
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """Requests begun in [since_ms, until_ms); None is without end."""

    since_ms: int = 0
    until_ms: int | None = None


def cursor_of(event: CostEvent) -> str:
    """The place of an event in every list that it is in."""
    return f"{event.started_ms}.{event.id}"


def event_page(
    connection: Connection,
    account_id: str,
    filters: Mapping[str, str],
    span: Span,
    *,
    before: str | None,
    after: str | None,
    limit: int,
    most: int | None,
) -> Page:
    """EventStore.page, inside a transaction."""
    limit = max(1, min(limit, PAGE_MAX))
    most = None if most is None else max(most, limit + 1)
    forward = after is not None
    walk = _Walk(connection, account_id, filters, span, after if forward else before, forward=forward)
    rows, ended = walk.take(limit + 1, most)
    more, rows = len(rows) > limit, rows[:limit]
    numbers = tuple(row.seq for row in (rows[::-1] if forward else rows))
    found = _documents(connection, numbers)
    if not found:
        return Page((), older=None if forward else ended, newer=ended if forward else None)
    newest, oldest = cursor_of(found[0]), cursor_of(found[-1])
    if forward:
        return Page(found, older=oldest, newer=newest if more else ended, numbers=numbers)
    return Page(found, older=oldest if more else ended, newer=newest, numbers=numbers)


class _Walk:
    """One way through the account's events, from a cursor on."""

    def __init__(
        self,
        connection: Connection,
        account_id: str,
        filters: Mapping[str, str],
        span: Span,
        cursor: str | None,
        *,
        forward: bool,
    ) -> None:
        self._connection = connection
        self._account_id = account_id
        self._forward = forward
        self._filters = {name: value for name, value in filters.items() if name in FILTERS}
        if len(self._filters) != len(filters):
            unknown = ", ".join(sorted(set(filters) - set(FILTERS)))
            raise ValueError(f"events are not found by {unknown}; known: {', '.join(FILTERS)}")
        self._alone = self._task_of_one_event()
        since_ms = max(span.since_ms, complete_since(connection))
        # A cursor lies inside of the span, so its end of the span is left out: SQLite looks for one of two
        # ends alone, and it might be the other one.
        start = events.c.started_ms
        self._lower: ColumnElement[bool] = start >= since_ms
        self._upper = None if span.until_ms is None else start < span.until_ms
        if cursor is not None:
            self._go_behind(*self._place_of(cursor))
        self._lead = self._sparsest()

    def take(self, count: int, most: int | None) -> tuple[list[Row[Any]], str | None]:
        """The next events that have all of the names; and where the walk ended, if that was because it had
        looked at `most` of them."""
        if self._alone is not None:
            query = sa.select(events.c.seq, events.c.started_ms).where(
                events.c.id == self._alone, sa.func.coalesce(events.c.account_id, "") == self._account_id
            )
            tests = [sa.func.coalesce(events.c[name], "") == value for name, value in self._filters.items()]
            return list(self._connection.execute(query.where(*tests, *self._bounds))), None
        others = [name for name in self._filters if name != self._lead]
        if not others:
            query = self._along(events.c.seq, events.c.started_ms).limit(count)
            return list(self._connection.execute(query)), None
        if most is None:
            return self._fitting(others, count, None), None
        found: list[Row[Any]] = []
        portion = _PORTION
        while True:
            portion = min(portion, most)
            found += self._fitting(others, count - len(found), portion)
            if len(found) == count:
                return found, None
            query = self._along(events.c.started_ms, events.c.seq).offset(portion - 1).limit(1)
            last = self._connection.execute(query).first()
            if last is None:
                return found, None
            most -= portion
            if not most:
                row = self._connection.execute(_PLACE.where(events.c.seq == last.seq)).one()
                return found, f"{row.started_ms}.{row.id}"
            self._go_behind(last.started_ms, last.seq)
            portion *= _GROWTH

    def _fitting(self, others: list[str], count: int, portion: int | None) -> list[Row[Any]]:
        """Those of the next entries that have the other names, too."""
        inner = self._along(events.c.seq, events.c.started_ms, *(events.c[name] for name in others))
        inner_rows = (inner if portion is None else inner.limit(portion)).subquery("walked")
        query = sa.select(inner_rows.c.seq, inner_rows.c.started_ms).limit(count)
        query = query.where(*(inner_rows.c[name] == self._filters[name] for name in others))
        return list(self._connection.execute(query.order_by(*self._order(inner_rows.c))))

    def _along(self, *columns: ColumnElement[Any]) -> Select[Any]:
        """The account's events in order, of the leading name alone."""
        query = sa.select(*columns).where(events.c.account_id == self._account_id, *self._bounds)
        if self._lead is not None:
            query = query.where(self._named(self._lead))
        return query.order_by(*self._order(events.c))

    def _named(self, name: str) -> ColumnElement[bool]:
        """The name's filter, so that a partial index is seen to hold all that it finds."""
        test = events.c[name] == self._filters[name]
        if name not in _NOT_INDEXED:
            return test
        return test & (events.c[name] != sa.literal_column(f"'{_NOT_INDEXED[name]}'"))

    def _order(self, columns: Any) -> list[ColumnElement[Any]]:
        order = [columns.started_ms, columns.seq]
        return order if self._forward else [column.desc() for column in order]

    def _task_of_one_event(self) -> str | None:
        """The id of the event that a task is, where none but it is of the task."""
        task_id = self._filters.get("task_id")
        if not task_id:
            return None
        row = self._connection.execute(
            sa.select(tasks.c.task_id).where(
                tasks.c.account_id == self._account_id, tasks.c.task_id == task_id
            )
        ).first()
        if row is not None:
            return None
        del self._filters["task_id"]
        return task_id

    @property
    def _bounds(self) -> list[ColumnElement[bool]]:
        """A lower and an upper end."""
        return [self._lower] if self._upper is None else [self._lower, self._upper]

    def _go_behind(self, started_ms: int, seq: int | None) -> None:
        """The walk goes on behind this place; without a number, behind all events of the moment."""
        start = events.c.started_ms
        if seq is None:
            place = start > started_ms if self._forward else start < started_ms
        else:
            mine, its = sa.tuple_(start, events.c.seq), (started_ms, seq)
            place = mine > its if self._forward else mine < its
        if self._forward:
            self._lower = place
        else:
            self._upper = place

    def _place_of(self, cursor: str) -> tuple[int, int | None]:
        moment, point, event_id = cursor.partition(".")
        if not point:
            event_id = cursor
        row = self._connection.execute(
            sa.select(events.c.started_ms, events.c.seq).where(
                events.c.id == event_id, sa.func.coalesce(events.c.account_id, "") == self._account_id
            )
        ).first()
        if row is not None:
            return row.started_ms, row.seq
        if not point or not moment.isdecimal() or len(moment) > 18:
            raise UnknownCursor(f"{cursor!r:.80} is no cursor of this list")
        return int(moment), None  # its event was removed meanwhile

    def _sparsest(self) -> str | None:
        """The name whose index meets the fewest events: whose next ones reach furthest."""
        leads = [
            name for name in _LEADS if name in self._filters and self._filters[name] != _NOT_INDEXED.get(name)
        ]
        if len(leads) < 2:
            return leads[0] if leads else None
        reach: dict[str, int] = {}
        for name in leads:
            self._lead = name
            probe = self._along(events.c.started_ms).offset(_PROBED).limit(1)
            moment = self._connection.scalar(probe)
            if moment is None:
                return name
            reach[name] = moment if self._forward else -moment
        return max(reach, key=lambda name: reach[name])


def _documents(connection: Connection, seqs: tuple[int, ...]) -> tuple[CostEvent, ...]:
    query = sa.select(event_documents.c.seq, event_documents.c.document)
    found = dict(connection.execute(query.where(event_documents.c.seq.in_(seqs))).all())
    return tuple(decode(found[seq]) for seq in seqs)
