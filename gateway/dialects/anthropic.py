"""Anthropic's dialect, from outside: its errors, its streams, and the texts in its answers.

Shapes: https://platform.claude.com/docs/en/api/messages, errors: https://platform.claude.com/docs/en/api/errors.
An answer is a list of blocks (text, thinking, calls of tools, and what tools of the provider found); a stream
begins each block, adds to it, and ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import orjson

from gateway.dialects.dialect import LENGTH, TOOL_CALLS, Dialect
from gateway.dialects.exchange import RawHeaders
from gateway.errors import GatewayError

VERSION = b"anthropic-version"
DEFAULT_VERSION = b"2023-06-01"
"""For a client that names none, which Anthropic would refuse. The newer one (2026-10-21) takes fewer fields,
and answers alike: https://platform.claude.com/docs/en/api/versioning"""

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Status -> type. 503 is told as 529 is: nothing is wrong with the request, and it can be served later."""
_TYPES_IN_STREAMS = {"draining": "overloaded_error", "invalid_api_key": "authentication_error"}
"""Code of what ended a running stream -> type; all others are the provider's or the gateway's."""

_REASONS = {"max_tokens": LENGTH, "tool_use": TOOL_CALLS}
_SAID = ("text", "thinking", "partial_json")
"""Where a delta of a block has what was produced. A compaction's summary stands in `content`."""
_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")


class Anthropic(Dialect):
    """The format of `/v1/messages`."""

    name = "anthropic"
    usage_mark: ClassVar[re.Pattern[bytes]] = re.compile(rb'"usage"\s*:\s*\{')
    # A stream begins with the input and a few output tokens, and tells the whole output at its end.
    interim_usage: ClassVar[bool] = True
    final_with_reason: ClassVar[bool] = True
    passes: ClassVar[frozenset[bytes]] = frozenset({VERSION, b"anthropic-beta"})
    id_header: ClassVar[bytes | None] = b"request-id"

    def passed(self, headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
        """The client's version of the format and its betas, or else the version that there is."""
        found = super().passed(headers)
        if not any(name == VERSION for name, _ in found):
            found.append((VERSION, DEFAULT_VERSION))
        return found

    def ends(self, data: bytes, document: dict[str, Any] | None) -> bool:
        """`message_stop`."""
        return document is not None and document.get("type") == "message_stop"

    def text(self, document: dict[str, Any]) -> str:
        """Texts, thoughts, names and arguments of tools; not what tools of the provider found."""
        kind = document.get("type")
        if kind == "content_block_delta":
            delta = document.get("delta")
            return "".join(_said(delta)) if isinstance(delta, dict) else ""
        if kind == "content_block_start":
            block = document.get("content_block")
            return "".join(_produced(block)) if isinstance(block, dict) else ""
        return "".join(part for block in _blocks(document) for part in _produced(block))

    def answer_text(self, document: dict[str, Any]) -> str:
        """The text blocks alone."""
        kind = document.get("type")
        if kind == "content_block_delta":
            return _text_of(document.get("delta"), "text_delta")
        if kind == "content_block_start":
            return _text_of(document.get("content_block"), "text")
        return "".join(_text_of(block, "text") for block in _blocks(document))

    def reasons(self, document: dict[str, Any]) -> list[str]:
        """`stop_reason`, of a message or of the delta that ends one."""
        delta = document.get("delta")
        found = (delta if isinstance(delta, dict) else document).get("stop_reason")
        return [_REASONS.get(found, found)] if isinstance(found, str) else []

    def error_body(self, error: GatewayError, message: str, request_id: str) -> bytes:
        """{"type": "error", "error": {"type", "message", ...}, "request_id"}."""
        kind = _TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
        told = _error(kind, message, error.code, error.param, error.details)
        return orjson.dumps({"type": "error", "error": told, "request_id": request_id})

    def error_event(self, message: str, kind: str, code: str) -> bytes:
        """An event of the type `error`, on which SDKs raise."""
        told = _error(_TYPES_IN_STREAMS.get(code, "api_error"), message, code, None)
        return b"event: error\ndata: " + orjson.dumps({"type": "error", "error": told}) + b"\n\n"


def _error(
    kind: str,
    message: str,
    code: str,
    param: str | None,
    more: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, object]:
    """An error object: Anthropic's own fields, where its SDKs look for a code, and ours beside them."""
    details = {"error_code": code}
    return {"type": kind, "message": message, "details": details, "code": code, "param": param, **more}


def _blocks(document: dict[str, Any]) -> list[dict[str, Any]]:
    content = document.get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _said(delta: dict[str, Any]) -> list[str]:
    """What one delta adds, as the model produced it; citations and signatures are none of it."""
    if delta.get("type") == "compaction_delta":
        return [value] if isinstance(value := delta.get("content"), str) else []
    return [value for name in _SAID if isinstance(value := delta.get(name), str)]


def _produced(block: dict[str, Any]) -> list[str]:
    """What the model produced of a block, whole or as it begins."""
    kind = block.get("type")
    if kind in _CALLS:
        name, given = block.get("name"), block.get("input")
        found = [name] if isinstance(name, str) else []
        return [*found, orjson.dumps(given).decode()] if given else found
    if kind == "compaction":
        return [value] if isinstance(value := block.get("content"), str) else []
    return [value for name in ("text", "thinking") if isinstance(value := block.get(name), str)]


def _text_of(part: Any, kind: str) -> str:
    if isinstance(part, dict) and part.get("type") == kind and isinstance(text := part.get("text"), str):
        return text
    return ""


ANTHROPIC = Anthropic()
