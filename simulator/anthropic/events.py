"""How a message looks as a stream: blocks that begin, grow and end, between a start and a stop.

Thinking that is not shown passes as pings, each of which stands for some of its tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from simulator import tokens
from simulator.anthropic.prompt import signature
from simulator.directive import Directive
from simulator.events import Event, told

if TYPE_CHECKING:
    from simulator.anthropic.answer import Answer

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
TOKENS_PER_PING = 16
QUERY = '{"query":"simulated provider"}'
SEARCH_PIECES = ["web_search", *tokens.split(QUERY)]
"""What the model says to search once; its name is one token."""
_PADDING = 16


def events(answer: Answer, wish: Directive, fault: bytes) -> Iterator[Event]:
    """Every event of the stream."""
    start = answer.head()
    if not wish.no_usage:
        start["usage"] = answer.first_usage()
    yield _event("message_start", {"message": start}), 0
    delta = {"stop_reason": answer.stop, "stop_sequence": None, "stop_details": None}
    yield from told(
        _content(answer),
        _sized(answer),
        wish,
        broken=_delta(0, {"type": "text_delta", "text": " broken"}),
        closing=[(_event("message_delta", {"delta": delta}), 0)] if wish.no_usage else [],
        usage=_event("message_delta", {"delta": delta, "usage": answer.last_usage()}),
        fault=b"event: error\ndata: " + fault + b"\n\n",
        done=_event("message_stop", {}),
    )


def _sized(answer: Answer) -> int:
    """How many events of the content carry tokens."""
    thoughts = len(answer.shown) or -(-answer.reasoning // TOKENS_PER_PING)
    return thoughts + answer.searches * len(SEARCH_PIECES) + (answer.tool is not None) + len(answer.pieces)


def _content(answer: Answer) -> Iterator[Event]:
    index = 0
    if answer.reasoning:
        yield from _thinking(answer, index)
        index += 1
    for number in range(answer.searches):
        yield from _search(answer, number, index)
        index += 2
    if answer.tool is not None:
        yield _begin(index, answer.call({})), answer.name_tokens
        if index == 0:
            yield PING, 0
        yield _json(index, ""), 0
        for piece in answer.pieces:
            yield _json(index, piece), 1
        yield _end(index), 0
    elif answer.pieces:
        yield _begin(index, {"type": "text", "text": ""}), 0
        if index == 0:
            yield PING, 0
        for piece in answer.pieces:
            yield _delta(index, {"type": "text_delta", "text": piece}), 1
        yield _end(index), 0


def _thinking(answer: Answer, index: int) -> Iterator[Event]:
    """A block of thinking, whose tokens are spread over the pieces that are shown, or over pings."""
    yield _begin(index, {"type": "thinking", "thinking": "", "signature": ""}), 0
    yield PING, 0
    left = answer.reasoning
    for number, piece in enumerate(answer.shown):
        size = left // (len(answer.shown) - number)
        left -= size
        yield _delta(index, {"type": "thinking_delta", "thinking": piece}), size
    while left:
        size = min(left, TOKENS_PER_PING)
        left -= size
        yield PING, size
    sealed = signature("".join(answer.shown))
    yield _delta(index, {"type": "signature_delta", "signature": sealed}), 0
    yield _end(index), 0


def _search(answer: Answer, number: int, index: int) -> Iterator[Event]:
    """A search of the web, and what it found."""
    yield _begin(index, answer.search(number, {})), 1
    for piece in SEARCH_PIECES[1:]:
        yield _json(index, piece), 1
    yield _end(index), 0
    yield _begin(index + 1, answer.found(number)), 0
    yield _end(index + 1), 0


def _begin(index: int, block: dict[str, Any]) -> bytes:
    return _event("content_block_start", {"index": index, "content_block": block})


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _event("content_block_delta", {"index": index, "delta": delta})


def _json(index: int, piece: str) -> bytes:
    return _delta(index, {"type": "input_json_delta", "partial_json": piece})


def _end(index: int) -> bytes:
    return _event("content_block_stop", {"index": index})


def _event(kind: str, more: dict[str, Any]) -> bytes:
    """One event. Anthropic pads events with blanks, so that their length does not tell the text."""
    data = orjson.dumps({"type": kind, **more})
    return b"event: %b\ndata: %b%b}\n\n" % (
        kind.encode(), data[:-1], b" " * (_PADDING - len(data) % _PADDING),
    )  # fmt: skip
