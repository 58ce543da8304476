"""The table of tasks: how tasks follow events and outcomes while these are stored.

A row is there for every task that a request named or that was given an outcome; an event that is in none is a
task by itself. The row's sums are those of its events. Where a task counts is settled here: at its first
event, whose columns `tasks` and `task_successes` say so, and with it in every rollup. The functions run
inside a transaction that holds the write lock; what they decide is in metering.tasks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Row, Table, Text, Update

from metering.eventcolumns import events
from metering.outcome import Outcome
from metering.outcome import outcomes as outcome_table
from metering.rollup import COUNTED, MEASURES, ROLLUPS, Rollup, measure_columns, metadata
from metering.statement import EngineName, whole_sum, written
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
ASKED_AT_ONCE = 500


def settle_tasks(
    connection: Connection,
    named: Collection[TaskKey],
    latest: int,
    given: Mapping[TaskKey, Sequence[Outcome]] | None = None,
) -> None:
    """Bring tasks up to date with the events after `latest` and with these outcomes.

    `named`: the tasks that the new events name. Afterwards the columns of events are right, and so is every
    rollup but for what the new events themselves will add to it.
    """
    outcomes = given or {}
    touched = {*named, *outcomes, *_known_by_id(connection, latest)}
    if not touched:
        return
    known = _rows(connection, touched)
    founders = _founders(connection, touched)
    _join(connection, founders.values(), latest)
    fresh: dict[TaskKey, list[Member]] = {}
    for row in connection.execute(_MEMBERS.where(events.c.seq > latest, events.c.task_id != "")):
        fresh.setdefault((row.account_id, row.task_id), []).append(_member(row))
    new_ids = {member.event_id for members in fresh.values() for member in members}
    moves: list[tuple[str, Change]] = []
    rows: list[dict[str, Any]] = []
    for key in sorted(touched):
        before = founders.get(key)
        if key in known:
            old = _task(known[key])
        else:  # an event that was a task by itself until now
            old = Task() if before is None or before.seq > latest else alone(_member(before))
        task = with_events(old, fresh.get(key, ()))
        for each in outcomes.get(key, ()):
            task = with_outcome(task, Given(each.at_ms, each.id, each.outcome, each.reason or ""))
        moves += [(key[0], change) for change in changes(old, task)]
        if key not in known or task != old:
            rows.append(_values(key, task))
    _write(connection, rows, known)
    old_founders = [row.seq for key, row in founders.items() if row.seq <= latest and key not in known]
    for start in range(0, len(old_founders), ASKED_AT_ONCE):
        connection.execute(_adding(events.c.seq.in_(old_founders[start : start + ASKED_AT_ONCE])))
    if fresh:
        _SUM_UP.run(connection, (latest,))
    _move(connection, moves, new_ids)


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
    for row in _founders(connection, [(account_id, task_id) for task_id in ids]).values():
        _JOIN.run(connection, (row.seq,))
    of_tasks = (events.c.account_id == account_id, events.c.task_id.in_(ids))
    members: dict[str, list[Member]] = {}
    for row in connection.execute(_MEMBERS.where(*of_tasks)):
        members.setdefault(row.task_id, []).append(_member(row))
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
            rows.append(_values((account_id, task_id), task))
        if task.home is not None:
            homes.append((*task.counts, task.home.event_id))
    connection.execute(sa.delete(tasks).where(tasks.c.account_id == account_id, tasks.c.task_id.in_(ids)))
    _write(connection, rows, ())
    connection.execute(sa.update(events).where(*of_tasks).values(dict.fromkeys(COUNTED, 0)))
    if homes:
        connection.exec_driver_sql(_COUNT.on(connection), homes)
    connection.execute(_adding(sa.and_(*of_tasks)))
    return len(rows)


def _known_by_id(connection: Connection, latest: int) -> list[TaskKey]:
    """The new events that are tasks which others, or an outcome, have named before."""
    joined = events.join(
        tasks, (tasks.c.account_id == events.c.account_id) & (tasks.c.task_id == events.c.id)
    )
    query = sa.select(events.c.account_id, events.c.id).select_from(joined)
    found = connection.execute(query.where(events.c.seq > latest, events.c.task_id == ""))
    return [(account_id, event_id) for account_id, event_id in found]


def _rows(connection: Connection, keys: Iterable[TaskKey]) -> dict[TaskKey, Row[Any]]:
    found: dict[TaskKey, Row[Any]] = {}
    columns = [column for column in tasks.columns if column.name not in SUMMED]
    for account_id, ids in _by_account(keys):
        query = sa.select(*columns).where(tasks.c.account_id == account_id, tasks.c.task_id.in_(ids))
        found |= {(row.account_id, row.task_id): row for row in connection.execute(query)}
    return found


def _founders(connection: Connection, keys: Iterable[TaskKey]) -> dict[TaskKey, Row[Any]]:
    """Events that are in no task yet and whose ids are named as one."""
    found: dict[TaskKey, Row[Any]] = {}
    for account_id, ids in _by_account(keys):
        query = _MEMBERS.where(events.c.id.in_(ids), sa.func.coalesce(events.c.account_id, "") == account_id)
        for row in connection.execute(query.where(sa.func.coalesce(events.c.task_id, "-") == "")):
            found[row.account_id, row.id] = row
    return found


def _by_account(keys: Iterable[TaskKey]) -> Iterable[tuple[str, list[str]]]:
    ids: dict[str, list[str]] = {}
    for account_id, task_id in keys:
        ids.setdefault(account_id, []).append(task_id)
    for account_id, all_ids in ids.items():
        for start in range(0, len(all_ids), ASKED_AT_ONCE):
            yield account_id, all_ids[start : start + ASKED_AT_ONCE]


def _join(connection: Connection, founders: Iterable[Row[Any]], latest: int) -> None:
    """Write these events into the tasks that have their ids. New ones count nowhere until that is settled."""
    for row in founders:
        _JOIN.run(connection, (row.seq,))
        if row.seq > latest:
            _UNCOUNT.run(connection, (row.seq,))


def _task(row: Row[Any]) -> Task:
    home = final = given = None
    if row.first_id:
        names = tuple(getattr(row, name) for name in HOME_NAMES)
        home = Member(row.first_id, row.first_ms, "", names)
        final = (row.last_ms, row.last_id, row.last_outcome)
    if row.given_id:
        given = Given(row.given_ms, row.given_id, row.outcome, row.reason)
    return Task(home, final, given)


def _member(row: Row[Any]) -> Member:
    return Member(row.id, row.started_ms, row.outcome, tuple(getattr(row, name) for name in HOME_NAMES))


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


def _write(connection: Connection, rows: Sequence[dict[str, Any]], known: Collection[TaskKey]) -> None:
    """Make the rows that are not known, with sums of nothing, and change the others."""
    made: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for values in rows:
        (changed if (values["account_id"], values["task_id"]) in known else made).append(values)
    if made:
        nothing = dict.fromkeys(SUMMED, 0)
        connection.execute(sa.insert(tasks), [values | nothing for values in made])
    if changed:
        connection.exec_driver_sql(
            _CHANGE.on(connection),
            [
                (*(values[name] for name in _CHANGED), values["account_id"], values["task_id"])
                for values in changed
            ],
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


def _move(connection: Connection, moves: Sequence[tuple[str, Change]], new_ids: Collection[str]) -> None:
    """Let tasks count where they are at home now: on the event, and in the rollups unless it will be rolled
    up after this."""
    if not moves:
        return
    connection.exec_driver_sql(
        _COUNT.on(connection),
        [(change.tasks, change.successes, change.home.event_id) for _, change in moves],
    )
    stored = [(account, change) for account, change in moves if change.home.event_id not in new_ids]
    if not stored:
        return
    for rollup, statement in zip(ROLLUPS, _COUNT_IN, strict=True):
        rows = []
        for account_id, (home, more, successes) in stored:
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
    statement = sa.update(tasks).values(values)
    return statement.where(
        tasks.c.account_id == sa.bindparam("of_account"), tasks.c.task_id == sa.bindparam("of_task")
    )


_MEMBERS = sa.select(
    events.c.seq,
    events.c.id,
    events.c.account_id,
    events.c.task_id,
    events.c.started_ms,
    events.c.outcome,
    *(events.c[name] for name in HOME_NAMES),
)
_CHANGED = tuple(
    column.name
    for column in tasks.columns
    if column.name not in ("account_id", "task_id") and column.name not in SUMMED
)
_CHANGE = written(_change)
_COUNT = written(_count)
_COUNT_IN = [written(partial(_count_in, rollup)) for rollup in ROLLUPS]
_SUM_UP = written(lambda _engine: _adding(events.c.seq > sa.bindparam("seq")))
_JOIN = written(
    lambda _engine: (
        sa.update(events).values(task_id=events.c.id).where(events.c.seq == sa.bindparam("of_seq"))
    )
)
_UNCOUNT = written(
    lambda _engine: (
        sa.update(events)
        .values({name: sa.literal_column("0") for name in COUNTED})
        .where(events.c.seq == sa.bindparam("of_seq"))
    )
)
