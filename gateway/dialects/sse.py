"""Sans-IO framing of an event stream (text/event-stream), on bytes.

The stream is cut only where an event has ended, so that whoever forwards it may look at, or leave out, a
whole event; any split of the input gives the same events. An event ends at an empty line, and a line may
end in LF, CR or CRLF (WHATWG HTML, 9.2.6).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ENDS = re.compile(rb"\n\n|\r\n\r\n|\r\r|\n\r\n|\r\n\n|\n\r\r|\r\r\n")
_LINES = re.compile(rb"\r\n|\n|\r")
BOM = b"\xef\xbb\xbf"


def last_boundary(data: bytes) -> int:
    """The index just after the last complete event in `data`; 0 when none is complete.

    A lone CR at the very end is not yet a line end: an LF may follow it.
    """
    if data.endswith(b"\n\n"):
        return len(data)
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    if data.endswith(b"\r\n\r\n"):
        return len(data)
    end = 0
    for match in _ENDS.finditer(data):
        end = match.end()
    return end if not (end == len(data) and data.endswith(b"\r")) else _boundary_before(data, end)


def _boundary_before(data: bytes, end: int) -> int:
    """The last boundary that does not rest on the CR at `end`."""
    previous = 0
    for match in _ENDS.finditer(data):
        if match.end() < end:
            previous = match.end()
    return previous


def events(block: bytes) -> Iterator[bytes]:
    """Each event of `block` with its ending; a rest without an ending is the last one."""
    start = 0
    if b"\r" in block:
        for match in _ENDS.finditer(block):
            yield block[start : match.end()]
            start = match.end()
    else:  # the usual case: several times as fast as the expression
        while (end := block.find(b"\n\n", start) + 2) > 1:
            yield block[start:end]
            start = end
    if start < len(block):
        yield block[start:]


def event_data(event: bytes) -> bytes | None:
    """The joined `data:` lines of one event, None when it has none (a comment, or another field)."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]  # one data line, as nearly every event is
    if event.startswith(BOM):
        event = event[3:]
    found: list[bytes] = []
    for line in _LINES.split(event):
        if line.startswith(b"data:"):
            found.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            found.append(b"")
    return b"\n".join(found) if found else None
