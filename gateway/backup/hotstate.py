"""Our keys in Redis as lines of JSON, and back: the same for an embedded server, another one, and a cluster.

    {"key": name, "until": ms or -1, "string": value}
    {"key": name, "until": ms or -1, "hash": [field, value, ...]}     a large one in several lines
    {"key": name, "until": ms or -1, "zset": [member, score, ...]}
    {"stream": name, "id": entry, "fields": [name, value, ...]}       one entry

Contents are in base64. They are written out and not as DUMP gives them, which no older server can read, nor
one of another family.

They are read while requests come and go, in an order that makes it no matter: the leases first, which say
which requests run; then everything else; the streams last. A request that ends meanwhile is then in a lease
and also has its event, in the stream or in the database, and is ended by that when the ledger is made whole.
One that begins meanwhile is left out. What tells whether a ledger is whole is never copied: a restored one is
not, and is counted anew from the record before it admits anybody.
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import orjson
from redis.exceptions import RedisError, ResponseError

from budgets.client import SyncClient, every_server
from budgets.names import all_shards, names_on
from gateway.backup.manifest import LEDGER, BackupError

AT_ONCE = 500
PATTERN = f"{LEDGER}:*"
_GONE = -2
"""Of a key that is not there, in place of when it expires; -1: never."""


def dump_ledger(client: SyncClient, out: IO[bytes]) -> tuple[int, int]:
    """Write all keys of ours; gives the number of keys, and of entries of streams. Raises RedisError."""
    running = _running(client)
    left_out = {each for shard in all_shards() for each in _left_out(shard)}
    prefixes = tuple(names_on(shard).open.encode() for shard in all_shards())
    keys = 0
    for server in every_server(client):
        for names in _batches(server.scan_iter(match=PATTERN, count=AT_ONCE)):
            for key in _keys(server, [each for each in names if each not in left_out]):
                begun_since = key.until_ms < 0 and key.name.startswith(prefixes) and key.name not in running
                if not begun_since:
                    keys += 1
                    for kind, content in _contents(server, key):
                        line = {"key": _text(key.name), "until": key.until_ms, kind: content}
                        _write(out, line)
    entries = 0
    for shard in all_shards():
        for stream in _streams(shard):
            for entry_id, fields in _entries(client, stream):
                entries += 1
                _write(out, {"stream": stream, "id": entry_id.decode(), "fields": _flat(fields.items())})
    return keys, entries


def load_ledger(client: SyncClient, lines: IO[bytes]) -> None:
    """Write them to a server that has none of ours. Raises BackupError for a server that cannot take them,
    RedisError."""
    pipeline = client.pipeline(transaction=False)
    for batch in _batches(lines):
        for document in map(orjson.loads, batch):
            if "stream" in document:
                pairs = _pairs(document["fields"])
                pipeline.xadd(document["stream"], pairs, id=document["id"])
                continue
            name = b64decode(document["key"])
            if "string" in document:
                pipeline.set(name, b64decode(document["string"]))
            elif "hash" in document:
                pipeline.hset(name, mapping=_pairs(document["hash"]))
            else:
                pipeline.zadd(name, {each: float(score) for each, score in _pairs(document["zset"]).items()})
            if document["until"] >= 0:  # one whose time has come meanwhile is gone at once
                pipeline.pexpireat(name, document["until"])
        for answer in pipeline.execute(raise_on_error=False):
            if isinstance(answer, ResponseError):
                raise BackupError(f"the server cannot take the ledger's state: {answer}")
            if isinstance(answer, RedisError):
                raise answer


def holds_ledger(client: SyncClient) -> bool:
    """Whether any key of ours is there."""
    return any(
        True for server in every_server(client) for _ in server.scan_iter(match=PATTERN, count=AT_ONCE)
    )


def is_in_use(client: SyncClient) -> bool:
    """Whether some gateway has a request running there, or had one until just now."""
    now_ms = time.time_ns() // 1_000_000
    redis: Any = client
    return any(redis.zcount(names_on(shard).leases, now_ms, "+inf") for shard in all_shards())


def remove_ledger(client: SyncClient) -> None:
    """Remove all keys of ours."""
    for server in every_server(client):
        for names in _batches(server.scan_iter(match=PATTERN, count=AT_ONCE)):
            pipeline = server.pipeline(transaction=False)
            for name in names:
                pipeline.unlink(name)
            pipeline.execute()


def _running(client: SyncClient) -> set[bytes]:
    """The names of the open records of what runs; the leases themselves are dumped with the other keys."""
    redis: Any = client
    found = set()
    for names in map(names_on, all_shards()):
        found |= {names.open.encode() + each for each in redis.zrange(names.leases, 0, -1)}
    return found


def _left_out(shard: str) -> Iterator[bytes]:
    names = names_on(shard)
    yield from (each.encode() for each in (names.meta, names.seeding, *_streams(shard)))


def _streams(shard: str) -> tuple[str, ...]:
    names = names_on(shard)
    return names.notices, names.dead, names.outbox


@dataclass(frozen=True, slots=True)
class _Key:
    """A key, and the first part of what it holds: GET, HSCAN or ZRANGE with scores."""

    name: bytes
    kind: bytes
    until_ms: int
    answer: Any


def _keys(server: Any, names: list[bytes]) -> Iterator[_Key]:
    """Those that are still there."""
    pipeline = server.pipeline(transaction=False)
    for name in names:
        pipeline.type(name)
        pipeline.pexpiretime(name)
    answers = pipeline.execute() if names else []
    found = [each for each in zip(names, answers[::2], answers[1::2], strict=True) if each[2] != _GONE]
    for name, kind, _ in found:
        if kind == b"string":
            pipeline.get(name)
        elif kind == b"hash":
            pipeline.hscan(name, 0, count=AT_ONCE)
        elif kind == b"zset":
            pipeline.zrange(name, 0, -1, withscores=True)
        else:
            raise BackupError(f"{name!r} is a {kind.decode()}: this version's ledger has no such key")
    contents = pipeline.execute(raise_on_error=False) if found else []
    for (name, kind, until_ms), answer in zip(found, contents, strict=True):
        if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
            continue  # a request has ended since: its record is the marker of that, and it has its event
        if isinstance(answer, RedisError):
            raise answer
        if answer is not None:
            yield _Key(name, kind, until_ms, answer)


def _contents(server: Any, key: _Key) -> Iterator[tuple[str, Any]]:
    """What it holds, a large hash in portions: nobody else waits for a whole one."""
    if key.kind == b"string":
        yield "string", _text(key.answer)
    elif key.kind == b"zset":
        yield "zset", _flat((member, repr(score).encode()) for member, score in key.answer)
    else:
        cursor, fields = key.answer
        while fields or cursor:
            if fields:
                yield "hash", _flat(fields.items())
            cursor, fields = server.hscan(key.name, cursor, count=AT_ONCE) if cursor else (0, {})


def _entries(client: SyncClient, stream: str) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    redis: Any = client
    start = "-"
    while portion := redis.xrange(stream, min=start, count=AT_ONCE):
        yield from portion
        start = f"({portion[-1][0].decode()}"


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) >= AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _flat(pairs: Iterable[tuple[bytes, bytes]]) -> list[str]:
    return [_text(part) for pair in pairs for part in pair]


def _pairs(flat: list[str]) -> Any:
    parts = [b64decode(each) for each in flat]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _write(out: IO[bytes], document: dict[str, Any]) -> None:
    out.write(orjson.dumps(document) + b"\n")


def _text(content: bytes) -> str:
    return b64encode(content).decode()
