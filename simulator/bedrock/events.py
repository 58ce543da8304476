"""How a Converse answer looks as a stream: framed events, the usage in the last one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from simulator.bedrock.dialect import stream_fault
from simulator.bedrock.frames import event, padded
from simulator.directive import Directive
from simulator.events import Event, told

SIGNATURE = "c2ltdWxhdGVkIHNpZ25hdHVyZQ=="

if TYPE_CHECKING:
    from simulator.bedrock.converse import ConverseAnswer


def events(answer: ConverseAnswer, wish: Directive) -> Iterator[Event]:
    """Every event of the stream."""
    yield _event("messageStart", {"role": "assistant"}), 0
    yield from told(
        _content(answer),
        len(answer.thoughts) + len(answer.pieces),
        wish,
        broken=_delta(0, {"text": " broken"}),
        closing=[(_event("messageStop", {"stopReason": answer.finish}), 0)],
        usage=_event("metadata", {"usage": answer.usage(), "metrics": answer.metrics()}),
        fault=stream_fault(wish.code),
        done=None,
    )


def _content(answer: ConverseAnswer) -> Iterator[Event]:
    """The blocks in order: thoughts, then the text or the tool's input."""
    index = 0
    if answer.thought:
        for piece, size in [(piece, 1) for piece in answer.thoughts] or [(answer.thought, 0)]:
            yield _delta(index, {"reasoningContent": {"text": piece}}), size
        if answer.signed:
            yield _delta(index, {"reasoningContent": {"signature": SIGNATURE}}), 0
        yield _event("contentBlockStop", {"contentBlockIndex": index}), 0
        index += 1
    if answer.tool is not None:
        opening = {"toolUse": {"toolUseId": answer.tool_use_id, "name": answer.tool}}
        yield _event("contentBlockStart", {"contentBlockIndex": index, "start": opening}), answer.name_tokens
        for piece in answer.pieces:
            yield _delta(index, {"toolUse": {"input": piece}}), 1
    else:
        for piece in answer.pieces:
            yield _delta(index, {"text": piece}), 1
    if answer.pieces:
        yield _event("contentBlockStop", {"contentBlockIndex": index}), 0


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})


def _event(kind: str, document: dict[str, Any]) -> bytes:
    return event(kind, padded(orjson.dumps(document)))
