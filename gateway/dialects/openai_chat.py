"""OpenAI's chat completions format: requests.

Shapes: https://platform.openai.com/docs/api-reference/chat. Its answers are told of by `openai`.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.exchange import (
    MAXIMUM_TOKENS,
    Exchange,
    read_bool,
    read_count,
    read_model,
    read_stream_options,
    wrong_type,
)
from gateway.dialects.openai_fields import missing, read_image
from gateway.errors import BadRequest

CHOICES_MAX = 128
_JSON_FORMATS = ("json_object", "json_schema")
_TEXT_PARTS = ("text", "refusal", "input_text", "output_text", "thinking", "reasoning")


def read_call(body: dict[str, Any]) -> Exchange:
    """Understand one chat completions request; BadRequest names the field that is wrong."""
    call = Exchange("chat.completions", body, read_model(body))
    call.stream = read_bool(body, "stream")
    call.choices = read_count(body, "n", most=CHOICES_MAX) or 1
    for name in ("max_completion_tokens", "max_tokens"):
        maximum = read_count(body, name, most=MAXIMUM_TOKENS)
        if maximum is not None and (call.maximum is None or maximum > call.maximum):
            # Both given: which one a provider obeys is its own affair, so the larger one is held.
            call.maximum, call.maximum_field = maximum, name
    _read_messages(body.get("messages"), call)
    _read_tools(body, call)
    _read_options(body, call)
    return call


def _read_messages(messages: Any, call: Exchange) -> None:
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list):
        raise wrong_type("messages", messages, "an array of objects")
    if not messages:
        raise BadRequest(
            "Invalid 'messages': empty array. Expected at least one message.",
            param="messages",
            code="empty_array",
        )
    call.messages = len(messages)
    for n, message in enumerate(messages):
        if not isinstance(message, dict):
            raise wrong_type(f"messages[{n}]", message, "an object")
        if not isinstance(message.get("role"), str):
            raise wrong_type(f"messages[{n}].role", message.get("role"), "a string")
        content = message.get("content")
        if content is None or isinstance(content, str):
            continue
        if not isinstance(content, list):
            raise wrong_type(f"messages[{n}].content", content, "a string or an array of parts")
        for m, part in enumerate(content):
            if isinstance(part, str):
                continue
            if not isinstance(part, dict):
                raise wrong_type(f"messages[{n}].content[{m}]", part, "an object")
            _read_part(part, f"messages[{n}].content[{m}]", call)


def _read_part(part: dict[str, Any], path: str, call: Exchange) -> None:
    """Note what a part costs beyond its own bytes: images by a published maximum, files by nothing known."""
    kind = part.get("type")
    if kind in _TEXT_PARTS:
        return
    if kind == "image_url":
        read_image(part, path, call)
    elif kind == "input_audio":
        call.has_media = call.has_audio = True
        # Its base64 text bounds its tokens: wav and mp3 are accepted, the leanest mp3 has 1,000 bytes a
        # second, and a second of audio is about 10 tokens.
    else:
        call.unbounded = call.unbounded or path


def _read_tools(body: dict[str, Any], call: Exchange) -> None:
    tools = body.get("tools")
    if tools is not None:
        if not isinstance(tools, list):
            raise wrong_type("tools", tools, "an array of objects")
        for n, tool in enumerate(tools):
            if not isinstance(tool, dict):
                raise wrong_type(f"tools[{n}]", tool, "an object")
            if tool.get("type") not in ("function", "custom"):
                # A tool that runs at the provider reads and searches as much as it likes.
                call.unbounded = call.unbounded or f"tools[{n}]"
        call.tools = len(tools)
    if body.get("web_search_options") is not None:
        call.unbounded = call.unbounded or "web_search_options"


def _read_options(body: dict[str, Any], call: Exchange) -> None:
    read_stream_options(body, call)
    modalities = body.get("modalities")
    if modalities is not None and not isinstance(modalities, list):
        raise wrong_type("modalities", modalities, "an array of strings")
    wanted = body.get("response_format")
    if wanted is not None:
        if not isinstance(wanted, dict):
            raise wrong_type("response_format", wanted, "an object")
        call.wants_json = wanted.get("type") in _JSON_FORMATS
    if body.get("audio") is not None or "audio" in (body.get("modalities") or ()):
        call.has_media = call.has_audio = True
    prediction = body.get("prediction")
    if isinstance(prediction, dict):
        # Predicted tokens that are rejected are billed as output, beyond the maximum.
        call.predicted_bytes = _text_bytes(prediction.get("content"))


def _text_bytes(content: Any) -> int:
    if isinstance(content, str):
        return len(content.encode("utf-8", "surrogatepass"))
    if isinstance(content, list):
        return sum(_text_bytes(part.get("text") if isinstance(part, dict) else part) for part in content)
    return 0
