"""Streams of any dialect: events in order, each with the tokens it carries, and how they go wrong.

Nothing here waits or writes. The faults that belong to the text of a stream (an event that is no JSON, an
error in the middle, usage missing or twice, no end mark) are made here; those of the wire are in `outlet`.
"""

from __future__ import annotations

from collections.abc import Iterator

from simulator.directive import HALFWAY, Directive

Event = tuple[bytes, int]
"""The bytes of one event and the visible tokens inside; events with tokens are paced."""


def told(
    content: Iterator[Event],
    pieces: int,
    wish: Directive,
    *,
    broken: bytes,
    closing: list[Event],
    usage: bytes | None,
    fault: bytes,
    done: bytes | None,
) -> Iterator[Event]:
    """`content`, of so many pieces, and the stream's end, with the faults that the directive asks for.

    Content is what carries tokens; what frames it (size 0) is not counted. `broken` is an event to be cut,
    `closing` and `usage` follow the content, `fault` comes in the place of all that is left, `done` is the
    end mark.
    """
    half = (pieces + 1) // 2
    fail_after = half if wish.error_in_stream == HALFWAY else wish.error_in_stream
    break_after = half if wish.malformed == "sse" else None
    sent = 0
    for event in content:
        if sent == fail_after:
            break
        if sent == break_after:
            yield broken[:-20] + b"\n\n", 0
            break_after = None
        yield event
        sent += event[1] > 0
    if fail_after is not None:
        yield fault, 0
        return
    yield from closing
    if usage is not None and not wish.no_usage:
        yield usage, 0
        if wish.usage_twice:
            yield usage, 0
    if done is not None and not wish.no_done:
        yield done, 0
