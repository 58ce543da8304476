"""What an in-memory Redis holds: values, expiries, and copies of both for losing writes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Any

WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
EntryId = tuple[int, int]
MAX_PART = 2**64 - 1


class CommandError(Exception):
    """An error reply: its first word is the code."""


class Hash(dict[bytes, bytes]):
    """A hash."""

    def copy(self) -> Hash:
        return Hash(self)


class SortedSet(dict[bytes, float]):
    """A sorted set: member -> score, ordered when it is read, because simulated ones are small."""

    def copy(self) -> SortedSet:
        return SortedSet(self)

    def ordered(self) -> list[tuple[bytes, float]]:
        """(member, score) by score, then by member."""
        return sorted(self.items(), key=lambda pair: (pair[1], pair[0]))


@dataclass(slots=True)
class Delivery:
    """An entry that a consumer was given and has not acknowledged."""

    consumer: bytes
    at_ms: int
    count: int

    def copy(self) -> Delivery:
        return Delivery(self.consumer, self.at_ms, self.count)


@dataclass(slots=True)
class Group:
    """A consumer group: where it stands, and what is pending."""

    last: EntryId
    pending: dict[EntryId, Delivery] = field(default_factory=dict)
    consumers: dict[bytes, int] = field(default_factory=dict)

    def copy(self) -> Group:
        pending = {entry_id: delivery.copy() for entry_id, delivery in self.pending.items()}
        return Group(self.last, pending, dict(self.consumers))


@dataclass(slots=True)
class Stream:
    """A stream: entries in the order of their ids, and its groups."""

    ids: list[EntryId] = field(default_factory=list)
    entries: dict[EntryId, tuple[bytes, ...]] = field(default_factory=dict)
    last: EntryId = (0, 0)
    added: int = 0
    deleted: EntryId = (0, 0)
    groups: dict[bytes, Group] = field(default_factory=dict)

    def copy(self) -> Stream:
        groups = {name: group.copy() for name, group in self.groups.items()}
        return Stream(list(self.ids), dict(self.entries), self.last, self.added, self.deleted, groups)

    def between(self, first: EntryId, last: EntryId) -> list[EntryId]:
        """The ids from `first` to `last`, both included."""
        return self.ids[bisect_left(self.ids, first) : bisect_right(self.ids, last)]

    def remove(self, entry_id: EntryId) -> bool:
        """Delete one entry; False when it is not there."""
        if self.entries.pop(entry_id, None) is None:
            return False
        del self.ids[bisect_left(self.ids, entry_id)]
        self.deleted = max(self.deleted, entry_id)
        return True


Value = bytes | Hash | SortedSet | Stream


class Keyspace:
    """One database. `now_ms` is set before each command: what has expired by then is not there."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.values: dict[bytes, Value] = {}
        self.expiries: dict[bytes, int] = {}

    def copy(self) -> Keyspace:
        """The same contents, changed by nothing that happens to these."""
        made = Keyspace()
        made.values = {
            name: value if isinstance(value, bytes) else value.copy() for name, value in self.values.items()
        }
        made.expiries = dict(self.expiries)
        return made

    def find(self, name: bytes) -> Value | None:
        """The value, None when there is none or it has expired."""
        end_ms = self.expiries.get(name)
        if end_ms is not None and end_ms <= self.now_ms:
            self.drop(name)
            return None
        return self.values.get(name)

    def of(self, name: bytes, kind: type[Any]) -> Any:
        """The value of this type or None; WRONGTYPE when it is another."""
        value = self.find(name)
        if value is not None and not isinstance(value, kind):
            raise CommandError(WRONG_TYPE)
        return value

    def made(self, name: bytes, kind: type[Any]) -> Any:
        """As `of`, but made where there is none."""
        value = self.of(name, kind)
        if value is None:
            value = self.values[name] = kind()
        return value

    def drop(self, name: bytes) -> bool:
        """Delete; False when there was nothing."""
        self.expiries.pop(name, None)
        return self.values.pop(name, None) is not None

    def drop_empty(self, name: bytes, value: Hash | SortedSet) -> None:
        """A hash or sorted set whose last member went away ceases to be."""
        if not value:
            self.drop(name)

    def names(self) -> list[bytes]:
        """All that is there."""
        return [name for name in list(self.values) if self.find(name) is not None]
