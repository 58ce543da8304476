"""Anthropic's Messages format: requests for a message, and for the number of a prompt's tokens.

Shapes: https://platform.claude.com/docs/en/api/messages. Anthropic requires `max_tokens`, so the gateway
never writes a maximum. What a request may cost has a bound as long as one model is asked once: tools that run
at the provider ask it again, with what they found, as often as it likes, and each time is paid for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from gateway.dialects.anthropic_blocks import read_blocks, wrong
from gateway.dialects.exchange import MAXIMUM_TOKENS, Exchange
from gateway.errors import BadRequest

MODEL_CHARACTERS_MAX = 256
LEAST_BUDGET = 1_024
LONG_CONTEXT = b"context-1m"
LONG_CONTEXT_TOKENS = 1_000_000
LIKELY_IMAGE = 1_600
LIKELY_TOOLS_PROMPT = 346
"""What Anthropic puts before the definitions of tools, for the models since Claude 4."""
PROVIDED_TOOL_TOKENS = 4_096
"""Above what the definition of a tool that Anthropic provides adds to a prompt (bash 245, text editor 700,
computer 735 and 499 around it: https://platform.claude.com/docs/en/about-claude/pricing). Its schema does not
stand in the request."""
_PROVIDED = ("bash_", "text_editor_", "computer_20", "memory_")
"""How the types begin of tools that Anthropic defines and the client runs."""
_ASKS_AGAIN = ("mcp_servers", "container", "fallbacks", "compaction", "thread")
"""Fields by which more than one answer of one model is paid for, or more is read than the request has."""


@dataclass(slots=True)
class MessagesCall(Exchange):
    """One request in the Messages format."""

    prompt_fields: ClassVar[tuple[str, ...]] = ("system", "messages")
    schema_fields: ClassVar[tuple[str, ...]] = ("tools", "output_config", "output_format")
    only_maximum_field: ClassVar[str | None] = "max_tokens"
    asks_usage: ClassVar[bool] = False
    has_habits: ClassVar[bool] = False
    # Images are looked at in at most 4,784 patches (2,576 pixels wide), earlier models' in 1,568:
    # https://platform.claude.com/docs/en/build-with-claude/vision
    image_tokens: ClassVar[int] = 5_000

    def fitted(self, operations: Collection[str]) -> Exchange | None:
        """As it is, or as Vertex AI takes it."""
        if self.operation in operations:
            return self
        from gateway.dialects.anthropic_vertex import at_vertex  # which builds upon this file

        placed = at_vertex(self)
        return placed if placed.operation in operations else None

    def likely_input(self, counted: int) -> int:
        """Images and the prompt around tools are no texts."""
        beside = self.images * LIKELY_IMAGE + (LIKELY_TOOLS_PROMPT if self.tools else 0)
        return Exchange.likely_input(self, counted) + beside

    def context(self, window: int) -> int:
        """A beta lets some models read more than their list says."""
        beyond = any(LONG_CONTEXT in value for _, value in self.passed)
        return max(window, LONG_CONTEXT_TOKENS) if beyond else window


def read_call(body: dict[str, Any]) -> MessagesCall:
    """Understand one request for a message; BadRequest names the field that is wrong."""
    call = MessagesCall("messages", body, _read_model(body))
    call.maximum = _read_maximum(body.get("max_tokens"))
    call.maximum_field = "max_tokens"
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise wrong("stream", "a valid boolean")
    call.stream = stream is True
    _read_prompt(body, call)
    _read_thinking(body.get("thinking"), call)
    _read_options(body, call)
    for name in _ASKS_AGAIN:
        if body.get(name):
            call.unbounded = call.unbounded or name
    return call


def read_count(body: dict[str, Any]) -> MessagesCall:
    """Understand one request for the number of a prompt's tokens, which costs nothing."""
    call = MessagesCall("messages.count_tokens", body, _read_model(body), produces_tokens=False, free=True)
    _read_prompt(body, call)
    call.unbounded, call.fills_context = None, False
    return call


def _read_model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if model is None:
        raise required("model")
    if not isinstance(model, str):
        raise wrong("model", "a valid string")
    if not 0 < len(model) <= MODEL_CHARACTERS_MAX or not model.isprintable():
        raise BadRequest(
            f"model: String should have 1 to {MODEL_CHARACTERS_MAX} printable characters",
            param="model",
            code="invalid_value",
        )
    return model


def _read_maximum(maximum: Any) -> int:
    """Output tokens at most; 0 only fills the cache."""
    if maximum is None:
        raise required("max_tokens")
    if isinstance(maximum, bool) or not isinstance(maximum, int):
        raise wrong("max_tokens", "a valid integer")
    if not 0 <= maximum <= MAXIMUM_TOKENS:
        raise BadRequest(
            f"max_tokens: Input should be from 0 to {MAXIMUM_TOKENS}, not {maximum}",
            param="max_tokens",
            code="invalid_value",
        )
    return maximum


def _read_prompt(body: dict[str, Any], call: MessagesCall) -> None:
    """Everything that the model reads: tools, system prompt, messages."""
    tools = body.get("tools")
    if tools is not None:
        if not isinstance(tools, list):
            raise wrong("tools", "a valid list")
        for number, tool in enumerate(tools):
            _read_tool(tool, f"tools.{number}", call)
        call.tools = len(tools)
    system = body.get("system")
    if system is not None and not isinstance(system, str):
        read_blocks(system, "system", call)
    messages = body.get("messages")
    if messages is None:
        raise required("messages")
    if not isinstance(messages, list):
        raise wrong("messages", "a valid list")
    if not messages:
        raise BadRequest("messages: at least one message is required", param="messages", code="empty_array")
    call.messages = len(messages)
    references = 0
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise wrong(f"messages.{number}", "a valid dictionary or object")
        if not isinstance(message.get("role"), str):
            raise wrong(f"messages.{number}.role", "a valid string")
        content = message.get("content")
        if not isinstance(content, str):
            references += read_blocks(content, f"messages.{number}.content", call)
    if references and tools:
        # Each may bring a definition into the prompt again that stands in the request once.
        call.repeated_bytes = references * max(len(orjson.dumps(tool)) for tool in tools)


def _read_tool(tool: Any, path: str, call: MessagesCall) -> None:
    if not isinstance(tool, dict):
        raise wrong(path, "a valid dictionary or object")
    kind = tool.get("type")
    if kind is None or kind == "custom":
        return
    if not isinstance(kind, str):
        raise wrong(f"{path}.type", "a valid string")
    if kind.startswith(_PROVIDED):
        call.added_tokens += PROVIDED_TOOL_TOKENS
    else:
        call.unbounded = call.unbounded or path


def _read_thinking(thinking: Any, call: MessagesCall) -> None:
    if thinking is None:
        return
    if not isinstance(thinking, dict):
        raise wrong("thinking", "a valid dictionary or object")
    if thinking.get("type") != "enabled":
        return
    budget = thinking.get("budget_tokens")
    if budget is None:
        raise required("thinking.enabled.budget_tokens")
    if isinstance(budget, bool) or not isinstance(budget, int):
        raise wrong("thinking.enabled.budget_tokens", "a valid integer")
    if budget < LEAST_BUDGET:
        raise BadRequest(
            f"thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_BUDGET}",
            param="thinking.budget_tokens",
            code="invalid_value",
        )
    # Between calls of tools a budget may be that of several answers, and so larger than the maximum of one.
    if not call.tools and budget >= (call.maximum or 0):
        raise BadRequest(
            "`max_tokens` must be greater than `thinking.budget_tokens`",
            param="max_tokens",
            code="invalid_value",
        )


def _read_options(body: dict[str, Any], call: MessagesCall) -> None:
    for name in ("tool_choice", "metadata", "output_config", "output_format", "context_management"):
        value = body.get(name)
        if value is not None and not isinstance(value, dict):
            raise wrong(name, "a valid dictionary or object")
    config = body.get("output_config") or {}
    wanted = config.get("format") or body.get("output_format")
    if wanted is not None:
        if not isinstance(wanted, dict):
            raise wrong("output_config.format", "a valid dictionary or object")
        call.wants_json = wanted.get("type") == "json_schema"
    edits = (body.get("context_management") or {}).get("edits")
    if isinstance(edits, list) and any(_compacts(edit) for edit in edits):
        # The conversation is summarised first, by an answer beside the one that was asked for.
        call.unbounded = call.unbounded or "context_management"
    tier = body.get("service_tier")
    if tier is not None and not isinstance(tier, str):
        raise wrong("service_tier", "a valid string")
    if body.get("speed") == "fast":
        call.service_tier = "fast"
    elif tier == "standard_only":
        call.service_tier = "standard"


def _compacts(edit: Any) -> bool:
    """Whether an edit of the context is more than leaving something out of it."""
    return not (isinstance(edit, dict) and str(edit.get("type")).startswith("clear_"))


def required(path: str) -> BadRequest:
    """The complaint about a field that is missing, in Anthropic's words."""
    return BadRequest(f"{path}: Field required", param=path, code="missing_required_parameter")
