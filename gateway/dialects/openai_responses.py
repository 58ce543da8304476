"""OpenAI's Responses format: requests.

https://platform.openai.com/docs/api-reference/responses/create. What a request costs may rest on more than
its body: an earlier response that it continues, a conversation, a stored prompt, files. The input of such a
request has no better bound than the model's context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gateway.dialects.exchange import (
    MAXIMUM_TOKENS,
    Exchange,
    read_bool,
    read_count,
    read_model,
    wrong_type,
)
from gateway.dialects.openai_fields import add_image, blocks, missing, objects
from metering.usage.reading import tier

LEAST_MAXIMUM = 16
_TEXTS = frozenset(("input_text", "output_text", "refusal", "summary_text", "reasoning_text", "text"))
_OWN_TOOLS = frozenset(("function", "custom", "namespace", "tool_search"))
"""Tools that the caller runs, and the search among them; what else there is runs at the provider, which reads
and searches as much as it likes."""
_KNOWN_ITEMS = frozenset(
    (
        *("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
        *("reasoning", "tool_search_call", "tool_search_output", "mcp_list_tools", "mcp_approval_request"),
        *("mcp_approval_response", "mcp_call", "web_search_call", "file_search_call"),
        *("local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output"),
        *("apply_patch_call", "apply_patch_call_output"),
    )
)
"""Items of the input that cost no more than their own bytes."""


@dataclass(slots=True)
class ResponsesCall(Exchange):
    """One request for a response."""

    prompt_fields: ClassVar[tuple[str, ...]] = ("instructions", "input")
    schema_fields: ClassVar[tuple[str, ...]] = ("tools", "text")
    only_maximum_field: ClassVar[str | None] = "max_output_tokens"
    asks_usage: ClassVar[bool] = False
    has_habits: ClassVar[bool] = False


def read_call(body: dict[str, Any]) -> ResponsesCall:
    """Understand one request; BadRequest names the field that is wrong."""
    call = ResponsesCall("responses", body, read_model(body))
    call.stream = read_bool(body, "stream")
    call.background = read_bool(body, "background")
    call.kept = body.get("store") is not False
    call.maximum = read_count(body, "max_output_tokens", most=MAXIMUM_TOKENS)
    call.maximum_field = None if call.maximum is None else "max_output_tokens"
    asked = body.get("service_tier")
    call.service_tier = None if asked == "auto" else tier(asked)
    _read_state(body, call)
    _read_input(body.get("input"), call)
    _read_tools(body.get("tools"), call)
    _read_format(body.get("text"), call)
    return call


def _read_state(body: dict[str, Any], call: ResponsesCall) -> None:
    """What the provider has of it already."""
    previous = body.get("previous_response_id")
    if previous is not None:
        if not isinstance(previous, str):
            raise wrong_type("previous_response_id", previous, "a string")
        call.continues = previous
    if previous is not None or body.get("conversation") is not None:
        call.fills_context = True
    if body.get("prompt") is not None:
        # A stored prompt may bring tools along.
        call.unbounded = call.unbounded or "prompt"
        call.fills_context = True


def _read_input(given: Any, call: ResponsesCall) -> None:
    if given is None:
        if call.fills_context:
            return
        raise missing("input")
    call.messages = 1
    if isinstance(given, str):
        return
    if not isinstance(given, list):
        raise wrong_type("input", given, "a string or an array")
    call.messages = max(1, len(given))
    for number, item in objects(given, "input"):
        _read_item(item, f"input[{number}]", call)


def _read_item(item: dict[str, Any], path: str, call: ResponsesCall) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        _read_content(item.get("content"), f"{path}.content", call)
    elif kind in ("function_call_output", "custom_tool_call_output"):
        _read_content(item.get("output"), f"{path}.output", call)
    elif kind == "tool_search_output":
        call.tools += len(item.get("tools") or ()) if isinstance(item.get("tools"), list) else 0
    elif kind == "reasoning":
        call.uncounted = call.uncounted or item.get("encrypted_content") is not None
    elif kind not in _KNOWN_ITEMS:
        # What it refers to, or shows, is not here.
        call.fills_context = True


def _read_content(content: Any, path: str, call: ResponsesCall) -> None:
    for number, block in blocks(content, path):
        kind = block.get("type")
        if kind in _TEXTS:
            continue
        if kind == "input_image" and block.get("file_id") is None:
            url = block.get("image_url")
            if not isinstance(url, str):
                raise wrong_type(f"{path}[{number}].image_url", url, "a string")
            add_image(call, len(url))
        else:
            call.has_media = True
            call.fills_context = True


def _read_tools(tools: Any, call: ResponsesCall) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise wrong_type("tools", tools, "an array of objects")
    for number, tool in objects(tools, "tools"):
        if tool.get("type") not in _OWN_TOOLS:
            call.unbounded = call.unbounded or f"tools[{number}]"
    call.tools += len(tools)


def _read_format(wanted: Any, call: ResponsesCall) -> None:
    if wanted is None:
        return
    if not isinstance(wanted, dict):
        raise wrong_type("text", wanted, "an object")
    form = wanted.get("format")
    call.wants_json = isinstance(form, dict) and form.get("type") in ("json_object", "json_schema")
