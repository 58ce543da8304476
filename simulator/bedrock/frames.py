"""Event stream encoding (`application/vnd.amazon.eventstream`): messages as Amazon frames them.

The specification: https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html. All numbers are
big-endian, all sums CRC-32 as gzip has it:

    total length, 4 bytes | headers' length, 4 | sum of these 8 bytes, 4
    headers | payload
    sum of everything before, 4

A header is its name's length (1 byte), the name, the kind of its value (7: text), the value's length (2) and
the value.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from zlib import crc32

from simulator.wire import JSON

EVENT_STREAM = b"application/vnd.amazon.eventstream"
_TEXT = 7
_PADDING = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def frame(headers: bytes, payload: bytes) -> bytes:
    """One message; `headers` are encoded already."""
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = b"%b%b%b%b" % (lengths, struct.pack(">I", crc32(lengths)), headers, payload)
    return message + struct.pack(">I", crc32(message))


@lru_cache(maxsize=64)
def encoded(named: tuple[tuple[str, str], ...]) -> bytes:
    """Headers with text values, encoded."""
    parts = []
    for name, value in named:
        label, text = name.encode(), value.encode()
        parts.append(struct.pack(">B", len(label)) + label)
        parts.append(struct.pack(">BH", _TEXT, len(text)) + text)
    return b"".join(parts)


def event(kind: str, payload: bytes) -> bytes:
    """A message that is an event of this kind, with a JSON payload."""
    named = ((":event-type", kind), (":content-type", JSON.decode()), (":message-type", "event"))
    return frame(encoded(named), payload)


def exception(kind: str, payload: bytes) -> bytes:
    """A message that ends the stream with an error of this kind."""
    named = ((":exception-type", kind), (":content-type", JSON.decode()), (":message-type", "exception"))
    return frame(encoded(named), payload)


def padded(document: bytes) -> bytes:
    """A JSON object with the field `p`, as Bedrock hides the length of what was said."""
    size = len(document) * 7 % len(_PADDING)
    return b'%b,"p":"%b"}' % (document[:-1], _PADDING[: size + 1])
