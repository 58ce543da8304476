"""OpenAI's Responses dialect, from outside: its events, its outputs, and how a response stands.

Shapes: https://platform.openai.com/docs/api-reference/responses-streaming. Errors are those of OpenAI's older
formats, except inside a stream, where an error is an event of type `error`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import orjson

from gateway.dialects.dialect import CANCELLED, LENGTH
from gateway.dialects.openai import OpenAI
from metering.usage.reading import objects, part, text

_ENDED = frozenset(("response.completed", "response.incomplete", "response.failed", "response.cancelled"))
_RUNNING = frozenset(("queued", "in_progress"))
_AUDIO = "response.audio.delta"
"""Carries sound, encoded."""


class Responses(OpenAI):
    """The format of `/v1/responses`."""

    name = "responses"
    event_bytes_max: ClassVar[int] = 32 * 1024 * 1024
    """The last event repeats the whole response, pictures that it made included."""

    def ends(self, data: bytes, document: dict[str, Any] | None) -> bool:
        """The event that carries the response as it ended."""
        return document is not None and document.get("type") in _ENDED

    def text(self, document: dict[str, Any]) -> str:
        """Of an event its delta, of a whole response all that its output says."""
        kind = document.get("type")
        if isinstance(kind, str):
            delta = document.get("delta")
            usable = kind.endswith(".delta") and kind != _AUDIO and isinstance(delta, str)
            return str(delta) if usable else ""
        return "".join(_said(item) for item in objects(document.get("output")))

    def answer_text(self, document: dict[str, Any]) -> str:
        """The text of its messages alone."""
        kind = document.get("type")
        if isinstance(kind, str):
            delta = document.get("delta")
            return delta if kind == "response.output_text.delta" and isinstance(delta, str) else ""
        return "".join(
            text(block.get("text")) or ""
            for item in objects(document.get("output"))
            if item.get("type") == "message"
            for block in objects(item.get("content"))
        )

    def reasons(self, document: dict[str, Any]) -> list[str]:
        """Why it is incomplete, if it is, or that it was cancelled."""
        response = part(document, "response") or document
        if response.get("status") == CANCELLED:
            return [CANCELLED]
        reason = part(response, "incomplete_details").get("reason")
        if not isinstance(reason, str):
            return []
        return [LENGTH if reason == "max_output_tokens" else reason]

    def error(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """Of an `error` event itself, else that of a response that failed."""
        if document.get("type") == "error":
            inner = document.get("error")
            return inner if isinstance(inner, dict) else document
        error = (part(document, "response") or document).get("error")
        return error if isinstance(error, dict) else None

    def failed(self, document: dict[str, Any]) -> bool:
        """It says so, or has an error object."""
        return document.get("status") == "failed" or self.error(document) is not None

    def only_usage(self, document: dict[str, Any]) -> bool:
        """No event is: the response that ended carries its usage."""
        return False

    def answer_id(self, document: dict[str, Any]) -> str | None:
        """The response's id, under which the provider keeps it."""
        return text((part(document, "response") or document).get("id"))

    def running(self, document: dict[str, Any]) -> bool:
        """Whether the provider goes on with it after this answer: it runs in the background."""
        return document.get("status") in _RUNNING

    def error_event(self, message: str, kind: str, code: str) -> bytes:
        """An event of type `error`; the object inside is what makes the SDKs raise."""
        error = {"message": message, "type": kind, "param": None, "code": code}
        told = {**error, "type": "error", "sequence_number": 0, "error": error}
        return b"event: error\ndata: " + orjson.dumps(told) + b"\n\n"


def _said(item: Any) -> str:
    """What one item of a response's output says: text, thoughts, a tool's name and arguments."""
    found = [item.get(name) for name in ("name", "arguments", "input", "code")]
    for holder in ("content", "summary"):
        for block in objects(item.get(holder)):
            found += [block.get("text"), block.get("refusal")]
    return "".join(said for said in found if isinstance(said, str))


RESPONSES = Responses()
