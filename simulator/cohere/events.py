"""How a Cohere chat looks as a stream: each event has a name, and its usage comes with `message-end`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from simulator.directive import Directive
from simulator.events import Event, told

if TYPE_CHECKING:
    from simulator.cohere.chat import CohereAnswer

DONE = b"data: [DONE]\n\n"


def events(answer: CohereAnswer, wish: Directive) -> Iterator[Event]:
    """Every event of the stream."""
    message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield _event({"type": "message-start", "id": answer.id, "delta": {"message": message}}), 0
    end = _event(_end(answer.finish, usage=answer.usage()))
    bare = _event(_end(answer.finish))
    yield from told(
        _called(answer) if answer.tool is not None else _said(answer),
        len(answer.plan) + len(answer.pieces),
        wish,
        broken=_event({"type": "content-delta", "index": 0, "delta": _text(" broken")}),
        closing=[(bare, 0)] if wish.no_usage else [],
        usage=end,
        fault=_event(_end("ERROR", error="internal server error, this has been reported to our developers.")),
        done=DONE,
    )


def _said(answer: CohereAnswer) -> Iterator[Event]:
    opening = {"message": {"content": {"type": "text", "text": ""}}}
    yield _event({"type": "content-start", "index": 0, "delta": opening}), 0
    for piece in answer.pieces:
        yield _event({"type": "content-delta", "index": 0, "delta": _text(piece)}), 1
    yield _event({"type": "content-end", "index": 0}), 0


def _called(answer: CohereAnswer) -> Iterator[Event]:
    for piece in answer.plan:
        yield _event({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}}), 1
    opening = {"message": {"tool_calls": answer.call("")}}
    yield _event({"type": "tool-call-start", "index": 0, "delta": opening}), answer.name_tokens
    for piece in answer.pieces:
        more = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
        yield _event({"type": "tool-call-delta", "index": 0, "delta": more}), 1
    yield _event({"type": "tool-call-end", "index": 0}), 0


def _text(piece: str) -> dict[str, Any]:
    return {"message": {"content": {"text": piece}}}


def _end(finish: str, **more: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": finish, **more}}


def _event(document: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), orjson.dumps(document))
