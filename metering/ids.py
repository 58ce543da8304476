"""Time-ordered identifiers: UUID version 7 (RFC 9562), strictly increasing within a process.

The event store is keyed by them, so that new rows land at the end of the tree and a page is a range.
"""

from __future__ import annotations

import os
import struct
import time
from threading import Lock

_COUNTER_BITS = 42
_TAIL_BITS = 32
_NOISE_AT_ONCE = 4_096
_HALVES = struct.Struct(">2Q")
_lock = Lock()
_last_ms = 0
_counter = 0


class _Noise:
    """Bytes of the system's generator, fetched many at a time: each call of it gives up the interpreter,
    and who asks for ten bytes may wait for it behind a thread that computes. Each byte is given once."""

    def __init__(self) -> None:
        self._bytes = b""
        self._used = 0
        os.register_at_fork(after_in_child=self._forget)

    def take(self, count: int) -> bytes:
        """So many bytes."""
        if count > _NOISE_AT_ONCE:
            return os.urandom(count)
        with _lock:
            start = self._used
            if start + count > len(self._bytes):
                self._bytes, start = os.urandom(_NOISE_AT_ONCE), 0
            self._used = start + count
            return self._bytes[start : start + count]

    def _forget(self) -> None:
        """A copy of this process must not give the same bytes again."""
        self._bytes = b""


_noise = _Noise()


def new_id() -> str:
    """A UUIDv7 in its usual 36-character form; later calls in this process sort after earlier ones.

    Layout (RFC 9562, 6.2, method 1): 48 bits of Unix milliseconds, a 42-bit counter that starts at random
    in each new millisecond with its top bit clear, 32 random bits. A clock that steps back keeps counting
    in the last millisecond seen.
    """
    noise = int.from_bytes(_noise.take(9))
    moment_ms, counter = _reserved(1, noise >> _TAIL_BITS)
    return _text(moment_ms, counter, noise & 0xFFFFFFFF)


def new_ids(count: int) -> list[str]:
    """So many ids, in order, as from as many calls of `new_id`, and a clock and a lock for all of them."""
    noise = _noise.take(8 + _TAIL_BITS // 8 * count)
    start, *tails = struct.unpack(f">Q{count}I", noise)
    moment_ms, first = _reserved(count, start)
    return [_text(moment_ms, first + number, tail) for number, tail in enumerate(tails)]


def _reserved(count: int, start: int) -> tuple[int, int]:
    """(a millisecond, the first of so many of its counters in a row), which nobody else gets. In a new
    millisecond they begin at `start`, of which 41 bits count."""
    global _last_ms, _counter
    with _lock:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > _last_ms:
            _last_ms = now_ms
            _counter = start & 0x1FFFFFFFFFF
        else:
            _counter += 1
        if (_counter + count - 1) >> _COUNTER_BITS:
            _last_ms += 1
            _counter = 0
        first = _counter
        _counter += count - 1
        return _last_ms, first


def _text(moment_ms: int, counter: int, tail: int) -> str:
    high = moment_ms << 16 | 0x7000 | counter >> 30
    low = 0b10 << 62 | (counter & 0x3FFFFFFF) << _TAIL_BITS | tail
    digits = _HALVES.pack(high, low).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def id_floor(moment_ms: int) -> str:
    """The smallest identifier of a millisecond: every id made at `moment_ms` or later sorts after it."""
    digits = f"{moment_ms << 80 | 0x7 << 76 | 0b10 << 62:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


CHILD = "."
"""Between a key's id and what makes a child key's: `key_a.b` is a child of `key_a`, so an event's key tells
all the keys that it counts for."""


def is_below(key_id: str, above: str) -> bool:
    """Whether the first key is a child of the second, or a child's child."""
    return key_id.startswith(above + CHILD)


def key_and_above(key_id: str) -> list[str]:
    """The ids of the key, of its parent, of the parent's parent."""
    found = [key_id]
    while CHILD in found[-1]:
        found.append(found[-1].rpartition(CHILD)[0])
    return found
