"""The table of tasks: how tasks follow events and outcomes while these are stored.

A row is there for every task that a request named or that was given an outcome; an event that is in none is a
task by itself. The row's sums are those of its events. Where a task counts is settled here: at its first
event, whose columns `tasks` and `task_successes` say so, and with it in every rollup. The functions run
inside a transaction that holds the write lock; what they decide is in metering.tasks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Row, Select, Table, Text, Update

from metering.eventcolumns import PLACES, EventRow, events
from metering.outcome import Outcome
from metering.outcome import outcomes as outcome_table
from metering.rollup import COUNTED, MEASURES, ROLLUPS, Rollup, measure_columns, metadata
from metering.statement import (
    EngineName,
    InsertRows,
    among,
    listed,
    whole_sum,
    written,
)
from metering.tasks import HOME_NAMES, Change, Given, Member, Task, alone, changes, with_events, with_outcome

TaskKey = tuple[str, str]
"""Account and task."""

tasks = Table(
    "tasks",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("task_id", Text, primary_key=True),
    Column("first_ms", BigInteger, nullable=False),
    Column("first_id", Text, nullable=False),
    *(Column(name, Text, nullable=False) for name in HOME_NAMES),
    Column("last_ms", BigInteger, nullable=False),
    Column("last_id", Text, nullable=False),
    Column("last_outcome", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("given_ms", BigInteger, nullable=False),
    Column("given_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    *measure_columns(),
)
SUMMED = tuple(name for name in MEASURES if name not in COUNTED)
"""The measures of a task that are the sums of its events'."""


def settle_tasks(
    connection: Connection,
    rows: Sequence[EventRow],
    given: Mapping[TaskKey, Sequence[Outcome]] | None = None,
) -> Sequence[EventRow]:
    """Bring tasks up to date with these rows of new events, which are stored after this, and these outcomes.

    Gives the rows as they are to be stored: with the tasks that they are in, and counting where tasks are at
    home. Stored events and rollups are right afterwards but for what the new events add.
    """
    outcomes = given or {}
    alone_now = {(row[_ACCOUNT], row[_ID]) for row in rows if not row[_TASK]}
    named = {(row[_ACCOUNT], row[_TASK]) for row in rows if row[_TASK]}
    known = _rows(connection, {*named, *outcomes, *alone_now})
    touched = {*named, *outcomes, *(alone_now & known.keys())}
    if not touched:
        return rows
    founders = _founders(connection, touched - alone_now - known.keys())
    for founder in founders.values():
        _JOIN.run(connection, (founder[_SEQ],))
    fresh: dict[TaskKey, list[EventRow]] = {}
    for row in rows:
        key = (row[_ACCOUNT], row[_TASK] or row[_ID])
        if key in touched:
            fresh.setdefault(key, []).append(row)
    moves: list[tuple[str, Change]] = []
    made: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for key in sorted(touched):
        new = fresh.get(key, [])
        members = [*new, founders[key]] if key in founders else new
        if key in known:
            old = _task(known[key])
        else:  # an event that was a task by itself until now
            old = alone(_member(founders[key])) if key in founders else Task()
        task = with_events(old, map(_member, new))
        for each in outcomes.get(key, ()):
            task = with_outcome(task, Given(each.at_ms, each.id, each.outcome, each.reason or ""))
        moves += [(key[0], change) for change in changes(old, task)]
        if key not in known or members or task != old:
            values = _values(key, task) | _sums(members)
            (changed if key in known else made).append(values)
    _write(connection, made, changed)
    of_new = {row[_ID]: (0, 0) for members in fresh.values() for row in members}
    _move(connection, [(account, change) for account, change in moves if change.home.event_id not in of_new])
    for _, change in moves:
        if change.home.event_id in of_new:
            of_new[change.home.event_id] = (change.tasks, change.successes)
    return [
        (*row[:_TASK], row[_TASK] or row[_ID], *row[_TASK + 1 : _COUNTED], *of_new[row[_ID]])
        if row[_ID] in of_new
        else row
        for row in rows
    ]


def task_ids(connection: Connection, account_id: str, after: str, limit: int) -> list[str]:
    """The next names of tasks that events or outcomes of the account have."""
    found: set[str] = set()
    for table in (tasks, outcome_table):
        found.update(
            connection.scalars(
                sa.select(table.c.task_id)
                .distinct()
                .where(table.c.account_id == account_id, table.c.task_id > after)
                .order_by(table.c.task_id)
                .limit(limit)
            )
        )
    named = sa.select(events.c.task_id).distinct().where(events.c.account_id == account_id)
    named = named.where(events.c.task_id > after, events.c.task_id != sa.literal_column("''"))
    found.update(connection.scalars(named.order_by(events.c.task_id).limit(limit)))
    return sorted(found)[:limit]


def remake_tasks(connection: Connection, account_id: str, ids: Sequence[str], floor_ms: int) -> int:
    """Make these tasks' rows, and their events' columns, from events and outcomes; gives their number.

    Tasks that began before `floor_ms` are left as they are: not all of their events are there. Rollups are
    not touched.
    """
    known = _rows(connection, [(account_id, task_id) for task_id in ids])
    older = {key[1] for key, row in known.items() if row.first_id and row.first_ms < floor_ms}
    ids = [task_id for task_id in ids if task_id not in older]
    for row in _founders(connection, {(account_id, task_id) for task_id in ids}).values():
        _JOIN.run(connection, (row[_SEQ],))
    of_tasks = (events.c.account_id == account_id, events.c.task_id.in_(ids))
    members: dict[str, list[Member]] = {}
    for event in connection.execute(sa.select(events).where(*of_tasks)):
        members.setdefault(event.task_id, []).append(_member(tuple(event)))
    given: dict[str, list[Given]] = {}
    said = sa.select(outcome_table).where(
        outcome_table.c.account_id == account_id, outcome_table.c.task_id.in_(ids)
    )
    for row in connection.execute(said):
        given.setdefault(row.task_id, []).append(Given(row.at_ms, row.id, row.outcome, row.reason))
    rows = []
    homes: list[tuple[int, int, str]] = []
    for task_id in ids:
        task = with_events(Task(), members.get(task_id, ()))
        for each in given.get(task_id, ()):
            task = with_outcome(task, each)
        if task.outcome is not None:
            rows.append(_values((account_id, task_id), task) | _sums(()))
        if task.home is not None:
            homes.append((*task.counts, task.home.event_id))
    connection.execute(sa.delete(tasks).where(tasks.c.account_id == account_id, tasks.c.task_id.in_(ids)))
    _write(connection, rows, [])
    connection.execute(sa.update(events).where(*of_tasks).values(dict.fromkeys(COUNTED, 0)))
    if homes:
        connection.exec_driver_sql(_COUNT.on(connection), homes)
    connection.execute(_adding(sa.and_(*of_tasks)))
    return len(rows)


def _rows(connection: Connection, keys: Iterable[TaskKey]) -> dict[TaskKey, Row[Any]]:
    found: dict[TaskKey, Row[Any]] = {}
    for account_id, ids in _by_account(keys).items():
        found |= {
            (account_id, row.task_id): row
            for row in _KNOWN.run(connection, (listed(connection, ids), account_id))
        }
    return found


def _founders(connection: Connection, keys: Collection[TaskKey]) -> dict[TaskKey, EventRow]:
    """Stored events that are in no task yet and whose ids are named as one."""
    if not keys:
        return {}
    ids = listed(connection, sorted({task_id for _, task_id in keys}))
    found = {(row[_ACCOUNT], row[_ID]): tuple(row) for row in EVENTS_BY_ID.run(connection, (ids,))}
    return {key: row for key, row in found.items() if key in keys and not row[_TASK]}


def _by_account(keys: Iterable[TaskKey]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for account_id, task_id in keys:
        ids.setdefault(account_id, []).append(task_id)
    return ids


def _task(row: Row[Any]) -> Task:
    home = final = given = None
    if row.first_id:
        names = tuple(getattr(row, name) for name in HOME_NAMES)
        home = Member(row.first_id, row.first_ms, "", names)
        final = (row.last_ms, row.last_id, row.last_outcome)
    if row.given_id:
        given = Given(row.given_ms, row.given_id, row.outcome, row.reason)
    return Task(home, final, given)


def _member(row: EventRow) -> Member:
    return Member(row[_ID], row[_STARTED], row[_OUTCOME], _HOME_NAMES(row))


def _sums(rows: Collection[EventRow]) -> dict[str, int]:
    """The sums of a task's events, or of what comes to them."""
    sums = map(sum, zip(*(row[_MEASURES:_COUNTED] for row in rows), strict=True)) if rows else repeat(0)
    return dict(zip(SUMMED, sums, strict=False))


def _values(key: TaskKey, task: Task) -> dict[str, Any]:
    """All of the task's row but its sums."""
    home, given = task.home, task.given
    last_ms, last_id, last_outcome = task.final or (0, "", "")
    names = ("",) * len(HOME_NAMES) if home is None else home.names
    return {
        "account_id": key[0],
        "task_id": key[1],
        "first_ms": 0 if home is None else home.started_ms,
        "first_id": "" if home is None else home.event_id,
        **dict(zip(HOME_NAMES, names, strict=True)),
        "last_ms": last_ms,
        "last_id": last_id,
        "last_outcome": last_outcome,
        "outcome": task.outcome or "",
        "given_ms": 0 if given is None else given.at_ms,
        "given_id": "" if given is None else given.id,
        "reason": "" if given is None else given.reason or "",
        **dict(zip(COUNTED, task.counts, strict=True)),
    }


def _write(connection: Connection, made: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]]) -> None:
    """Make rows of tasks, and change others: their sums are what comes to them."""
    if made:
        _INSERT.add(connection, [tuple(values[column.name] for column in tasks.columns) for values in made])
    if changed:
        places = (*_CHANGED, *SUMMED, "account_id", "task_id")
        connection.exec_driver_sql(
            _CHANGE.on(connection), [tuple(values[name] for name in places) for values in changed]
        )


def _adding(which: sa.ColumnElement[bool]) -> Update:
    """The statement that adds the measures of these events to those of their tasks."""
    sums = (
        sa.select(
            events.c.account_id,
            events.c.task_id,
            *(whole_sum(events.c[name]).label(name) for name in SUMMED),
        )
        .where(which, events.c.task_id != sa.literal_column("''"))
        .group_by(events.c.account_id, events.c.task_id)
        .subquery("more")
    )
    return (
        sa.update(tasks)
        .values({name: tasks.c[name] + sums.c[name] for name in SUMMED})
        .where(tasks.c.account_id == sums.c.account_id, tasks.c.task_id == sums.c.task_id)
    )


def _move(connection: Connection, moves: Sequence[tuple[str, Change]]) -> None:
    """Let tasks count at other stored events than until now: there, and in the rollups."""
    if not moves:
        return
    connection.exec_driver_sql(
        _COUNT.on(connection),
        [(change.tasks, change.successes, change.home.event_id) for _, change in moves],
    )
    for rollup, statement in zip(ROLLUPS, _COUNT_IN, strict=True):
        rows = []
        for account_id, (home, more, successes) in moves:
            names = dict(zip(HOME_NAMES, home.names, strict=True))
            bucket = home.started_ms - home.started_ms % rollup.bucket_ms
            rows.append((more, successes, account_id, bucket, *(names[name] for name in rollup.columns)))
        connection.exec_driver_sql(statement.on(connection), rows)


def _count_in(rollup: Rollup, _engine: EngineName) -> Update:
    table = rollup.table
    keys = ("account_id", "bucket_ms", *rollup.columns)
    statement = sa.update(table).values(
        {name: table.c[name] + sa.bindparam(f"more_{name}") for name in COUNTED}
    )
    return statement.where(*(table.c[name] == sa.bindparam(f"of_{name}") for name in keys))


def _count(_engine: EngineName) -> Update:
    values = {name: events.c[name] + sa.bindparam(f"more_{name}") for name in COUNTED}
    return sa.update(events).values(values).where(events.c.id == sa.bindparam("of_id"))


def _change(_engine: EngineName) -> Update:
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in _CHANGED}
    values |= {name: tasks.c[name] + sa.bindparam(f"more_{name}") for name in SUMMED}
    statement = sa.update(tasks).ordered_values(*((tasks.c[name], value) for name, value in values.items()))
    return statement.where(
        tasks.c.account_id == sa.bindparam("of_account"), tasks.c.task_id == sa.bindparam("of_task")
    )


def _known(engine: EngineName) -> Select[Any]:
    """Each name is looked up in the primary key, also where what a server knows of the table is too old to
    tell it that this is the way: no other one can be better for a lateral row of one."""
    query = sa.select(tasks.c.task_id, *(tasks.c[name] for name in _CHANGED))
    if engine == "sqlite":
        of_names = among(engine, tasks.c.task_id)
        return query.where(of_names, tasks.c.account_id == sa.bindparam("of_account"))
    wanted = sa.func.unnest(sa.cast(sa.bindparam("values"), sa.ARRAY(Text))).table_valued("id")
    wanted = wanted.render_derived("wanted")
    named = query.where(tasks.c.task_id == wanted.c.id, tasks.c.account_id == sa.bindparam("of_account"))
    one = named.limit(sa.literal_column("1")).lateral("one")
    return sa.select(one).select_from(wanted.join(one, sa.true()))


_SEQ, _ID, _ACCOUNT, _STARTED, _TASK, _OUTCOME, _MEASURES, _COUNTED = (
    PLACES[name]
    for name in ("seq", "id", "account_id", "started_ms", "task_id", "outcome", MEASURES[0], COUNTED[0])
)
_HOME_NAMES = itemgetter(*(PLACES[name] for name in HOME_NAMES))
_CHANGED = tuple(
    column.name
    for column in tasks.columns
    if column.name not in ("account_id", "task_id") and column.name not in SUMMED
)
_KNOWN = written(_known)
EVENTS_BY_ID = written(lambda engine: sa.select(events).where(among(engine, events.c.id)))
_INSERT = InsertRows(tasks)
_CHANGE = written(_change)
_COUNT = written(_count)
_COUNT_IN = [written(partial(_count_in, rollup)) for rollup in ROLLUPS]
_JOIN = written(
    lambda _engine: (
        sa.update(events).values(task_id=events.c.id).where(events.c.seq == sa.bindparam("of_seq"))
    )
)
