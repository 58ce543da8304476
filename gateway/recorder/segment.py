"""A spill segment: entries in a file, each framed so that a torn or damaged one is recognised. Pure.

    frame   mark (4 bytes) | length of the body | CRC-32 of length and body | body
    body    E | for each of stream, id, then field names and values in turn: length, bytes
            Z | number of entries before it: the seal of a segment that was finished in order

Numbers are unsigned 32-bit integers, little-endian. A process killed in mid-write leaves a torn frame at
the end, whose entry was not acknowledged yet and so is still in Redis. A bad frame with a good one after it
is something else: what was on the disk has changed. What a client sends cannot pass for a frame: it lies here
as JSON, which has no zero bytes, and every length has.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from zlib import crc32

from gateway.recorder.entry import Entry

MARK = b"\x89TK1"
_HEAD = struct.Struct("<4sII")
_NUMBER = struct.Struct("<I")
_ENTRY, _SEAL = b"E", b"Z"
SEAL_BYTES = _HEAD.size + 1 + _NUMBER.size
"""Length of a seal's frame."""


@dataclass(slots=True)
class Content:
    """What a segment holds. `torn` bytes at its end are no loss, `damaged` ones before may be."""

    entries: list[Entry] = field(default_factory=list)
    sealed: bool = False
    torn: int = 0
    damaged: int = 0


def entry_frame(entry: Entry) -> bytes:
    """The entry as a frame."""
    parts = [entry.stream, entry.id]
    for pair in entry.fields.items():
        parts += pair
    return _frame(_ENTRY + b"".join(_NUMBER.pack(len(part)) + part for part in parts))


def seal_frame(entries: int) -> bytes:
    """The last frame of a segment of so many entries."""
    return _frame(_SEAL + _NUMBER.pack(entries))


def sealed_count(end: bytes) -> int | None:
    """The number of entries, from the last SEAL_BYTES of a segment; None where it was not sealed."""
    body = _body(end, 0)
    return None if body is None or body[:1] != _SEAL else int(_NUMBER.unpack(body[1:])[0])


def read_content(source: bytes) -> Content:
    """Everything that can be read of a segment's bytes, in order."""
    content = Content()
    for start, body in _frames(source, content):
        try:
            if body[:1] == _ENTRY:
                content.entries.append(_entry(body))
                continue
            (counted,) = _NUMBER.unpack(body[1:])
        except (struct.error, ValueError):  # a good checksum over what no version of ours writes
            content.damaged += _HEAD.size + len(body)
            continue
        content.sealed = True
        if counted != len(content.entries):
            content.damaged = max(content.damaged, start, 1)
    return content


def _frame(body: bytes) -> bytes:
    length = _NUMBER.pack(len(body))
    return MARK + length + _NUMBER.pack(crc32(body, crc32(length))) + body


def _frames(source: bytes, content: Content) -> Iterator[tuple[int, bytes]]:
    """(place, body) of every good frame; what lies between them is noted as damaged, after them as torn."""
    place = 0
    while place < len(source):
        body = _body(source, place)
        if body is None:
            good = source.find(MARK, place + 1)
            while good >= 0 and _body(source, good) is None:
                good = source.find(MARK, good + 1)
            if good < 0:
                content.torn = len(source) - place
                return
            content.damaged += good - place
            place = good
            continue
        yield place, body
        place += _HEAD.size + len(body)


def _body(source: bytes, place: int) -> bytes | None:
    """The body of the frame that begins here; None where none does, or not all of it."""
    if len(source) - place < _HEAD.size:
        return None
    mark, length, checksum = _HEAD.unpack_from(source, place)
    start = place + _HEAD.size
    if mark != MARK or not 0 < length <= len(source) - start:
        return None
    body = source[start : start + length]
    return body if crc32(body, crc32(_NUMBER.pack(length))) == checksum else None


def _entry(body: bytes) -> Entry:
    parts = []
    place, end = 1, len(body)
    while place < end:
        (length,) = _NUMBER.unpack_from(body, place)
        place += _NUMBER.size
        parts.append(body[place : place + length])
        place += length
    if place != end or len(parts) < 2 or len(parts) % 2:
        raise ValueError("not an entry")
    return Entry(parts[0], parts[1], dict(zip(parts[2::2], parts[3::2], strict=True)))
