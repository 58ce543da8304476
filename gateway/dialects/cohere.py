"""Cohere's dialect (version 2), from outside: its errors, its streams, and the texts in its answers.

Shapes: https://docs.cohere.com/reference/chat-stream, errors: https://docs.cohere.com/reference/errors. A
stream ends with `message-end`, which carries the usage; some end with `[DONE]` after it.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import orjson

from gateway.dialects.dialect import LENGTH, TOOL_CALLS, Dialect
from gateway.errors import GatewayError
from metering.usage.reading import objects, part, text

_REASONS = {"MAX_TOKENS": LENGTH, "TOOL_CALL": TOOL_CALLS}
_FAILED = "ERROR"


class Cohere(Dialect):
    """The format of `/v2/chat`, and of `/v2/embed` and rerank beside it."""

    name = "cohere"
    usage_mark: ClassVar[re.Pattern[bytes]] = re.compile(rb'"usage"\s*:\s*\{')
    error_mark: ClassVar[bytes] = b'"ERROR'
    takes_comments: ClassVar[bool] = False

    def ends(self, data: bytes, document: dict[str, Any] | None) -> bool:
        """`message-end`."""
        return document is not None and document.get("type") == "message-end"

    def text(self, document: dict[str, Any]) -> str:
        """Content, thoughts, the plan for tools, and what tools are called with."""
        message = part(part(document, "delta") or document, "message")
        found = [message.get("tool_plan")]
        for block in _each(message.get("content")):
            found += [block.get("text"), block.get("thinking")]
        for call in _each(message.get("tool_calls")):
            function = part(call, "function")
            found += [function.get("name"), function.get("arguments")]
        return "".join(said for said in found if isinstance(said, str))

    def answer_text(self, document: dict[str, Any]) -> str:
        """The content alone."""
        message = part(part(document, "delta") or document, "message")
        return "".join(text(block.get("text")) or "" for block in _each(message.get("content")))

    def reasons(self, document: dict[str, Any]) -> list[str]:
        """Why it finished."""
        reason = (part(document, "delta") or document).get("finish_reason")
        return [_REASONS.get(reason, reason)] if isinstance(reason, str) else []

    def error(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """An answer that finished with an error says so in its reason."""
        end = part(document, "delta") or document
        reason = end.get("finish_reason")
        if not isinstance(reason, str) or not reason.startswith(_FAILED):
            return None
        return {"message": text(end.get("error")) or reason, "type": reason}

    def error_body(self, error: GatewayError, message: str, request_id: str) -> bytes:
        """{"message"}, as Cohere tells everything; with our code, and the field that is wrong."""
        return orjson.dumps(
            {"id": request_id, "message": message, "code": error.code, "param": error.param, **error.details}
        )

    def error_event(self, message: str, kind: str, code: str) -> bytes:
        """A `message-end` that says why."""
        end = {"type": "message-end", "delta": {"finish_reason": _FAILED, "error": message, "code": code}}
        return b"event: message-end\ndata: " + orjson.dumps(end) + b"\n\n"


def _each(value: Any) -> list[Any]:
    """The blocks of a whole answer, or the one of an event."""
    return [value] if isinstance(value, dict) else objects(value)


COHERE = Cohere()
