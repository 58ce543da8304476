"""How a response looks as a stream: named events, numbered, the usage nested in the last one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from simulator.directive import Directive
from simulator.events import Event, told
from simulator.responses.answer import FAULT, SUMMARY, ResponseAnswer

_PADDING = "7LC080uo8WkM0lQx"


class EventsOf:
    """The events of one answer, each with its number."""

    def __init__(self, answer: ResponseAnswer, *, obfuscate: bool) -> None:
        self._answer = answer
        self._obfuscate = obfuscate
        self._number = 0

    def opening(self) -> list[bytes]:
        """What comes at once: that the response exists and, where it thinks, that it began to."""
        answer = self._answer
        begun = [self._stage("created", "queued" if answer.background else "in_progress")]
        if answer.background:
            begun.append(self._stage("queued", "queued"))
        begun.append(self._stage("in_progress", "in_progress"))
        if answer.reasoning:
            item = {**answer.thought(), "summary": []}
            begun.append(self._event("output_item.added", output_index=0, item=item))
        return begun

    def rest(self, wish: Directive) -> Iterator[Event]:
        """Everything after the opening, with the faults that the directive asks for.

        An answer that fails does so with `response.failed`, or with a bare `error` where `no_done` says that
        nothing ends the stream.
        """
        answer = self._answer
        first = self._number
        lead, trail = self._framing()
        passed = answer.fails_after or 0
        if passed:
            passed = lead + (passed if passed < answer.contents else answer.contents + trail)
        broken = {"type": "response.output_text.delta", "delta": " broken", "sequence_number": first + passed}
        yield from told(
            self._content(),
            answer.contents,
            wish,
            broken=_named(broken),
            closing=self._closing(wish, first + lead + answer.contents + trail),
            usage=None,
            fault=self._fault(wish, first + passed),
            done=None,
        )

    def _closing(self, wish: Directive, number: int) -> list[Event]:
        """The last event, or what a directive makes of it."""
        if wish.no_done:
            return []
        outcome = self._answer.outcome
        if outcome == "failed":
            return []
        document = self._answer.document(outcome, usage=not wish.no_usage)
        last = _named({"type": f"response.{outcome}", "response": document, "sequence_number": number})
        return [(last, 0)] * (2 if wish.usage_twice else 1)

    def _fault(self, wish: Directive, number: int) -> bytes:
        if wish.no_done:
            body = {"code": self._answer.fault_code, "message": FAULT, "param": None}
            return _named({"type": "error", **body, "sequence_number": number})
        document = self._answer.document("failed")
        return _named({"type": "response.failed", "response": document, "sequence_number": number})

    def _framing(self) -> tuple[int, int]:
        """How many events come before and after those with content."""
        answer = self._answer
        lead = 5 * answer.searches
        if answer.reasoning:
            lead += 5 if answer.summarize else 1
        if answer.tool is not None:
            return lead, 2
        return lead + 2, 4 if answer.searches and answer.pieces else 3

    def _content(self) -> Iterator[Event]:
        answer = self._answer
        index = 0
        if answer.reasoning:
            yield from self._thought()
            index += 1
        for number in range(answer.searches):
            yield from self._search(number, index)
            index += 1
        yield from self._call(index) if answer.tool is not None else self._message(index)

    def _thought(self) -> Iterator[Event]:
        """The end of the thoughts, before which a summary of them may come. It costs nothing of its own."""
        item = self._answer.thought()
        if self._answer.summarize:
            where = {"item_id": item["id"], "output_index": 0, "summary_index": 0}
            part = {"type": "summary_text", "text": SUMMARY}
            yield self._event("reasoning_summary_part.added", **where, part={**part, "text": ""}), 0
            yield self._event("reasoning_summary_text.delta", **where, delta=SUMMARY), 0
            yield self._event("reasoning_summary_text.done", **where, text=SUMMARY), 0
            yield self._event("reasoning_summary_part.done", **where, part=part), 0
        yield self._event("output_item.done", output_index=0, item=item), 0

    def _search(self, number: int, index: int) -> Iterator[Event]:
        item = self._answer.search(number)
        begun = {"id": item["id"], "type": item["type"], "status": "in_progress"}
        yield self._event("output_item.added", output_index=index, item=begun), 0
        for stage in ("in_progress", "searching", "completed"):
            yield self._event(f"web_search_call.{stage}", item_id=item["id"], output_index=index), 0
        yield self._event("output_item.done", output_index=index, item=item), 0

    def _call(self, index: int) -> Iterator[Event]:
        answer = self._answer
        item = answer.call(answer.item_status)
        where = {"item_id": item["id"], "output_index": index}
        begun = answer.call("in_progress")
        yield self._event("output_item.added", output_index=index, item=begun), answer.name_tokens
        for piece in answer.pieces:
            yield (
                self._event("function_call_arguments.delta", delta=piece, **where, **self._padding(piece)),
                1,
            )
        yield self._event("function_call_arguments.done", arguments=item["arguments"], **where), 0
        yield self._event("output_item.done", output_index=index, item=item), 0

    def _message(self, index: int) -> Iterator[Event]:
        answer = self._answer
        item = answer.message(answer.item_status)
        where = {"content_index": 0, "item_id": item["id"], "output_index": index}
        begun = answer.message("in_progress")
        yield self._event("output_item.added", output_index=index, item=begun), 0
        yield self._event("content_part.added", **where, part=answer.part("")), 0
        for piece in answer.pieces:
            yield self._text_delta(piece, index), 1
        text = "".join(answer.pieces)
        part = answer.part(text)
        if part["annotations"]:
            cited = part["annotations"][0]
            yield (
                self._event("output_text.annotation.added", annotation=cited, annotation_index=0, **where),
                0,
            )
        yield self._event("output_text.done", **where, logprobs=[], text=text), 0
        yield self._event("content_part.done", **where, part=part), 0
        yield self._event("output_item.done", output_index=index, item=item), 0

    def _text_delta(self, piece: str, index: int) -> bytes:
        where = {"content_index": 0, "item_id": self._answer.named("msg"), "output_index": index}
        return self._event("output_text.delta", delta=piece, logprobs=[], **where, **self._padding(piece))

    def _padding(self, piece: str) -> dict[str, str]:
        """OpenAI pads deltas so that their length does not tell the text."""
        return {"obfuscation": _PADDING[len(piece) :]} if self._obfuscate else {}

    def _stage(self, kind: str, status: str) -> bytes:
        return self._event(kind, response=self._answer.document(status))

    def _event(self, kind: str, **fields: Any) -> bytes:
        """The next event."""
        fields["sequence_number"] = self._number
        event = _named({"type": f"response.{kind}", **dict(sorted(fields.items()))})
        self._number += 1
        return event


def _named(document: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), orjson.dumps(document))
