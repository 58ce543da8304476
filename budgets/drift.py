"""Drift: by how much rows of the ledger differ from what the record and what moves to it say of them.

Rows are read in portions, each together with the outbox's last id, so what a portion should say is known
exactly although requests go on ending: the record's sums, and everything that had ended by that id.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from budgets.counted import LimitIndex, amounts
from budgets.limit import LimitTerms
from budgets.movements import BEFORE, NOTHING_SPILLED, EntryId, Movement, Movements, Spilled, entry_of
from budgets.names import ShardNames
from budgets.running import run_script
from budgets.scripts import LOOK
from budgets.tally import tally
from budgets.window import Window, window_of
from metering.eventstore import EventStore

ROW = struct.Struct("<3q")
ROWS_AT_ONCE = 1_000
"""Rows that one script call reads: less than a millisecond of the server's time."""
Place = tuple[str, str]
"""A row's place: hash and field."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A row as it was read, and up to which entry of the outbox it counts. `fit`: it is a row at all."""

    spent: int
    reserved: int
    doubted: int
    entry: EntryId
    fit: bool = True


@dataclass(frozen=True, slots=True)
class Drift:
    """What must be added to a row so that it says what is recorded."""

    place: Place
    limit: LimitTerms
    window: Window
    spent: int
    doubted: int


@dataclass(slots=True)
class Comparison:
    """Rows as they were read, where they differ, and how many could not be told: still moving."""

    seen: dict[Place, Seen]
    drifts: list[Drift]
    compared: int = 0
    unsure: int = 0


class Group:
    """Limits of one shard whose present rows lie in one hash, or in the traces' hashes (`hash` None)."""

    def __init__(self, name: str | None) -> None:
        self.hash = name
        self.limits: dict[str, list[LimitTerms]] = {}  # by account

    def has(self, place: Place) -> bool:
        """Whether rows of this place are this group's."""
        return self.hash is None or place[0] == self.hash


def groups(names: ShardNames, indexes: Iterable[LimitIndex], now_ms: int) -> list[Group]:
    """The limits of a shard that count anything, by where their present rows lie."""
    found: dict[str | None, Group] = {}
    for index in indexes:
        for limit in index.limits:
            where = None if limit.scope == "trace" else names.window + window_of(limit, now_ms).id
            group = found.get(where)
            if group is None:
                group = found[where] = Group(where)
            group.limits.setdefault(index.account_id, []).append(limit)
    return list(found.values())


def compare(
    redis: Any,
    names: ShardNames,
    store: EventStore,
    indexes: Mapping[str, LimitIndex],
    group: Group,
    now_ms: int,
    spilled: Spilled = NOTHING_SPILLED,
) -> Comparison:
    """Compare the present rows of the group. Raises as the store and Redis do."""
    limits = {limit.id: limit for members in group.limits.values() for limit in members}
    expected: dict[Place, list[int]] = {}
    with store.snapshot() as snapshot:
        for account_id, members in group.limits.items():
            for part in tally(snapshot, indexes[account_id], members, now_ms):
                for name, field, spent, doubted in part.lines():
                    expected[name, field] = [spent, doubted]
        movements = Movements(redis, names, store, snapshot, spilled)
    movements.read_record(unmet=BEFORE)
    movements.read_outbox()
    seen = dict(walk(redis, names, group.hash, movements)) if group.hash is not None else {}
    touched = _Touched(indexes, group, limits)
    wanted = {*expected, *(place for each in movements.found.values() for place, _ in touched.by(each))}
    missing = [place for place in wanted if place not in seen]
    seen.update(look_at(redis, names, missing, movements))
    movements.read_record()
    unsure = _add(expected, seen, touched, movements)
    return _compared(seen, expected, unsure, limits, now_ms)


class _Touched:
    """The group's rows on which each movement counts."""

    def __init__(
        self, indexes: Mapping[str, LimitIndex], group: Group, limits: Mapping[str, LimitTerms]
    ) -> None:
        self._indexes = indexes
        self._group = group
        self._limits = limits
        self._known: dict[str, list[tuple[Place, LimitTerms]]] = {}

    def by(self, movement: Movement) -> list[tuple[Place, LimitTerms]]:
        counted = movement.counted
        found = self._known.get(counted.id)
        if found is None:
            index = self._indexes.get(counted.of.account_id)
            found = self._known[counted.id] = [
                ((row.hash, row.field), row.limit)
                for row in (index.rows(counted) if index is not None else ())
                if row.limit.id in self._limits and self._group.has((row.hash, row.field))
            ]
        return found


def _add(
    expected: dict[Place, list[int]],
    seen: Mapping[Place, Seen],
    touched: _Touched,
    movements: Movements,
) -> set[Place]:
    """Add to the expected amounts what had ended when each row was read; gives the rows that may or may not
    count something of which nobody saw when it ended."""
    unsure: set[Place] = set()
    for movement in movements.found.values():
        for place, limit in touched.by(movement):
            if movement.entry is None:
                unsure.add(place)
            elif place in seen and movement.entry <= seen[place].entry:
                spent, doubted = amounts(limit.kind, movement.counted)
                line = expected.setdefault(place, [0, 0])
                line[0] += spent
                line[1] += doubted
    return unsure


def _compared(
    seen: dict[Place, Seen],
    expected: Mapping[Place, list[int]],
    unsure: set[Place],
    limits: Mapping[str, LimitTerms],
    now_ms: int,
) -> Comparison:
    found = Comparison(seen, [])
    nothing = [0, 0]
    for place, row in seen.items():
        should = expected.get(place, nothing)
        limit = limits.get(place[1].partition(":")[0])
        if limit is None:
            continue
        if place in unsure:
            found.unsure += 1
            continue
        found.compared += 1
        spent = max(0, should[0]) - row.spent
        doubted = max(0, should[1]) - row.doubted if limit.kind == "money" else 0
        if spent or doubted or not row.fit:
            found.drifts.append(Drift(place, limit, window_of(limit, now_ms), spent, doubted))
    return found


def walk(
    redis: Any, names: ShardNames, name: str, movements: Movements | None = None
) -> Iterator[tuple[Place, Seen]]:
    """Every row of a hash, in portions that do not hold the server up."""
    cursor: bytes | str = "0"
    while True:
        last_id, cursor, found = run_script(redis, LOOK, (names.outbox, name), (cursor, ROWS_AT_ONCE))
        if movements is not None:
            movements.read_outbox_until(last_id.decode())
        entry = entry_of(last_id)
        for at in range(0, len(found), 2):
            field, content = found[at].decode(errors="replace"), found[at + 1]
            if len(content) == ROW.size:
                spent, reserved, doubted = ROW.unpack(content)
                yield (name, field), Seen(spent, reserved, doubted, entry)
            elif not (field.startswith("!") and content.isdigit()):  # what is told of thresholds is no row
                yield (name, field), Seen(0, 0, 0, entry, fit=False)
        if cursor == b"0":
            return


def look_at(
    redis: Any, names: ShardNames, places: Sequence[Place], movements: Movements
) -> Iterator[tuple[Place, Seen]]:
    """These rows; one that is missing says nothing."""
    for start in range(0, len(places), ROWS_AT_ONCE):
        batch = places[start : start + ROWS_AT_ONCE]
        keys = (names.outbox, *(name for name, _ in batch))
        last_id, _, contents = run_script(redis, LOOK, keys, ("", *(field for _, field in batch)))
        movements.read_outbox_until(last_id.decode())
        entry = entry_of(last_id)
        for place, content in zip(batch, contents, strict=True):
            if content is None or len(content) != ROW.size:
                yield place, Seen(0, 0, 0, entry, fit=content is None)
            else:
                spent, reserved, doubted = ROW.unpack(content)
                yield place, Seen(spent, reserved, doubted, entry)
