"""How adjustments that came before or after their events are added to the sums of these, once each.

They wait, `pending`, until their event is there. Then the event's columns of CORRECTED, the rollups and the
event's task grow by the same deltas, so that all of them stay equal. The write lock is held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from operator import add
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Select, Table, Update

from metering.eventcolumns import PLACES, adjustments, events
from metering.gain import Sums, add_gains
from metering.rollup import CORRECTED, MEASURES
from metering.statement import EngineName, among, listed, written
from metering.tasktable import EVENTS_BY_ID, tasks

_SEQ, _ID, _ACCOUNT, _TASK = (PLACES[name] for name in ("seq", "id", "account_id", "task_id"))
_MEASURES = PLACES[MEASURES[0]]


def settle_adjustments(connection: Connection, event_ids: Sequence[str]) -> None:
    """Add what waits for these events to them, where they are here."""
    waiting = _WAITING.run(connection, [listed(connection, event_ids)]).all()
    if not waiting:
        return
    wanted = listed(connection, sorted({row.event_id for row in waiting}))
    found = {(row[_ID], row[_ACCOUNT]): tuple(row) for row in EVENTS_BY_ID.run(connection, [wanted])}
    settled: list[tuple[int]] = []
    more: dict[tuple[str, str], Sums] = {}
    for row in waiting:
        key = (row.event_id, row.account_id)
        if key in found:
            settled.append((row.seq,))
            more[key] = tuple(map(add, more.get(key, _NOTHING), (getattr(row, name) for name in CORRECTED)))
    if not settled:
        return
    changed = [(found[key], sums) for key, sums in more.items()]
    connection.exec_driver_sql(_OF_EVENT.on(connection), [(*sums, event[_SEQ]) for event, sums in changed])
    in_tasks = [(*sums, event[_ACCOUNT], event[_TASK]) for event, sums in changed if event[_TASK]]
    if in_tasks:
        connection.exec_driver_sql(_OF_TASK.on(connection), in_tasks)
    add_gains(connection, [(*event[:_MEASURES], *_measures(sums)) for event, sums in changed])
    connection.exec_driver_sql(_SETTLED.on(connection), settled)


def _measures(sums: Sums) -> Sums:
    """The sums of CORRECTED in their places among all measures."""
    changed: Mapping[str, int] = dict(zip(CORRECTED, sums, strict=True))
    return tuple(changed.get(name, 0) for name in MEASURES)


def _waiting(engine: EngineName) -> Select[Any]:
    pending = adjustments.c.pending == sa.literal_column("1")
    return sa.select(adjustments).where(pending, among(engine, adjustments.c.event_id))


def _add_to(table: Table, keys: Sequence[str], _engine: EngineName) -> Update:
    changes = [(table.c[name], table.c[name] + sa.bindparam(f"more_{name}")) for name in CORRECTED]
    statement = sa.update(table).ordered_values(*changes)
    return statement.where(*(table.c[name] == sa.bindparam(f"of_{name}") for name in keys))


_NOTHING = (0,) * len(CORRECTED)
_WAITING = written(_waiting)
_OF_EVENT = written(partial(_add_to, events, ["seq"]))
_OF_TASK = written(partial(_add_to, tasks, ["account_id", "task_id"]))
_SETTLED = written(
    lambda _engine: (
        sa.update(adjustments)
        .values(pending=sa.literal_column("0"))
        .where(adjustments.c.seq == sa.bindparam("of_seq"))
    )
)
