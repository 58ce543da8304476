"""The outbox as its reader sees it: streams of closed requests' events in Redis, and of limits' notices.

There is one of each for each shard. An entry is delivered to one reader of the group, stays pending with
that reader until it is settled, and is delivered again to whoever asks for it, so an entry is never lost and
may be met twice. What cannot be stored is moved, with the reason, to the shard's `dead` stream. Every method
raises redis.RedisError. Names and fields are told in budgets.names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from budgets.client import SyncClient, every_server, read_groups
from budgets.names import all_shards, names_on
from gateway.recorder.entry import Entry
from gateway.recorder.water import Water

GROUP = "recorder"
READ_MAX, READ_MIN = 500, 8
"""Entries of one stream in one read."""
CLAIM_MAX = 100
"""Entries of one stream claimed at once."""
IDLE_MS = 60_000
"""A reader that has not settled an entry for so long is taken for dead, unless told otherwise."""

_BURY = """#!lua flags=allow-oom
-- Moves an entry to the dead stream, once, whoever comes first. Grows memory only as much as it frees.
-- KEYS  1 its stream  2 dead   ARGV  1 group  2 entry id  3... reason and the entry's fields
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', 'entry', ARGV[2], unpack(ARGV, 3))
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
"""
_BURY_SPILLED = """
-- The same for an entry that has left Redis. It cannot have been buried before it was made, so the dead
-- letters since the moment in its id show whether it was. Not exempt from Redis' memory limit.
-- KEYS  1 dead   ARGV  1 moment (ms)  2 entry id  3... reason and the entry's fields
for _, letter in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+')) do
  for i = 1, #letter[2], 2 do
    if letter[2][i] == 'entry' and letter[2][i + 1] == ARGV[2] then return 0 end
  end
end
redis.call('XADD', KEYS[1], '*', 'entry', ARGV[2], unpack(ARGV, 3))
return 1
"""
_FORGET = """
-- Removes readers that have nothing in hand and have not asked for a while; in one step, because removing one
-- that has just been given entries would lose them.
-- KEYS  1 stream   ARGV  1 group  2 idle (ms)  3 the reader that asks
local removed = 0
for _, reader in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for i = 1, #reader, 2 do facts[reader[i]] = reader[i + 1] end
  if facts.pending == 0 and facts.idle >= tonumber(ARGV[2]) and facts.name ~= ARGV[3] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts.name)
    removed = removed + 1
  end
end
return removed
"""


class Outbox:
    """All shards' outboxes and notices, read under one reader's name.

    `redis` is a client that gives bytes and does not repeat commands by itself: a repeated read would skip
    the entries of the reply that was lost, until they are claimed. Two readers of one name do no harm beyond
    reading twice what the other had pending when they start.
    """

    def __init__(self, redis: SyncClient, *, reader: str = GROUP, idle_ms: int = IDLE_MS) -> None:
        self._client = redis
        self._redis: Any = redis  # redis-py types every reply as maybe awaitable
        self._reader = reader
        self._idle_ms = idle_ms
        shards = [names_on(shard) for shard in all_shards()]
        self._outboxes = [names.outbox for names in shards]
        self._streams = [*self._outboxes, *(names.notices for names in shards)]
        self._dead = {
            stream.encode(): names.dead for names in shards for stream in (names.outbox, names.notices)
        }
        self._claim_from: dict[str, Any] = dict.fromkeys(self._streams, "0-0")
        self._busy = len(shards)

    def fresh(self, wait_ms: int | None, most: int = READ_MAX) -> list[Entry]:
        """Entries that nobody has read, waiting up to `wait_ms` for the first; None does not wait.

        About `most`: what a reader has in hand nobody else can store, so it takes no more than it will use.
        How much to ask of each stream is judged by how many had any last time.
        """
        found: list[Entry] = []
        while len(found) < most:
            count = min(READ_MAX, max(READ_MIN, (most - len(found)) // self._busy))
            read = self._read(">", None if found else wait_ms, count)
            found += [entry for entries in read for entry in entries]
            self._busy = max(1, len(read), self._busy // 2) if read else len(self._outboxes)
            if max(map(len, read), default=0) < count:
                break
        return found

    def pending(self) -> list[Entry]:
        """Entries delivered to this reader and not settled: what a crash or a lost reply left behind.

        Reading them again tells the others that their reader lives; the idle time begins anew.
        """
        return [entry for entries in self._read("0", None, READ_MAX) for entry in entries]

    def abandoned(self) -> list[Entry]:
        """Entries that other readers left unsettled for the idle time; they are this reader's now."""
        pipeline = self._redis.pipeline(transaction=False)
        for stream, cursor in self._claim_from.items():
            pipeline.xautoclaim(stream, GROUP, self._reader, self._idle_ms, start_id=cursor, count=CLAIM_MAX)
        found: list[Entry] = []
        for stream, answer in zip(
            self._streams, _passable(pipeline.execute(raise_on_error=False)), strict=True
        ):
            if answer is not None:
                self._claim_from[stream] = answer[0]
                found += self._entries(stream.encode(), answer[1])
        return found

    def forget_idle_readers(self) -> int:
        """Remove readers that have had nothing in hand for the idle time; their number over all streams.

        One that lives after all is made again with its next read.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for stream in self._streams:
            pipeline.eval(_FORGET, 1, stream, GROUP, self._idle_ms, self._reader)
        return sum(removed or 0 for removed in _passable(pipeline.execute(raise_on_error=False)))

    def settle(self, entries: Iterable[Entry]) -> None:
        """Take the entries out of the outbox: what they say is on the disk.

        Deleted first: of what is acknowledged and still there nobody would ever be told again.
        """
        by_stream: dict[bytes, list[bytes]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, []).append(entry.id)
        pipeline = self._redis.pipeline(transaction=False)
        for stream, ids in by_stream.items():
            pipeline.execute_command("XDEL", stream, *ids)
            pipeline.execute_command("XACK", stream, GROUP, *ids)
        pipeline.execute()

    def bury(self, entry: Entry, reason: str) -> bool:
        """Move an entry to the dead stream; False when another reader was faster."""
        answer = self._redis.eval(
            _BURY, 2, entry.stream, self._dead[entry.stream], GROUP, entry.id, "reason", reason, *_flat(entry)
        )
        return bool(answer)

    def bury_spilled(self, entry: Entry, reason: str) -> bool:
        """Put an entry that is in Redis no more into the dead stream; False when it is there already."""
        moment = entry.id.partition(b"-")[0]
        answer = self._redis.eval(
            _BURY_SPILLED, 1, self._dead[entry.stream], moment, entry.id, "reason", reason, *_flat(entry)
        )
        return bool(answer)

    def length(self) -> int:
        """Entries in all outboxes, read or not."""
        pipeline = self._redis.pipeline(transaction=False)
        for stream in self._outboxes:
            pipeline.xlen(stream)
        return sum(length or 0 for length in _passable(pipeline.execute(raise_on_error=False)))

    def water(self) -> Water:
        """How full Redis is."""
        servers: list[Any] = every_server(self._client)
        return Water(self.length(), max(_memory_percent(server.info("memory")) for server in servers))

    def _read(self, start: str, wait_ms: int | None, count: int) -> list[list[Entry]]:
        """Up to `count` entries of each stream that has some."""
        try:
            answer = self._ask(start, wait_ms, count)
        except ResponseError as error:
            if not _group_is_missing(error):
                raise
            self._create_groups()
            # On a cluster some streams may have given their entries before another one's group was missed.
            answer = self._ask("0", None, count) or self._ask(start, wait_ms, count)
        return [self._entries(stream, items) for stream, items in answer]

    def _ask(self, start: str, wait_ms: int | None, count: int) -> Sequence[tuple[bytes, Any]]:
        streams = dict.fromkeys(self._streams, start)
        answer = read_groups(self._client, GROUP, self._reader, streams, count=count, wait_ms=wait_ms)
        return [(stream, items) for stream, items in answer if items]

    def _create_groups(self) -> None:
        """On every shard, with the stream where there is none yet, so that one read can wait on all of them.

        128 empty streams take 128 KB. Done only when a read has missed one (at the first start, after a
        flush): a Redis that is full refuses this, but must still be read.
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
        gone: list[bytes] = []
        for entry_id, fields in items:
            if fields:
                found.append(Entry(stream, entry_id, fields))
            else:  # settled by another reader after it was delivered to us
                gone.append(entry_id)
        if gone:
            self._redis.xack(stream, GROUP, *gone)
        return found


def _group_is_missing(error: Exception) -> bool:
    said = str(error)
    return isinstance(error, ResponseError) and ("NOGROUP" in said or "no such key" in said)


def _flat(entry: Entry) -> list[bytes]:
    return [part for pair in entry.fields.items() for part in pair]


def _passable(answers: Iterable[Any]) -> Iterator[Any]:
    """The answers, None for a stream that has no group yet, or whose node of a cluster is away."""
    for answer in answers:
        if not isinstance(answer, Exception):
            yield answer
        elif isinstance(answer, (RedisConnectionError, RedisTimeoutError)) or _group_is_missing(answer):
            yield None
        else:
            raise answer


def _memory_percent(told: Any) -> int:
    bound = int(told.get("maxmemory", 0))
    return 100 * int(told["used_memory"]) // bound if bound else 0
