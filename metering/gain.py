"""What rollups gain from events, and how it is added to them.

A batch is summed before it is stored: its hours from the events, days from hours and weeks from days, because
a coarser rollup that has the same names needs nothing else. The database then changes each row of a rollup
once, and reads no event again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from metering.eventcolumns import PLACES, EventRow
from metering.rollup import HOUR_MS, MEASURES, ROLLUPS, Rollup, source_of
from metering.statement import EngineName, Statement, insert_given, run_given, written

Key = tuple[Any, ...]
"""A row's place in a rollup: the account, the bucket and the names, in the order of its columns."""
Sums = tuple[int, ...]
"""The measures, in the order of MEASURES."""
Groups = dict[Key, list[Sums]]

_NAMES = tuple(dict.fromkeys(name for rollup in ROLLUPS for name in rollup.columns))
_ACCOUNT, _STARTED, _MEASURES = PLACES["account_id"], PLACES["started_ms"], PLACES[MEASURES[0]]


def add_gains(connection: Connection, rows: Sequence[EventRow]) -> None:
    """Add what these rows of events measure to every rollup. The write lock is held.

    Raises OverflowError, or what the driver does, where a sum passes 64 bits.
    """
    for rollup, found in gains(rows).items():
        _ADD[rollup.table.name].add(connection, [key + sums for key, sums in found.items()])


def gains(rows: Sequence[EventRow]) -> dict[Rollup, dict[Key, Sums]]:
    """For each rollup the sums by which its rows grow."""
    found: dict[Rollup, dict[Key, Sums]] = {}
    narrow = _narrow(rows)
    for rollup in sorted(ROLLUPS, key=lambda each: each.bucket_ms):
        source = source_of(rollup)
        if source is None:
            found[rollup] = _summed(_by_hour(narrow, rollup))
        else:
            found[rollup] = _summed(_by_bucket(found[source].items(), source, rollup))
    return found


def _narrow(rows: Sequence[EventRow]) -> list[tuple[Key, Sums]]:
    """Of each row the account, the hour and all names that any rollup has; and its measures."""
    names = itemgetter(*(PLACES[name] for name in _NAMES))
    return [
        ((row[_ACCOUNT], row[_STARTED] - row[_STARTED] % HOUR_MS, *names(row)), row[_MEASURES:])
        for row in rows
    ]


def _by_hour(narrow: Iterable[tuple[Key, Sums]], rollup: Rollup) -> Groups:
    key_of = itemgetter(0, 1, *(2 + _NAMES.index(name) for name in rollup.columns))
    groups: Groups = {}
    for place, sums in narrow:
        groups.setdefault(key_of(place), []).append(sums)
    return groups


def _by_bucket(finer: Iterable[tuple[Key, Sums]], source: Rollup, rollup: Rollup) -> Groups:
    names = _picker([2 + source.columns.index(name) for name in rollup.columns])
    groups: Groups = {}
    for place, sums in finer:
        bucket = place[1] - place[1] % rollup.bucket_ms
        groups.setdefault((place[0], bucket, *names(place)), []).append(sums)
    return groups


def _picker(places: Sequence[int]) -> Callable[[Key], Key]:
    """As itemgetter, which gives no tuple for a single place or none."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda row: tuple(row[place] for place in places)


def _summed(groups: Groups) -> dict[Key, Sums]:
    return {key: rows[0] if len(rows) == 1 else total(rows) for key, rows in sorted(groups.items())}


def total(rows: Iterable[Sums]) -> Sums:
    """Every measure's sum."""
    return tuple(map(sum, zip(*rows, strict=True)))


class _Add:
    """Adds sums to the rows of a rollup that have their keys, or makes these."""

    def __init__(self, rollup: Rollup) -> None:
        table = rollup.table

        def build(engine: EngineName) -> sa.Insert:
            statement = insert_given(engine, table)
            more = {name: table.c[name] + statement.excluded[name] for name in MEASURES}
            made: sa.Insert = statement.on_conflict_do_update(
                index_elements=list(table.primary_key.columns), set_=more
            )
            return made

        self._statement: Statement = written(build)

    def add(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Rows: a value for every column, no two with one key."""
        run_given(self._statement, connection, rows)


_ADD = {rollup.table.name: _Add(rollup) for rollup in ROLLUPS}
