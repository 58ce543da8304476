"""Google's streams where the client does not ask for events (`alt=sse`): one JSON array that comes in pieces.

Each element is what an event would carry. Elements are found by their braces, outside of strings; what stands
between them (the brackets, commas, line ends) belongs to the element after it, and behind the last one to
the end of the array.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

import orjson

from gateway.dialects.gemini import Gemini

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[{}]|\]\s*\Z', re.DOTALL)
"""A string, closed or running out of the bytes at hand; a brace; the end of the array."""
_AROUND = b" \t\r\n,[]"


def _ends(data: bytes) -> Iterator[int]:
    """The index just after each whole element, and after the end of the array."""
    depth = 0
    for token in _TOKEN.finditer(data):
        sign = data[token.start()]
        if sign == 0x7B:  # {
            depth += 1
        elif sign == 0x7D:  # }
            depth -= 1
            if depth == 0:
                yield token.end()
        elif sign == 0x5D and depth == 0:  # ]
            yield token.end()


def last_boundary(data: bytes) -> int:
    """The index just after the last whole element in `data`; 0 when none is."""
    if data.endswith((b"}", b"]")):
        try:
            orjson.loads(data.strip(_AROUND))
        except orjson.JSONDecodeError:
            pass
        else:  # one whole element, as most reads bring it: several times as fast as looking for its end
            return len(data)
    if b"}" not in data and not data.endswith(b"]"):
        return 0  # a picture that is still coming
    end = 0
    for found in _ends(data):
        end = found
    return end


def events(block: bytes) -> Iterator[bytes]:
    """Each element of `block` with what stands before it; the rest is the last one."""
    start = 0
    for end in _ends(block):
        yield block[start:end]
        start = end
    if start < len(block):
        yield block[start:]


def event_data(event: bytes) -> bytes | None:
    """The element itself; None where there is only what stands around elements."""
    return event.strip(_AROUND) or None


class GeminiArray(Gemini):
    """The same answers, as the elements of an array."""

    name = "gemini.array"
    stream_type: ClassVar[bytes] = b"application/json"
    in_lines: ClassVar[bool] = False
    # Each read looks through the whole of an element that has not ended.
    event_bytes_max: ClassVar[int] = 4 * 1024 * 1024
    last_boundary = staticmethod(last_boundary)
    events = staticmethod(events)
    event_data = staticmethod(event_data)

    def error_event(self, message: str, kind: str, code: str) -> bytes:
        """One more element, and the end of the array."""
        return b",\r\n" + self.error_in_stream(message, kind, code) + b"\n]"


GEMINI_ARRAY = GeminiArray()
