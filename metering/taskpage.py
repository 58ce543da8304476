"""Tasks as they are read: one by its name, and pages of those that requests named, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from metering.eventcolumns import events
from metering.eventpage import PAGE_MAX, Span, UnknownCursor
from metering.rollup import MEASURES
from metering.tasks import HOME_NAMES
from metering.tasktable import tasks

FILTERS = (*HOME_NAMES, "outcome")
_LEADS = ("customer", "feature")


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task: its first event's names ("" is absence), and the sums of all of its events by MEASURES.

    `outcome` is the one that counts, "" while there is none; `given` says that it was given and does not come
    from the final event, and `reason` why. `first_ms` and `last_ms` are starts of events; None where an
    outcome was given and no event is here.
    """

    task_id: str
    first_ms: int | None
    last_ms: int | None
    names: Mapping[str, str]
    outcome: str
    given: bool
    reason: str | None
    sums: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks, newest first, and the cursor of the next page; None where there is none."""

    tasks: tuple[TaskRow, ...]
    older: str | None


def find_task(connection: Connection, account_id: str, task_id: str) -> TaskRow | None:
    """EventStore.task, inside a transaction."""
    mine = (tasks.c.account_id == account_id, tasks.c.task_id == task_id)
    row = connection.execute(sa.select(tasks).where(*mine)).first()
    if row is not None:
        return _task(row)
    alone = connection.execute(
        sa.select(events).where(
            events.c.id == task_id, sa.func.coalesce(events.c.account_id, "") == account_id
        )
    ).first()
    return None if alone is None else _of_event(alone)


def task_page(
    connection: Connection,
    account_id: str,
    filters: Mapping[str, str],
    span: Span,
    *,
    before: str | None,
    limit: int,
    most: int | None,
) -> TaskPage:
    """EventStore.tasks, inside a transaction."""
    limit = max(1, min(limit, PAGE_MAX))
    most = None if most is None else max(most, limit + 1)
    for name in filters:
        if name not in FILTERS:
            raise ValueError(f"tasks are not found by {name}; known: {', '.join(FILTERS)}")
    lead = next((name for name in _LEADS if name in filters), None)
    place = sa.tuple_(tasks.c.first_ms, tasks.c.task_id)
    walked = sa.select(tasks).where(
        tasks.c.account_id == account_id,
        tasks.c.first_ms >= span.since_ms,
        sa.func.coalesce(tasks.c.first_id, "") != "",
    )
    if lead is not None:
        walked = walked.where(tasks.c[lead] == filters[lead])
    if before is not None:
        walked = walked.where(place < _place_of(before))
    elif span.until_ms is not None:
        walked = walked.where(tasks.c.first_ms < span.until_ms)
    walked = walked.order_by(tasks.c.first_ms.desc(), tasks.c.task_id.desc())
    inner = (walked if most is None else walked.limit(most)).subquery("walked")
    wanted = (inner.c[name] == value for name, value in filters.items() if name != lead)
    query = sa.select(inner).where(*wanted).limit(limit + 1)
    rows = connection.execute(query.order_by(inner.c.first_ms.desc(), inner.c.task_id.desc())).all()
    more, rows = len(rows) > limit, rows[:limit]
    older = _cursor(rows[-1]) if more else None
    if not more and most is not None and set(filters) - {lead}:
        last = connection.execute(walked.offset(most - 1).limit(1)).first()
        older = None if last is None else _cursor(last)
    return TaskPage(tuple(map(_task, rows)), older)


def _cursor(row: Row[Any]) -> str:
    return f"{row.first_ms}.{row.task_id}"


def _place_of(cursor: str) -> tuple[int, str]:
    moment, point, task_id = cursor.partition(".")
    if not point or not moment.isdecimal() or len(moment) > 18:
        raise UnknownCursor(f"{cursor!r:.80} is no cursor of this list")
    return int(moment), task_id


def _task(row: Row[Any]) -> TaskRow:
    here = row.first_id != ""
    return TaskRow(
        row.task_id,
        row.first_ms if here else None,
        row.last_ms if here else None,
        {name: getattr(row, name) for name in HOME_NAMES},
        row.outcome,
        row.given_id != "",
        row.reason or None,
        {name: getattr(row, name) for name in MEASURES},
    )


def _of_event(row: Row[Any]) -> TaskRow:
    return TaskRow(
        row.id,
        row.started_ms,
        row.started_ms,
        {name: getattr(row, name) for name in HOME_NAMES},
        row.outcome,
        False,
        None,
        {name: getattr(row, name) for name in MEASURES},
    )
