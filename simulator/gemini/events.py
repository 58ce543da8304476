"""How an answer of Gemini looks as a stream: documents like the whole one, each with the usage until then.

A document carries several tokens. The last one carries none: it says why the answer ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from simulator.directive import Directive
from simulator.events import Event, told

if TYPE_CHECKING:
    from simulator.gemini.answer import Answer

TOKENS_PER_EVENT = 4


def events(answer: Answer, wish: Directive, fault: bytes) -> Iterator[Event]:
    """Every document of the stream, not yet framed."""
    usage = not wish.no_usage
    parts = [{"text": ""}] if answer.pieces or answer.tool else []
    last = _document(answer, answer.candidate(parts, answer.finish), answer.candidate_tokens, usage)
    ends = not wish.no_done
    yield from told(
        _content(answer, usage),
        1 if answer.tool is not None else -(-len(answer.pieces) // TOKENS_PER_EVENT),
        wish,
        broken=_document(answer, answer.candidate([{"text": " broken"}]), 0, usage),
        closing=[(last, 0)] if ends and not usage else [],
        usage=last if ends else None,
        fault=orjson.dumps(orjson.loads(fault)),
        done=None,
    )


def framed(documents: Iterator[Event], *, array: bool) -> Iterator[Event]:
    """The documents as server-sent events, or as the members of one array."""
    if not array:
        for document, size in documents:
            yield b"data: %b\r\n\r\n" % document, size
        return
    before = b"["
    for document, size in documents:
        yield before + document, size
        before = b"\n,\r\n"
    yield b"\n]", 0


def _content(answer: Answer, usage: bool) -> Iterator[Event]:
    if answer.shown:
        yield _document(answer, answer.candidate([answer.thought()]), 0, usage), 0
    if answer.tool is not None:
        size = answer.candidate_tokens
        yield _document(answer, answer.candidate([answer.call()]), size, usage), size
        return
    for at in range(0, len(answer.pieces), TOKENS_PER_EVENT):
        pieces = answer.pieces[at : at + TOKENS_PER_EVENT]
        candidate = answer.candidate([{"text": "".join(pieces)}])
        yield _document(answer, candidate, at + len(pieces), usage), len(pieces)


def _document(answer: Answer, candidate: dict[str, Any], said: int, usage: bool) -> bytes:
    document: dict[str, Any] = {"candidates": [candidate]}
    if usage:
        document["usageMetadata"] = answer.usage(said)
    return orjson.dumps({**document, **answer.tail()})
