"""The commands of an in-memory Redis, but for streams: strings, hashes, sorted sets, keys.

A reply is bytes, int, None, a list of replies or a `Status`; an error is a raised CommandError. Semantics
and texts are those of Redis 7; tests/simulation/test_redis.py compares them with a real server.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from tests.simulation.keyspace import CommandError, Hash, Keyspace, SortedSet, Stream

SYNTAX = "ERR syntax error"
NOT_AN_INTEGER = "ERR value is not an integer or out of range"
NOT_A_FLOAT = "ERR value is not a valid float"


class Status(bytes):
    """A simple string reply, such as OK."""


OK = Status(b"OK")
Reply = Any
Command = Callable[[Keyspace, list[bytes]], Reply]


def integer(text: bytes) -> int:
    """A decimal integer of 64 bits as Redis reads it: no spaces, no plus sign, no leading zeros."""
    try:
        value = int(text)
    except ValueError:
        raise CommandError(NOT_AN_INTEGER) from None
    if str(value).encode() != text or not -(2**63) <= value < 2**63:
        raise CommandError(NOT_AN_INTEGER)
    return value


def number(value: float) -> bytes:
    """A score as a reply shows it."""
    if abs(value) < 2**63 and value == int(value):
        return b"%d" % int(value)
    return b"%.17g" % value


def _float(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        raise CommandError(NOT_A_FLOAT) from None


def _get(space: Keyspace, args: list[bytes]) -> Reply:
    return space.of(args[0], bytes)


def _set(space: Keyspace, args: list[bytes]) -> Reply:
    name, value, *options = args
    end_ms: int | None = None
    keep = False
    condition = b""
    at = 0
    while at < len(options):
        word = options[at].upper()
        if word in (b"NX", b"XX") and not condition:
            condition = word
        elif word in (b"PX", b"EX", b"PXAT") and end_ms is None and at + 1 < len(options):
            at += 1
            given = integer(options[at])
            if given <= 0:
                raise CommandError("ERR invalid expire time in 'set' command")
            end_ms = given if word == b"PXAT" else space.now_ms + given * (1000 if word == b"EX" else 1)
        elif word == b"KEEPTTL":
            keep = True
        else:
            raise CommandError(SYNTAX)
        at += 1
    there = space.find(name) is not None
    if (condition == b"NX" and there) or (condition == b"XX" and not there):
        return None
    if not keep:
        space.expiries.pop(name, None)
    space.values[name] = value
    if end_ms is not None:
        space.expiries[name] = end_ms
    return OK


def _del(space: Keyspace, args: list[bytes]) -> Reply:
    return sum(space.find(name) is not None and space.drop(name) for name in args)


def _exists(space: Keyspace, args: list[bytes]) -> Reply:
    return sum(space.find(name) is not None for name in args)


def _type(space: Keyspace, args: list[bytes]) -> Reply:
    kinds = {bytes: b"string", Hash: b"hash", SortedSet: b"zset", Stream: b"stream", type(None): b"none"}
    return Status(kinds[type(space.find(args[0]))])


def _incrby(space: Keyspace, args: list[bytes]) -> Reply:
    more = integer(args[1])
    value = integer(space.of(args[0], bytes) or b"0") + more
    if not -(2**63) <= value < 2**63:
        raise CommandError("ERR increment or decrement would overflow")
    space.values[args[0]] = b"%d" % value
    return value


def _expire_at(space: Keyspace, name: bytes, end_ms: int) -> int:
    if space.find(name) is None:
        return 0
    if end_ms <= space.now_ms:
        space.drop(name)
    else:
        space.expiries[name] = end_ms
    return 1


def _pexpire(space: Keyspace, args: list[bytes]) -> Reply:
    return _expire_at(space, args[0], space.now_ms + integer(args[1]))


def _expire(space: Keyspace, args: list[bytes]) -> Reply:
    return _expire_at(space, args[0], space.now_ms + 1000 * integer(args[1]))


def _pexpireat(space: Keyspace, args: list[bytes]) -> Reply:
    return _expire_at(space, args[0], integer(args[1]))


def _persist(space: Keyspace, args: list[bytes]) -> Reply:
    return int(space.find(args[0]) is not None and space.expiries.pop(args[0], None) is not None)


def _pttl(space: Keyspace, args: list[bytes]) -> Reply:
    if space.find(args[0]) is None:
        return -2
    end_ms = space.expiries.get(args[0])
    return -1 if end_ms is None else end_ms - space.now_ms


def _keys(space: Keyspace, args: list[bytes]) -> Reply:
    # Redis' patterns are near enough to the shell's for the ones that are asked here.
    pattern = args[0].decode("latin-1")
    return [name for name in space.names() if fnmatchcase(name.decode("latin-1"), pattern)]


def _scan(space: Keyspace, args: list[bytes]) -> Reply:
    pattern = b"*"
    for word, value in zip(args[1::2], args[2::2], strict=True):
        if word.upper() == b"MATCH":
            pattern = value
    return [b"0", _keys(space, [pattern])]


def _hset(space: Keyspace, args: list[bytes]) -> Reply:
    if len(args) % 2 == 0:
        raise CommandError("ERR wrong number of arguments for 'hset' command")
    found: Hash = space.made(args[0], Hash)
    before = len(found)
    for at in range(1, len(args), 2):
        found[args[at]] = args[at + 1]
    return len(found) - before


def _hsetnx(space: Keyspace, args: list[bytes]) -> Reply:
    found: Hash = space.made(args[0], Hash)
    if args[1] in found:
        return 0
    found[args[1]] = args[2]
    return 1


def _hget(space: Keyspace, args: list[bytes]) -> Reply:
    found: Hash | None = space.of(args[0], Hash)
    return None if found is None else found.get(args[1])


def _hmget(space: Keyspace, args: list[bytes]) -> Reply:
    found: Hash = space.of(args[0], Hash) or Hash()
    return [found.get(name) for name in args[1:]]


def _hgetall(space: Keyspace, args: list[bytes]) -> Reply:
    return [part for pair in (space.of(args[0], Hash) or {}).items() for part in pair]


def _hkeys(space: Keyspace, args: list[bytes]) -> Reply:
    return list(space.of(args[0], Hash) or ())


def _hscan(space: Keyspace, args: list[bytes]) -> Reply:
    return [b"0", _hgetall(space, args)]  # all at once, as Redis itself does with small hashes


def _hlen(space: Keyspace, args: list[bytes]) -> Reply:
    return len(space.of(args[0], Hash) or ())


def _hexists(space: Keyspace, args: list[bytes]) -> Reply:
    return int(args[1] in (space.of(args[0], Hash) or ()))


def _hdel(space: Keyspace, args: list[bytes]) -> Reply:
    found: Hash | None = space.of(args[0], Hash)
    if found is None:
        return 0
    gone = sum(found.pop(name, None) is not None for name in args[1:])
    space.drop_empty(args[0], found)
    return gone


def _hincrby(space: Keyspace, args: list[bytes]) -> Reply:
    more = integer(args[2])
    found: Hash = space.of(args[0], Hash) or Hash()
    try:
        value = integer(found.get(args[1], b"0"))
    except CommandError:
        raise CommandError("ERR hash value is not an integer") from None
    if not -(2**63) <= value + more < 2**63:
        raise CommandError("ERR increment or decrement would overflow")
    space.made(args[0], Hash)[args[1]] = b"%d" % (value + more)
    return value + more


def _zadd(space: Keyspace, args: list[bytes]) -> Reply:
    name, *rest = args
    flags = set()
    while rest and rest[0].upper() in (b"NX", b"XX", b"GT", b"LT", b"CH"):
        flags.add(rest.pop(0).upper())
    if not rest or len(rest) % 2:
        raise CommandError(SYNTAX)
    pairs = [(rest[at + 1], _float(rest[at])) for at in range(0, len(rest), 2)]
    found: SortedSet = space.of(name, SortedSet) or SortedSet()
    added = changed = 0
    for member, score in pairs:
        old = found.get(member)
        if old is None:
            if b"XX" in flags:
                continue
            added += 1
        elif (
            b"NX" in flags
            or (b"GT" in flags and score <= old)
            or (b"LT" in flags and score >= old)
            or score == old
        ):
            continue
        else:
            changed += 1
        found[member] = score
    if found:
        space.values[name] = found
    return added + changed if b"CH" in flags else added


def _zrem(space: Keyspace, args: list[bytes]) -> Reply:
    found: SortedSet | None = space.of(args[0], SortedSet)
    if found is None:
        return 0
    gone = sum(found.pop(member, None) is not None for member in args[1:])
    space.drop_empty(args[0], found)
    return gone


def _zscore(space: Keyspace, args: list[bytes]) -> Reply:
    score = (space.of(args[0], SortedSet) or {}).get(args[1])
    return None if score is None else number(score)


def _zcard(space: Keyspace, args: list[bytes]) -> Reply:
    return len(space.of(args[0], SortedSet) or ())


def _with_scores(found: list[tuple[bytes, float]], wanted: bool) -> Reply:
    if not wanted:
        return [member for member, _ in found]
    return [part for member, score in found for part in (member, number(score))]


def _zrange(space: Keyspace, args: list[bytes]) -> Reply:
    first, last = integer(args[1]), integer(args[2])
    options = [option.upper() for option in args[3:]]
    if set(options) - {b"WITHSCORES", b"REV"}:
        raise CommandError(SYNTAX)
    found: SortedSet | None = space.of(args[0], SortedSet)
    if found is None:
        return []
    ordered = found.ordered()
    if b"REV" in options:
        ordered.reverse()
    size = len(ordered)
    first = max(0, first + size if first < 0 else first)
    last = last + size if last < 0 else last
    return _with_scores(ordered[first : max(0, last + 1)], b"WITHSCORES" in options)


def _bound(text: bytes) -> tuple[float, bool]:
    """(score, excluded)."""
    try:
        return (float(text[1:]), True) if text[:1] == b"(" else (float(text), False)
    except ValueError:
        raise CommandError("ERR min or max is not a float") from None


def _zrangebyscore(space: Keyspace, args: list[bytes]) -> Reply:
    (low, above), (high, below) = _bound(args[1]), _bound(args[2])
    options = [option.upper() for option in args[3:]]
    scored = b"WITHSCORES" in options
    skipped, most = 0, -1
    if b"LIMIT" in options:
        at = options.index(b"LIMIT")
        skipped, most = integer(args[4 + at]), integer(args[5 + at])
    found = [
        (member, score)
        for member, score in (space.of(args[0], SortedSet) or SortedSet()).ordered()
        if (score > low or (score == low and not above)) and (score < high or (score == high and not below))
    ]
    if skipped < 0:
        return []
    found = found[skipped:] if most < 0 else found[skipped : skipped + most]
    return _with_scores(found, scored)


def _zcount(space: Keyspace, args: list[bytes]) -> Reply:
    return len(_zrangebyscore(space, args))


# name -> (what it does, least number of arguments, most (None: any), refused when memory is full)
COMMANDS: dict[bytes, tuple[Command, int, int | None, bool]] = {
    b"GET": (_get, 1, 1, False),
    b"SET": (_set, 2, None, True),
    b"DEL": (_del, 1, None, False),
    b"UNLINK": (_del, 1, None, False),
    b"EXISTS": (_exists, 1, None, False),
    b"TYPE": (_type, 1, 1, False),
    b"INCRBY": (_incrby, 2, 2, True),
    b"PEXPIRE": (_pexpire, 2, 2, False),
    b"EXPIRE": (_expire, 2, 2, False),
    b"PEXPIREAT": (_pexpireat, 2, 2, False),
    b"PERSIST": (_persist, 1, 1, False),
    b"PTTL": (_pttl, 1, 1, False),
    b"KEYS": (_keys, 1, 1, False),
    b"SCAN": (_scan, 1, None, False),
    b"HSET": (_hset, 3, None, True),
    b"HSETNX": (_hsetnx, 3, 3, True),
    b"HGET": (_hget, 2, 2, False),
    b"HMGET": (_hmget, 2, None, False),
    b"HGETALL": (_hgetall, 1, 1, False),
    b"HKEYS": (_hkeys, 1, 1, False),
    b"HSCAN": (_hscan, 2, None, False),
    b"HLEN": (_hlen, 1, 1, False),
    b"HEXISTS": (_hexists, 2, 2, False),
    b"HDEL": (_hdel, 2, None, False),
    b"HINCRBY": (_hincrby, 3, 3, True),
    b"ZADD": (_zadd, 3, None, True),
    b"ZREM": (_zrem, 2, None, False),
    b"ZSCORE": (_zscore, 2, 2, False),
    b"ZCARD": (_zcard, 1, 1, False),
    b"ZRANGE": (_zrange, 3, None, False),
    b"ZRANGEBYSCORE": (_zrangebyscore, 3, None, False),
    b"ZCOUNT": (_zcount, 3, 3, False),
}
