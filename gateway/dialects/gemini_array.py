"""Google's streams where the client does not ask for events (`alt=sse`): one JSON array that comes in pieces.

Each element is what an event would carry; what stands between elements belongs to the one after it. Google
indents elements, so that only an element's own end is a brace at the beginning of a line, and divides them
by "\\n,\\r\\n". No string of JSON holds a raw line end: both are found by searching bytes. What is written in
another way is read instead, or divided by its braces outside of strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

import orjson

from gateway.dialects.gemini import Gemini

_AROUND = b" \t\r\n,[]"
_BETWEEN = b"}\n,\r\n{"
_INDENTED = (b",\r\n{\n ", b"\n,\r\n{\n ", b"[{\n ")
_INDENTED_ENDS = (b"\n}", b"\n}\n", b"\n}\n]", b"\n}\n]\n")
_MAY_DIVIDE = re.compile(rb"\}\s*,\s*\{")
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}]', re.DOTALL)
"""A string, closed or running out of the bytes at hand; or a brace."""
_DEPTH = 8
"""Objects in one another that the expression below knows; a call's arguments are the sixth."""


def _element() -> re.Pattern[bytes]:
    """A whole element with what stands before it: a quarter of the time that its tokens take one by one."""
    plain, string = rb'[^{}"]*+', rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    inside = rb"%b(?:%b%b)*+" % (plain, string, plain)
    for _ in range(_DEPTH - 1):
        inside = rb"%b(?:(?:%b|\{%b\})%b)*+" % (plain, string, inside, plain)
    return re.compile(rb"%b\{%b\}" % (plain, inside), re.DOTALL)


_ELEMENT = _element()


def last_boundary(data: bytes) -> int:
    """The index just after the last whole element in `data`; 0 when none is.

    Space behind it, and the end of the array, belong to it where they came with it. A comma never does: if
    the stream breaks off there, an error is to follow.
    """
    if data.startswith(_INDENTED):
        if data.endswith(_INDENTED_ENDS):
            return len(data)
        before = data.rfind(b"\n}") + 2
        return before + last_boundary(data[before:]) if before > 1 else 0
    if data.endswith((b"}", b"}\n", b"]")):
        try:
            orjson.loads(data.strip(_AROUND))
        except orjson.JSONDecodeError:
            pass
        else:  # one whole element, as most reads bring it
            return len(data)
    body = data.strip(_AROUND)
    if not body:
        return len(data) if b"]" in data else 0
    if before := data.rfind(_BETWEEN) + 1:
        return before + last_boundary(data[before:])
    if not body.endswith(b"}") and _MAY_DIVIDE.search(data) is None:
        return 0
    end = 0
    for found in _ends(data):
        end = found
    return _with_space(data, end) if end else 0


def _with_space(data: bytes, end: int) -> int:
    """`end`, or behind the space and the array's end that follow it, where nothing else does."""
    return end if data[end:].strip(b" \t\r\n]") else len(data)


def _ends(data: bytes) -> Iterator[int]:
    """The index just after each whole element."""
    at = 0
    while (found := _ELEMENT.match(data, at)) is not None:
        at = found.end()
        yield at
    depth = 0
    for token in _TOKEN.finditer(data, at):
        sign = data[token.start()]
        if sign == 0x7B:  # {
            depth += 1
        elif sign == 0x7D:  # }
            depth -= 1
            if depth == 0:
                yield token.end()


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
