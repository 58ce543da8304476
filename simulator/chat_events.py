"""How a chat completion looks as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from simulator.directive import Directive
from simulator.events import Event, told

if TYPE_CHECKING:
    from simulator.answer import Answer

DONE = b"data: [DONE]\n\n"
_PADDING = "7LC080uo8WkM0lQx"


def events(
    answer: Answer, wish: Directive, *, include_usage: bool, obfuscate: bool, fault: bytes
) -> Iterator[Event]:
    """Every event of the stream."""
    frame = _Frame(answer, include_usage=include_usage, obfuscate=obfuscate)
    yield frame.of({"role": "assistant", "content": None if answer.tool else "", "refusal": None}), 0
    yield from told(
        _content(answer, frame),
        len(answer.pieces),
        wish,
        broken=frame.of({"content": " broken"}),
        closing=[(frame.of({}, finish=answer.finish), 0)],
        usage=frame.usage(answer) if include_usage else None,
        fault=b"data: " + fault + b"\n\n",
        done=DONE,
    )


def _content(answer: Answer, frame: _Frame) -> Iterator[Event]:
    if answer.tool is None:
        for piece in answer.pieces:
            yield frame.text(piece), 1
        return
    function: dict[str, Any] = {"name": answer.tool, "arguments": ""}
    opening = {"index": 0, "id": answer.call_id, "type": "function", "function": function}
    yield frame.of({"tool_calls": [opening]}), answer.name_tokens
    for piece in answer.pieces:
        yield frame.of({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}), 1


class _Frame:
    """What all events of one stream share, serialised once."""

    def __init__(self, answer: Answer, *, include_usage: bool, obfuscate: bool) -> None:
        head = orjson.dumps(
            {
                "id": answer.id,
                "object": "chat.completion.chunk",
                "created": answer.created,
                "model": answer.name,
                "service_tier": answer.tier,
                "system_fingerprint": "fp_simulated0",
            }
        )
        self._head = b"data: " + head[:-1]
        self._delta = self._head + b',"choices":[{"index":0,"delta":'
        self._text = self._delta + b'{"content":'
        self._usage = b',"usage":null' if include_usage else b""
        self._after = b',"logprobs":null,"finish_reason":null}]' + self._usage
        self._obfuscate = obfuscate

    def text(self, piece: str) -> bytes:
        """An event with one piece of text."""
        return self._text + orjson.dumps(piece) + b"}" + self._after + self._tail(len(piece))

    def of(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        """An event with any delta."""
        after = self._after
        if finish is not None:
            after = b',"logprobs":null,"finish_reason":"' + finish.encode() + b'"}]' + self._usage
        return self._delta + orjson.dumps(delta) + after + self._tail(6)

    def usage(self, answer: Answer) -> bytes:
        """The event after the last: no choices, and the usage."""
        return self._head + b',"choices":[],"usage":' + orjson.dumps(answer.usage()) + self._tail(2)

    def _tail(self, size: int) -> bytes:
        """OpenAI pads its events so that their length does not tell the text."""
        if not self._obfuscate:
            return b"}\n\n"
        return b',"obfuscation":"' + _PADDING[size:].encode() + b'"}\n\n'
