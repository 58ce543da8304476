"""Sans-IO reader of Amazon's event-stream framing, `application/vnd.amazon.eventstream`.

A message is, numbers big-endian:

    4  length of the whole message     |  prelude
    4  length of the headers           |
    4  CRC-32 of these eight bytes     |
       headers: 1 length of the name, the name, 1 kind of the value, the value
       payload: JSON, with Bedrock
    4  CRC-32 of all that went before

https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html, and botocore's reader, which is
the oracle of the tests. The decoder only reads along: the bytes themselves pass to the client untouched.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple
from zlib import crc32

CONTENT_TYPE = b"application/vnd.amazon.eventstream"
MESSAGE_BYTES_MAX = 1024 * 1024
"""A longer message is checked and passed over, not kept: only pictures are so long, and never usage."""
HEADERS_BYTES_MAX = 128 * 1024
_REMEMBERED_BYTES_MAX = 512
"""Longer headers than these are read anew each time, so that what is remembered stays small."""

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_PRELUDE_BYTES = 12
_LEAST_BYTES = 16
_LENGTH = struct.Struct(">H")
_FIXED = {
    kind: struct.Struct(form)
    for kind, form in ((2, ">b"), (3, ">h"), (4, ">i"), (5, ">q"), (8, ">q"), (9, "16s"))
}
"""Kinds of values of one size: byte, short, integer, long, timestamp (milliseconds), UUID."""
_NAMED_BY = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}

Fault = Literal["prelude_crc", "message_crc", "bad_length", "bad_headers", "cut"]
"""Why nothing more is read of a stream.

prelude_crc, message_crc: a checksum is wrong. bad_length: lengths that contradict each other, or headers
longer than the protocol allows. bad_headers: an unknown kind of value, a value beyond the headers' end, a
name twice, or text that is not UTF-8. cut: the stream ended inside a message.
"""
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


class EventStreamDecoder:
    """Reads messages from arrivals of any size. Keeps at most `limit` bytes and the last arrival.

    `fault` tells why it has stopped reading, None while all is well: what the stream reports from there on,
    usage above all, is unknown. `passed_over`: messages longer than `limit`.
    """

    __slots__ = (
        "_checksum",
        "_crc",
        "_held",
        "_limit",
        "_skip",
        "_wanted",
        "fault",
        "passed_over",
    )

    def __init__(self, limit: int = MESSAGE_BYTES_MAX) -> None:
        self._limit = limit
        self._held = bytearray()
        self._wanted = _PRELUDE_BYTES
        self._skip = 0
        self._crc = 0
        self._checksum = b""
        self.fault: Fault | None = None
        self.passed_over = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end within `data`. Never raises; [] for ever after a fault."""
        if self.fault is not None:
            return []
        if self._skip:
            rest = self._pass_over(data)
            if rest is None:
                return []
            data = rest
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return []
            data = bytes(self._held)
            self._held.clear()
        return self._read(data)

    def end(self) -> None:
        """The stream has ended: a message that had begun is a fault."""
        if self.fault is None and (self._held or self._skip):
            self._stop("cut", [])

    def _read(self, data: bytes) -> list[Message]:
        found: list[Message] = []
        at, end = 0, len(data)
        while end - at >= _PRELUDE_BYTES:
            length, headers, checksum = _PRELUDE.unpack_from(data, at)
            if crc32(data[at : at + 8]) != checksum:
                return self._stop("prelude_crc", found)
            if headers > HEADERS_BYTES_MAX or length < _LEAST_BYTES + headers:
                return self._stop("bad_length", found)
            if length > self._limit:
                self._skip, self._crc = length, 0
                self.passed_over += 1
                rest = self._pass_over(data[at:])
                if rest is None:
                    return found
                data, at, end = rest, 0, len(rest)
                continue
            if end - at < length:
                self._wanted = length
                break
            last, after_headers = at + length - 4, at + _PRELUDE_BYTES + headers
            # The prelude's checksum goes on into the message's.
            if crc32(data[at + 8 : last], checksum) != _CRC.unpack_from(data, last)[0]:
                return self._stop("message_crc", found)
            raw = data[at + _PRELUDE_BYTES : after_headers]
            head = _remembered(raw) if headers <= _REMEMBERED_BYTES_MAX else _read_head(raw)
            if head is None:
                return self._stop("bad_headers", found)
            found.append(Message(head, data[after_headers:last]))
            at += length
        else:
            self._wanted = _PRELUDE_BYTES
        if at < end:
            self._held += data[at:]
        return found

    def _pass_over(self, data: bytes) -> bytes | None:
        """Take from `data` what belongs to a message too long to keep.

        Gives what follows it, None after a fault.
        """
        if self._skip > 4:
            part = data[: self._skip - 4]
            self._crc = crc32(part, self._crc)
            self._skip -= len(part)
            data = data[len(part) :]
            if self._skip > 4:
                return b""
        last = data[: self._skip]
        self._checksum += last
        self._skip -= len(last)
        if not self._skip:
            if self._crc != _CRC.unpack(self._checksum)[0]:
                self._stop("message_crc", [])
                return None
            self._checksum = b""
        return data[len(last) :]

    def _stop(self, fault: Fault, found: list[Message]) -> list[Message]:
        self.fault = fault
        self._held.clear()
        self._skip = 0
        return found


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
