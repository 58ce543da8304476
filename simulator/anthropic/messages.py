"""What a request to `/v1/messages` asks for, read and checked the way Anthropic does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator.anthropic.dialect import checked, wrong
from simulator.anthropic.models import CLAUDES, Claude
from simulator.anthropic.prompt import Blocks, read_blocks
from simulator.chat import Tool
from simulator.dialect import Asked
from simulator.directive import NONE, Directive, wished
from simulator.errors import Refusal

FIELDS = frozenset((
    "model", "messages", "max_tokens", "system", "tools", "tool_choice", "thinking", "stream", "metadata",
    "cache_control", "container", "context_management", "inference_geo", "mcp_servers", "output_config",
    "output_format", "service_tier", "speed", "stop_sequences", "temperature", "top_k", "top_p", "betas",
    "anthropic_version", "diagnostics", "prefill", "user_profile_id", "workspace_id",
))  # fmt: skip
EFFORT = {"low": 64, "medium": 128, "high": 256, "xhigh": 512, "max": 1_024}
"""Thinking tokens; `high` is the usual effort."""
BUDGET_MIN = 1_024
SEARCH_TOOL = "web_search_"


@dataclass(frozen=True, slots=True)
class MessagesCall:
    """One checked request. `thinking` is what the model thinks without a directive, in tokens."""

    claude: Claude
    blocks: Blocks
    stream: bool
    maximum: int
    thinking: int
    show_thinking: bool
    tool: Tool | None
    schema: Any
    may_search: bool
    fast: bool
    in_us: bool
    directive: Directive


def read_messages(asked: Asked) -> MessagesCall:
    """Read a request. Raises Refusal on what Anthropic would refuse."""
    body = asked.body
    claude = _checked_body(body, asked.names.get("model"))
    maximum = body.get("max_tokens")
    if maximum is None:
        raise wrong("max_tokens: Field required")
    checked(maximum, "max_tokens", int, "a valid integer")
    if maximum < 1:
        raise wrong("max_tokens: Input should be greater than or equal to 1")
    model = claude.model
    if maximum > model.max_output:
        raise wrong(
            f"max_tokens: {maximum} > {model.max_output}, which is the maximum allowed number of output "
            f"tokens for {model.snapshot}"
        )
    blocks = read_blocks(body)
    betas = (asked.request.header(b"anthropic-beta") or "") + ",".join(body.get("betas") or ())
    context = claude.beta_context if claude.beta_context and "context-1m" in betas else model.context
    if blocks.prompt.total > context:
        raise wrong(f"prompt is too long: {blocks.prompt.total} tokens > {context} maximum")
    tool = _tool(body, blocks)
    thinking, shown = _thinking(body, claude, blocks, maximum, interleaved="interleaved-thinking" in betas)
    fast = body.get("speed") == "fast"
    if fast and "fast" not in model.tiers:
        raise wrong(f"speed: '{model.id}' does not support fast mode")
    in_us = body.get("inference_geo") == "us"
    if in_us and not claude.regional:
        raise wrong(f"inference_geo: '{model.id}' does not support a choice of region")
    tier = body.get("service_tier") or "auto"
    if tier not in ("auto", "standard_only"):
        raise wrong("service_tier: Input should be 'auto' or 'standard_only'")
    shape = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return MessagesCall(
        claude=claude,
        blocks=blocks,
        stream=bool(body.get("stream")),
        maximum=maximum,
        thinking=thinking,
        show_thinking=shown,
        tool=tool,
        schema=shape.get("schema") if shape.get("type") == "json_schema" else None,
        may_search=any(_kind(tool).startswith(SEARCH_TOOL) for tool in body.get("tools") or ()),
        fast=fast,
        in_us=in_us,
        directive=_directive(body, blocks) if asked.may_direct else NONE,
    )


@dataclass(frozen=True, slots=True)
class CountCall:
    """A request to count tokens."""

    input_tokens: int
    directive: Directive


def read_count(asked: Asked) -> CountCall:
    """Read a request to `/v1/messages/count_tokens`. Raises Refusal on what Anthropic would refuse."""
    _checked_body(asked.body, asked.names.get("model"))
    blocks = read_blocks(asked.body)
    wish = _directive(asked.body, blocks) if asked.may_direct else NONE
    return CountCall(blocks.prompt.total, wish)


def _checked_body(body: dict[str, Any], named: str | None) -> Claude:
    """The model of a body whose fields are known and of the right kind; `named` is one in the path."""
    for name in body:
        if name not in FIELDS:
            raise wrong(f"{name}: Extra inputs are not permitted")
    model = named if named is not None else body.get("model")
    if model is None:
        raise wrong("model: Field required")
    checked(model, "model", str, "a valid string")
    claude = CLAUDES.get(model.replace("@", "-"))
    if claude is None:
        raise Refusal(404, f"model: {model}")
    messages = body.get("messages")
    if messages is None:
        raise wrong("messages: Field required")
    checked(messages, "messages", list, "a valid list")
    if not messages:
        raise wrong("messages: at least one message is required")
    for number, message in enumerate(messages):
        expected = "a valid dictionary or object to extract fields from"
        checked(message, f"messages.{number}", dict, expected)
        if message.get("role") not in ("user", "assistant"):
            raise wrong(f"messages.{number}.role: Input should be 'user' or 'assistant'")
        if message.get("content") is None:
            raise wrong(f"messages.{number}.content: Field required")
    for name, kind, expected in (
        ("tools", list, "a valid list"),
        ("tool_choice", dict, "a valid dictionary"),
        ("thinking", dict, "a valid dictionary"),
        ("metadata", dict, "a valid dictionary"),
        ("output_config", dict, "a valid dictionary"),
        ("stream", bool, "a valid boolean"),
    ):
        if body.get(name) is not None:
            checked(body[name], name, kind, expected)
    for number, tool in enumerate(body.get("tools") or ()):
        checked(tool, f"tools.{number}", dict, "a valid dictionary or object to extract fields from")
        if not _kind(tool) and not isinstance(tool.get("input_schema"), dict):
            raise wrong(f"tools.{number}.custom.input_schema: Field required")
    return claude


def _kind(tool: dict[str, Any]) -> str:
    """The type of a tool that Anthropic runs or knows; empty for one of the client's own."""
    kind = str(tool.get("type") or "")
    return "" if kind == "custom" else kind


def _tool(body: dict[str, Any], blocks: Blocks) -> Tool | None:
    """The client's tool to call: none when a tool has just answered, unless the request insists."""
    own = [tool for tool in body.get("tools") or () if not _kind(tool)]
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice.get("type")
    if kind not in ("auto", "any", "tool", "none"):
        raise wrong("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")
    if kind in ("any", "tool") and not body.get("tools"):
        raise wrong("tool_choice: tools must be given when tool_choice is 'any' or 'tool'")
    if kind == "tool":
        for tool in own:
            if tool.get("name") == choice.get("name"):
                return Tool(str(tool["name"]), tool["input_schema"], named=True)
        raise wrong(f"tool_choice.tool.name: Tool '{choice.get('name')}' not found in provided tools")
    if not own or kind == "none" or (kind == "auto" and blocks.prompt.ends_with_tool):
        return None
    return Tool(str(own[0].get("name")), own[0]["input_schema"], named=False)


def _thinking(
    body: dict[str, Any], claude: Claude, blocks: Blocks, maximum: int, *, interleaved: bool
) -> tuple[int, bool]:
    """Thinking tokens, and whether they are shown."""
    config = body.get("thinking") or {"type": "adaptive" if claude.thinks else "disabled"}
    kind = config.get("type")
    if kind not in ("enabled", "adaptive", "between_tools", "disabled"):
        raise wrong("thinking.type: Input should be 'adaptive', 'between_tools', 'disabled' or 'enabled'")
    if kind == "disabled":
        return 0, False
    effort = (body.get("output_config") or {}).get("effort") or "high"
    if effort not in EFFORT:
        raise wrong("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    tokens = EFFORT[effort]
    after_tool = blocks.prompt.ends_with_tool
    if kind == "enabled":
        budget: Any = config.get("budget_tokens")
        checked(budget, "thinking.enabled.budget_tokens", int, "a valid integer")
        if budget < BUDGET_MIN:
            raise wrong(
                f"thinking.enabled.budget_tokens: Input should be greater than or equal to {BUDGET_MIN}"
            )
        if budget >= maximum and not interleaved:
            raise wrong("`max_tokens` must be greater than `thinking.budget_tokens`.")
        _must_think_first(body["messages"])
        tokens = 0 if after_tool and not interleaved else min(tokens, budget)
    elif kind == "between_tools":
        tokens = tokens if after_tool else 0
    choice = (body.get("tool_choice") or {}).get("type")
    if body.get("thinking") and choice in ("any", "tool"):
        raise wrong("Thinking may not be enabled when tool_choice forces tool use.")
    display = config.get("display") or ("omitted" if claude.thinks else "summarized")
    return (0 if choice in ("any", "tool") else tokens), display == "summarized"


def _must_think_first(messages: list[Any]) -> None:
    """With thinking enabled, what a model said before its tool answered begins with what it thought."""
    for number in range(len(messages) - 1, -1, -1):
        content = messages[number]["content"]
        if messages[number]["role"] == "user":
            if isinstance(content, list) and any(part.get("type") == "tool_result" for part in content):
                continue
            return
        first = content[0].get("type") if isinstance(content, list) and content else "text"
        if first not in ("thinking", "redacted_thinking") and number + 1 < len(messages):
            raise wrong(
                f"messages.{number}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
                f"`{first}`. When `thinking` is enabled, a final `assistant` message must start with a "
                "thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
            )


def _directive(body: dict[str, Any], blocks: Blocks) -> Directive:
    return wished(blocks.prompt.last_user, (body.get("metadata") or {}).get("simulate"))
