"""Sans-IO framing of Amazon's event streams, `application/vnd.amazon.eventstream`.

A message is, numbers big-endian:

    4  length of the whole message     |  prelude
    4  length of the headers           |
    4  CRC-32 of these eight bytes     |
       headers: 1 length of the name, the name, 1 kind of the value, the value
       payload: JSON, with Bedrock
    4  CRC-32 of all that went before

https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html, and botocore's reader, which is
the oracle of the tests. The bytes themselves pass to the client untouched: what is damaged is not read, and
what it would have told is unknown.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from zlib import crc32

CONTENT_TYPE = b"application/vnd.amazon.eventstream"
HEADERS_BYTES_MAX = 128 * 1024
_REMEMBERED_BYTES_MAX = 512
"""Longer headers than these are read anew each time, so that what is remembered stays small."""

_PRELUDE = struct.Struct(">III")
_PRELUDE_BYTES = 12
_LEAST_BYTES = 16
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_FIXED = {
    kind: struct.Struct(form)
    for kind, form in ((2, ">b"), (3, ">h"), (4, ">i"), (5, ">q"), (8, ">q"), (9, "16s"))
}
"""Kinds of values of one size: byte, short, integer, long, timestamp (milliseconds), UUID."""
_NAMED_BY = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}

Value = bool | int | bytes | str


@dataclass(frozen=True, slots=True)
class Head:
    """A message's headers. Equal headers are one object: a stream has hundreds of messages, and few kinds.

    `type`: what kind of message it is: "event", "exception" (one that the service's model names) or "error"
    (one that it does not). `name`: which event, exception or error it is. Numbers, timestamps (milliseconds
    since 1970) and bytes are so in `values`; a UUID is its 16 bytes.
    """

    type: str
    name: str
    values: Mapping[str, Value]

    @property
    def failed(self) -> bool:
        """Whether the message tells that the answer failed; nothing of worth follows it."""
        return self.type != "event"


class Message(NamedTuple):
    """One message whose checksums were right."""

    head: Head
    payload: bytes


def last_boundary(data: bytes) -> int:
    """The index just after the last whole message in `data`, which begins with one; 0 when none is whole.

    Where what begins is no message, nothing behind it is either: then it is all of `data`.
    """
    at, end = 0, len(data)
    while end - at >= _PRELUDE_BYTES:
        length = _length(data, at)
        if not length:
            return end
        if end - at < length:
            break
        at += length
    return at


def events(block: bytes) -> Iterator[bytes]:
    """Each message of `block`; what is none, and all that follows it, is the last one."""
    at, end = 0, len(block)
    while at < end:
        length = _length(block, at) if end - at >= _PRELUDE_BYTES else 0
        stop = at + length if length else end
        yield block[at:stop]
        at = stop


def _length(data: bytes, at: int) -> int:
    """How long the message is that begins there; 0 where none does."""
    length, headers, checksum = _PRELUDE.unpack_from(data, at)
    if headers > HEADERS_BYTES_MAX or length < _LEAST_BYTES + headers:
        return 0
    return int(length) if crc32(data[at : at + 8]) == checksum else 0


def read_message(event: bytes) -> Message | None:
    """One whole message; None where a checksum is wrong, or it breaks the format otherwise."""
    if len(event) < _LEAST_BYTES or _length(event, 0) != len(event):
        return None
    last = len(event) - 4
    if crc32(event[:last]) != _CRC.unpack_from(event, last)[0]:
        return None
    after_headers = _PRELUDE_BYTES + _PRELUDE.unpack_from(event)[1]
    raw = event[_PRELUDE_BYTES:after_headers]
    head = _remembered(raw) if len(raw) <= _REMEMBERED_BYTES_MAX else _read_head(raw)
    return None if head is None else Message(head, event[after_headers:last])


def write_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """A message whose headers are texts."""
    raw = b"".join(
        _text(name.encode(), 1) + b"\7" + _text(value.encode(), 2) for name, value in headers.items()
    )
    begin = struct.pack(">II", _LEAST_BYTES + len(raw) + len(payload), len(raw))
    body = begin + _CRC.pack(crc32(begin)) + raw + payload
    return body + _CRC.pack(crc32(body))


def _text(value: bytes, length_bytes: int) -> bytes:
    return len(value).to_bytes(length_bytes, "big") + value


@lru_cache(maxsize=256)
def _remembered(raw: bytes) -> Head | None:
    return _read_head(raw)


def _read_head(raw: bytes) -> Head | None:
    """The headers, None where they break their format."""
    try:
        values = _headers(raw)
    except (IndexError, struct.error, UnicodeDecodeError, ValueError):
        return None
    kind = values.get(":message-type", "event")
    name = values.get(_NAMED_BY.get(str(kind), ":event-type"), "")
    return Head(str(kind), str(name), MappingProxyType(values))


def _headers(raw: bytes) -> dict[str, Value]:
    values: dict[str, Value] = {}
    at = 0
    while at < len(raw):
        begin = at + 1
        at = begin + raw[at]
        name = _whole(raw, begin, at).decode()
        kind = raw[at]
        at += 1
        if name in values:
            raise ValueError("a name twice")
        if kind in _FIXED:
            form = _FIXED[kind]
            values[name] = form.unpack_from(raw, at)[0]
            at += form.size
        elif kind in (6, 7):
            begin = at + 2
            at = begin + _LENGTH.unpack_from(raw, at)[0]
            found = _whole(raw, begin, at)
            values[name] = found if kind == 6 else found.decode()
        elif kind in (0, 1):
            values[name] = kind == 0
        else:
            raise ValueError("no such kind of value")
    return values


def _whole(raw: bytes, begin: int, end: int) -> bytes:
    if end > len(raw):
        raise ValueError("beyond the headers' end")
    return raw[begin:end]
