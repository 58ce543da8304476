"""Google's dialect, from outside: its errors, its streams, and the texts in its answers.

Shapes: https://ai.google.dev/api/generate-content, errors: https://cloud.google.com/apis/design/errors.
Gemini's own API and Vertex AI answer alike. A stream has no last word of its own: it is complete where a
candidate says why it finished, or the prompt was blocked. Every chunk repeats the usage so far.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import orjson

from gateway.dialects.dialect import LENGTH, Dialect
from gateway.errors import BadKey, GatewayError, UpstreamFault

DOMAIN = "tollkeeper"
"""Whose words the reasons in our errors are."""
_TYPE = "type.googleapis.com/google.rpc."
_RPC = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",  # as where billing is not set up: clients do not repeat it
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    431: "INVALID_ARGUMENT",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_REASONS = {"MAX_TOKENS": LENGTH}
_EVENT_STATUS = {BadKey.type: BadKey.status, UpstreamFault.type: UpstreamFault.status}
"""What an error in a running stream would have had as its status; 503 for all others."""


class Gemini(Dialect):
    """The format of `:generateContent` and of what stands beside it."""

    name = "gemini"
    # Searches stand with the candidates, and not in every chunk; the usage in every chunk is read once.
    usage_mark: ClassVar[re.Pattern[bytes]] = re.compile(rb'"groundingMetadata"')
    last_usage: ClassVar[bytes | None] = b'"usageMetadata"'
    interim_usage: ClassVar[bool] = True
    event_bytes_max: ClassVar[int] = 32 * 1024 * 1024
    takes_comments: ClassVar[bool] = False  # google-genai takes any line without `data: ` for a piece of JSON

    def ends(self, data: bytes, document: dict[str, Any] | None) -> bool:
        """A candidate that finished, or a prompt that was blocked."""
        if document is None:
            return False
        feedback = document.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            return True
        return any(candidate.get("finishReason") for candidate in _objects(document.get("candidates")))

    def text(self, document: dict[str, Any]) -> str:
        """Texts and thoughts, names and arguments of functions, and code that Google runs."""
        found: list[str] = []
        for part in _parts(document):
            if isinstance(text := part.get("text"), str):
                found.append(text)
            called, code = part.get("functionCall"), part.get("executableCode")
            if isinstance(called, dict):
                found.append(str(called.get("name") or ""))
                found.append(orjson.dumps(called.get("args") or {}).decode())
            if isinstance(code, dict) and isinstance(lines := code.get("code"), str):
                found.append(lines)
        return "".join(found)

    def answer_text(self, document: dict[str, Any]) -> str:
        """The texts that are no thoughts."""
        texts = (part.get("text") for part in _parts(document) if not part.get("thought"))
        return "".join(text for text in texts if isinstance(text, str))

    def reasons(self, document: dict[str, Any]) -> list[str]:
        """Why each candidate finished."""
        return [
            _REASONS.get(reason, reason)
            for candidate in _objects(document.get("candidates"))
            if isinstance(reason := candidate.get("finishReason"), str)
        ]

    def error_body(self, error: GatewayError, message: str, request_id: str) -> bytes:
        """{"error": {"code", "message", "status", "details"}}.

        The details say our code as the reason, the field that is wrong, and how long to wait.
        """
        told = {name: _text(value) for name, value in error.details.items()}
        details: list[dict[str, Any]] = [_info(error.code, error.type, request_id, told)]
        if error.param is not None:
            violation = {"field": error.param, "description": message}
            details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
        if error.retry_after_s is not None:
            details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{error.retry_after_s}s"})
        return _body(error.status, message, details)

    def error_event(self, message: str, kind: str, code: str) -> bytes:
        """The same as a data event."""
        return b"data: " + self.error_in_stream(message, kind, code) + b"\r\n\r\n"

    def error_in_stream(self, message: str, kind: str, code: str) -> bytes:
        """The object that tells of an error in a running stream."""
        return _body(_EVENT_STATUS.get(kind, 503), message, [_info(code, kind, None, {})])


def _info(reason: str, kind: str, request_id: str | None, more: Mapping[str, str]) -> dict[str, Any]:
    metadata = {"type": kind, **({} if request_id is None else {"request_id": request_id}), **more}
    return {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": DOMAIN, "metadata": metadata}


def _body(status: int, message: str, details: list[dict[str, Any]]) -> bytes:
    word = _RPC.get(status, "INTERNAL")
    return orjson.dumps({"error": {"code": status, "message": message, "status": word, "details": details}})


def _text(value: object) -> str:
    """Metadata has texts alone."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _parts(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for candidate in _objects(document.get("candidates")):
        content = candidate.get("content")
        if isinstance(content, dict):
            yield from _objects(content.get("parts"))


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects in an array; none in anything else: a provider may send what it likes."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


GEMINI = Gemini()
