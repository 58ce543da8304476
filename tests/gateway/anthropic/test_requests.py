"""Requests in Anthropic's format: what is understood, what is refused in its words, what has no bound."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.dialects import SURFACES, Exchange
from gateway.errors import BadRequest

PLAIN = [{"role": "user", "content": "Hello"}]
TOOL = {"name": "get", "description": "Gets.", "input_schema": {"type": "object", "properties": {}}}
PNG = "iVBORw0KGgo" * 1_000


def read(surface: str = "messages", **fields: Any) -> Any:
    body = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": PLAIN, **fields}
    return SURFACES[surface].call({name: value for name, value in body.items() if value is not ...})


def content(*blocks: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"model": ...}, "model", "model: Field required"),
        ({"model": 3}, "model", "model: Input should be a valid string"),
        ({"model": ""}, "model", "model: String should have"),
        ({"max_tokens": ...}, "max_tokens", "max_tokens: Field required"),
        ({"max_tokens": None}, "max_tokens", "max_tokens: Field required"),
        ({"max_tokens": "9"}, "max_tokens", "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "max_tokens", "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens", "max_tokens: Input should be from 0"),
        ({"max_tokens": 10**9}, "max_tokens", "max_tokens: Input should be from 0"),
        ({"messages": ...}, "messages", "messages: Field required"),
        ({"messages": "hi"}, "messages", "messages: Input should be a valid list"),
        ({"messages": []}, "messages", "messages: at least one message is required"),
        ({"messages": ["hi"]}, "messages.0", "messages.0: Input should be"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role", "messages.0.role: Input should be"),
        (
            {"messages": [*PLAIN, {"role": "user", "content": 3}]},
            "messages.1.content",
            "messages.1.content: ",
        ),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "messages.0.content: Input should be"),
        ({"messages": content("hi")}, "messages.0.content.0", "messages.0.content.0: Input should be"),
        ({"messages": content({})}, "messages.0.content.0.type", "messages.0.content.0.type: "),
        ({"messages": content({"type": []})}, "messages.0.content.0.type", "messages.0.content.0.type: "),
        (
            {"messages": content({"type": "image"})},
            "messages.0.content.0.source",
            "messages.0.content.0.source",
        ),
        (
            {"messages": content({"type": "image", "source": {"type": "base64", "data": 3}})},
            "messages.0.content.0.source.data",
            "messages.0.content.0.source.data: Input should be a valid string",
        ),
        ({"messages": content({"type": "document"})}, "messages.0.content.0.source", "messages.0.content.0"),
        ({"system": 3}, "system", "system: Input should be a valid string or list"),
        ({"system": ["x"]}, "system.0", "system.0: Input should be"),
        ({"stream": "yes"}, "stream", "stream: Input should be a valid boolean"),
        ({"tools": {}}, "tools", "tools: Input should be a valid list"),
        ({"tools": ["get"]}, "tools.0", "tools.0: Input should be"),
        ({"tools": [{"type": 3}]}, "tools.0.type", "tools.0.type: Input should be a valid string"),
        ({"tool_choice": "auto"}, "tool_choice", "tool_choice: Input should be"),
        ({"metadata": "me"}, "metadata", "metadata: Input should be"),
        ({"thinking": True}, "thinking", "thinking: Input should be"),
        (
            {"thinking": {"type": "enabled"}},
            "thinking.enabled.budget_tokens",
            "thinking.enabled.budget_tokens: F",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1.5}},
            "thinking.enabled.budget_tokens",
            "thinking.enabled.budget_tokens: Input should be a valid integer",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1_023}, "max_tokens": 4_000},
            "thinking.budget_tokens",
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 4_000}, "max_tokens": 4_000},
            "max_tokens",
            "`max_tokens` must be greater than `thinking.budget_tokens`",
        ),
        ({"output_config": "json"}, "output_config", "output_config: Input should be"),
        ({"output_config": {"format": 3}}, "output_config.format", "output_config.format: Input should be"),
        ({"service_tier": 1}, "service_tier", "service_tier: Input should be a valid string"),
    ],
)
def test_a_wrong_field_is_named_in_anthropics_words(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(BadRequest) as told:
        read(**fields)
    assert told.value.param == param
    assert told.value.message.startswith(words)


@pytest.mark.parametrize(
    ("surface", "fields"),
    [("messages", {}), ("messages", {"max_tokens": 0}), ("messages", {"max_tokens": 128_000, "stream": True}),
     ("messages", {"system": "Be brief."}), ("messages", {"system": [{"type": "text", "text": "Be brief."}]}),
     ("messages", {"thinking": {"type": "enabled", "budget_tokens": 1_024}, "max_tokens": 1_025}),
     ("messages", {"thinking": {"type": "enabled", "budget_tokens": 9_000}, "tools": [TOOL]}),
     ("messages", {"thinking": {"type": "adaptive"}}), ("messages", {"thinking": {"type": "disabled"}}),
     ("messages", {"metadata": {"user_id": "u"}, "tool_choice": {"type": "auto"}, "stop_sequences": ["x"]}),
     ("messages", {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
     ("messages", {"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}),
     ("messages", {"mcp_servers": [], "container": None, "fallbacks": []}),
     ("messages.count_tokens", {"max_tokens": ...})],
)  # fmt: skip
def test_what_is_right_is_bounded_and_goes_on_as_it_came(surface: str, fields: dict[str, Any]) -> None:
    call: Exchange = read(surface, **fields)
    assert call.unbounded is None
    assert not call.fills_context
    assert orjson.loads(call.forwarded(call.model, maximum=None, ask_usage=False)) == call.body
    assert call.maximum == call.body.get("max_tokens")
    assert call.stream is bool(fields.get("stream"))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}]}, "tools.1"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]}, "tools.0"),
        ({"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}, "tools.0"),
        ({"tools": [{"type": "code_execution_20260120", "name": "code_execution"}]}, "tools.0"),
        ({"tools": [{"type": "tool_search_tool_bm25_20251119", "name": "search"}]}, "tools.0"),
        ({"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "m"}]}, "tools.0"),
        ({"tools": [{"type": "browser_toolset_20260801"}]}, "tools.0"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "tools.0"),
        ({"tools": [{"type": "not_yet_invented"}]}, "tools.0"),
        ({"mcp_servers": [{"type": "url", "url": "https://x.example"}]}, "mcp_servers"),
        ({"container": "container_1"}, "container"),
        ({"fallbacks": "default"}, "fallbacks"),
        ({"compaction": {"type": "summarize"}}, "compaction"),
        ({"thread": {"id": "t"}}, "thread"),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, "context_management"),
        ({"messages": content({"type": "smell"})}, "messages.0.content.0"),
        ({"messages": content({"type": "container_upload", "file_id": "f"})}, "messages.0.content.0"),
    ],
)
def test_what_is_paid_for_more_than_once_or_not_known_has_no_bound(
    fields: dict[str, Any], named: str
) -> None:
    assert read(**fields).unbounded == named
    assert read("messages.count_tokens", **fields).unbounded is None


@pytest.mark.parametrize(
    ("block", "images", "fills"),
    [
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}, 1, False),
        ({"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}, 1, False),
        ({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, 1, False),
        ({"type": "document", "source": {"type": "base64", "data": "JVBERi0="}}, 0, True),
        ({"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}}, 0, True),
        ({"type": "document", "source": {"type": "file", "file_id": "file_1"}}, 0, True),
        ({"type": "document", "source": {"type": "text", "data": "words"}}, 0, False),
        ({"type": "document", "source": {"type": "content", "content": "words"}}, 0, False),
        (
            {"type": "document", "source": {"type": "content", "content": [
                {"type": "text", "text": "a"}, {"type": "image", "source": {"type": "url", "url": "https://x"}}]}},
            1,
            False,
        ),
        ({"type": "tool_result", "tool_use_id": "t", "content": "done"}, 0, False),
        ({"type": "tool_result", "tool_use_id": "t"}, 0, False),
        (
            {"type": "tool_result", "tool_use_id": "t", "content": [
                {"type": "text", "text": "see"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}]},
            1,
            False,
        ),
        (
            {"type": "web_fetch_tool_result", "tool_use_id": "s", "content": {
                "type": "web_fetch_result", "url": "https://x", "content": {
                    "type": "document", "source": {"type": "base64", "data": "JVBERi0="}}}},
            0,
            True,
        ),
        ({"type": "web_search_tool_result", "content": [{"type": "web_search_result"}]}, 0, False),
        (
            {"type": "web_search_tool_result",
             "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"}},
            0,
            False,
        ),
        (
            {"type": "bash_code_execution_tool_result", "content": {
                "type": "bash_code_execution_result", "stdout": "", "content": [
                    {"type": "bash_code_execution_output", "file_id": "f"}]}},
            0,
            False,
        ),
        ({"type": "search_result", "source": "s", "content": [{"type": "text", "text": "a"}]}, 0, False),
        ({"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, 0, False),
        ({"type": "redacted_thinking", "data": "c2ln"}, 0, False),
    ],
)  # fmt: skip
def test_images_are_counted_and_pages_fill_the_context(block: Any, images: int, fills: bool) -> None:
    call = read(messages=content({"type": "text", "text": "See:"}, block))
    assert (call.images, call.fills_context, call.unbounded) == (images, fills, None)
    assert call.has_media == bool(images or fills)
    counted = read("messages.count_tokens", messages=content(block))
    assert (counted.free, counted.fills_context, counted.produces_tokens) == (True, False, False)


def test_content_that_stands_too_deep_in_content_has_no_bound() -> None:
    block: dict[str, Any] = {"type": "text", "text": "deep"}
    for _ in range(400):
        block = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    assert read(messages=content(block)).unbounded is not None


def test_what_the_provider_adds_is_in_the_bound() -> None:
    provided = [{"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "edit"},
                {"type": "memory_20250818", "name": "memory"},
                {"type": "computer_20251124", "name": "computer"}]  # fmt: skip
    call = read(tools=[TOOL, *provided])
    assert (call.unbounded, call.tools, call.added_tokens) == (None, 5, 4 * 4_096)
    found = {"type": "tool_search_tool_search_result",
             "tool_references": [{"type": "tool_reference", "tool_name": "get"}] * 2}  # fmt: skip
    again = content({"type": "tool_search_tool_result", "content": found},
                    {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "get"}})  # fmt: skip
    repeated = read(tools=[{**TOOL, "defer_loading": True}], messages=again)
    assert repeated.repeated_bytes >= 3 * len(orjson.dumps(TOOL))


def test_what_is_likely_counts_images_and_the_prompt_around_tools() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x"}}
    plain, more = read().likely_input(10), read(messages=content(image, image), tools=[TOOL]).likely_input(10)
    assert more == plain + 2 * 1_600 + 346


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [({}, False), ({"output_config": {"effort": "low"}}, False),
     ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, True),
     ({"output_format": {"type": "json_schema", "schema": {}}}, True)],
)  # fmt: skip
def test_json_is_wanted_where_a_schema_says_so(fields: dict[str, Any], wanted: bool) -> None:
    assert read(**fields).wants_json is wanted


@pytest.mark.parametrize(
    ("fields", "tier"),
    [({}, None), ({"service_tier": "auto"}, None), ({"service_tier": "standard_only"}, "standard"),
     ({"speed": "fast"}, "fast"), ({"speed": "standard"}, None)],
)  # fmt: skip
def test_the_tier_that_is_asked_for_is_in_the_words_of_the_list(
    fields: dict[str, Any], tier: str | None
) -> None:
    assert read(**fields).service_tier == tier
