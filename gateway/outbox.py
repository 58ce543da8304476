"""The outbox as its reader sees it: streams of closed requests' events in Redis, one for each shard.

An entry is delivered to one reader of the group, stays pending with that reader until it is settled, and
is delivered again to whoever asks for it, so an entry is never lost and may be met twice. What cannot be
stored is moved, with the reason, to the shard's `dead` stream. Every method raises redis.RedisError.

    t1:{NN}:outbox  stream  e = one closed request's cost event
    t1:{NN}:dead    stream  reason, entry (its id in the outbox), then the entry's own fields
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from budgets.names import all_shards, names_on

GROUP = "recorder"
READ_MAX = 500
"""Entries of one shard in one read."""
IDLE_MS = 60_000
"""A reader that has not settled an entry for so long is taken for dead."""

_BURY = """#!lua flags=allow-oom
-- Moves an entry to the dead stream, once, whoever comes first. Grows memory only as much as it frees.
-- KEYS  1 outbox  2 dead   ARGV  1 group  2 entry id  3... reason and the entry's fields
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', 'entry', ARGV[2], unpack(ARGV, 3))
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivered entry: its stream, its id there, and its fields."""

    stream: bytes
    id: bytes
    fields: dict[bytes, bytes]


class Outbox:
    """All shards' outboxes on one node, read under one reader's name.

    `redis` is a client that gives bytes and does not repeat commands by itself: a repeated read would skip
    the entries of the reply that was lost. Two readers of one name do no harm beyond reading twice what the
    other had pending when they start.
    """

    def __init__(self, redis: Redis, *, reader: str = GROUP) -> None:
        self._redis: Any = redis  # redis-py types every reply as maybe awaitable
        self._reader = reader
        self._streams = [names_on(shard).outbox for shard in all_shards()]
        self._claim_from: dict[str, Any] = dict.fromkeys(self._streams, "0-0")

    def fresh(self, wait_ms: int | None) -> list[Entry]:
        """Entries that nobody has read, waiting up to `wait_ms` for the first; None does not wait."""
        return self._read(">", wait_ms)

    def pending(self) -> list[Entry]:
        """Entries delivered to this reader and not settled: what a crash or a lost reply left behind."""
        return self._read("0", None)

    def abandoned(self) -> list[Entry]:
        """Entries that other readers left unsettled for IDLE_MS; they are this reader's now."""
        pipeline = self._redis.pipeline(transaction=False)
        for stream, cursor in self._claim_from.items():
            pipeline.xautoclaim(stream, GROUP, self._reader, IDLE_MS, start_id=cursor, count=READ_MAX)
        found: list[Entry] = []
        for stream, answer in zip(self._streams, pipeline.execute(raise_on_error=False), strict=True):
            if not isinstance(answer, Exception):
                self._claim_from[stream] = answer[0]
                found += self._entries(stream.encode(), answer[1])
            elif not _group_is_missing(answer):
                raise answer
        return found

    def settle(self, entries: Iterable[Entry]) -> None:
        """Take the entries out of the outbox: their events are on the disk."""
        by_stream: dict[bytes, list[bytes]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, []).append(entry.id)
        pipeline = self._redis.pipeline(transaction=False)
        for stream, ids in by_stream.items():
            pipeline.execute_command("XACK", stream, GROUP, *ids)
            pipeline.execute_command("XDEL", stream, *ids)
        pipeline.execute()

    def bury(self, entry: Entry, reason: str) -> bool:
        """Move an entry to the dead stream; False when another reader was faster."""
        dead = entry.stream.removesuffix(b"outbox") + b"dead"
        flat = [part for pair in entry.fields.items() for part in pair]
        answer = self._redis.eval(_BURY, 2, entry.stream, dead, GROUP, entry.id, "reason", reason, *flat)
        return bool(answer)

    def length(self) -> int:
        """Entries in all outboxes, read or not."""
        pipeline = self._redis.pipeline(transaction=False)
        for stream in self._streams:
            pipeline.xlen(stream)
        return sum(pipeline.execute())

    def _read(self, start: str, wait_ms: int | None) -> list[Entry]:
        places = dict.fromkeys(self._streams, start)
        try:
            answer = self._redis.xreadgroup(GROUP, self._reader, places, count=READ_MAX, block=wait_ms)
        except ResponseError as error:
            if not _group_is_missing(error):
                raise
            self._create_groups()
            answer = self._redis.xreadgroup(GROUP, self._reader, places, count=READ_MAX, block=wait_ms)
        return [entry for stream, items in answer or () for entry in self._entries(stream, items)]

    def _create_groups(self) -> None:
        """On every shard, with the stream where there is none yet, so that one read can wait on all of them.

        64 empty streams take 64 KB. Done only when a read has missed one (at the first start, after a flush):
        a Redis that is full refuses this, but must still be read.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for stream in self._streams:
            pipeline.xgroup_create(stream, GROUP, id="0", mkstream=True)
        for answer in pipeline.execute(raise_on_error=False):
            if isinstance(answer, Exception) and not str(answer).startswith("BUSYGROUP"):
                raise answer

    def _entries(
        self, stream: bytes, items: Iterable[tuple[bytes, dict[bytes, bytes] | None]]
    ) -> list[Entry]:
        found: list[Entry] = []
        for entry_id, fields in items:
            if fields:
                found.append(Entry(stream, entry_id, fields))
            else:  # settled by another reader after it was delivered to us
                self._redis.xack(stream, GROUP, entry_id)
        return found


def _group_is_missing(error: Exception) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("NOGROUP")
