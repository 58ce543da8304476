"""OpenAI's dialect, from outside: its errors, its streams, and the texts in its answers.

Shapes: https://platform.openai.com/docs/api-reference/chat. The text completions format differs in where a
choice has its text; embeddings and moderations have no streams.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import orjson

from gateway.dialects.dialect import Dialect
from gateway.errors import GatewayError
from metering.usage.openai import usage_object

_DONE = b"[DONE]"


class OpenAI(Dialect):
    """The format of `/v1/chat/completions` and of what stands beside it."""

    name = "openai"
    usage_mark: ClassVar[re.Pattern[bytes]] = re.compile(rb'"usage"\s*:\s*\{')

    def ends(self, data: bytes, document: dict[str, Any] | None) -> bool:
        """`[DONE]`, and nothing else."""
        return document is None and data.strip() == _DONE

    def text(self, document: dict[str, Any]) -> str:
        """Content, reasoning, refusals, names and arguments of tools."""
        found: list[str] = []
        for choice in _objects(document.get("choices")):
            delta = choice.get("delta") or choice.get("message")
            if not isinstance(delta, dict):
                if isinstance(text := choice.get("text"), str):
                    found.append(text)
                continue
            for name in ("content", "reasoning_content", "reasoning", "refusal"):
                value = delta.get(name)
                if isinstance(value, str):
                    found.append(value)
            for call in _objects(delta.get("tool_calls")):
                function = call.get("function")
                if isinstance(function, dict):
                    told = (function.get("name"), function.get("arguments"))
                    found += [value for value in told if isinstance(value, str)]
        return "".join(found)

    def answer_text(self, document: dict[str, Any]) -> str:
        """The content alone."""
        found = []
        for choice in _objects(document.get("choices")):
            delta = choice.get("delta") or choice.get("message")
            content = delta.get("content") if isinstance(delta, dict) else None
            if isinstance(content, str):
                found.append(content)
        return "".join(found)

    def reasons(self, document: dict[str, Any]) -> list[str]:
        """The finish reasons of its choices."""
        return [
            reason
            for choice in _objects(document.get("choices"))
            if isinstance(reason := choice.get("finish_reason"), str)
        ]

    def failed(self, document: dict[str, Any]) -> bool:
        """An error object, and no choices beside it: some providers say 200 to it."""
        return isinstance(document.get("error"), dict) and not document.get("choices")

    def only_usage(self, document: dict[str, Any]) -> bool:
        """`choices` empty and `usage` an object: the event that `include_usage` asks for."""
        return (
            document.get("choices") == []
            and isinstance(document.get("usage"), dict)
            and usage_object(document) is not None
        )

    def error_body(self, error: GatewayError, message: str, request_id: str) -> bytes:
        """{"error": {"message", "type", "param", "code"}}."""
        return _body(message, error.type, error.param, error.code, error.details)

    def error_event(self, message: str, kind: str, code: str) -> bytes:
        """The same as a data event."""
        return b"data: " + _body(message, kind, None, code) + b"\n\n"


def _body(
    message: str,
    kind: str,
    param: str | None,
    code: str | None,
    details: Mapping[str, object] = MappingProxyType({}),
) -> bytes:
    error = {"message": message, "type": kind, "param": param, "code": code, **details}
    return orjson.dumps({"error": error})


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects in an array; none in anything else: a provider may send what it likes."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


OPENAI = OpenAI()
