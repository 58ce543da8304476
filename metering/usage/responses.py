"""Usage in OpenAI's Responses format.

Shapes: https://platform.openai.com/docs/api-reference/responses. An answer carries `usage` at the top, an
event of a stream under `response`; it is null until the response has ended. Cached and cache-writing tokens
are inside input_tokens, reasoning inside output_tokens. Tools that run at the provider are not in `usage`:
they are items of `output`, one for each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metering.usage.openai import add_calls, reported_cost
from metering.usage.reading import NOTHING, Reading, count, objects, part, text, tier, whole
from metering.usage.totals import Usage

# Items of the output that are calls of a tool with a price, and the unit they are charged as.
_ITEMS = {"web_search_call": "web_searches", "file_search_call": "storage_searches"}
# What others who speak this format count inside `usage`.
_CALLS = {
    "web_search_requests": "web_searches",
    "web_search_calls": "web_searches",
    "x_search_calls": "social_searches",
    "file_search_calls": "storage_searches",
    "code_interpreter_calls": "code_executions",
}


def read(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
    """What a response, or an event of its stream, tells."""
    response = part(document, "response") or document
    reported = response.get("usage")
    usage, cost = before.usage, before.reported_nano
    if isinstance(reported, dict):
        found = _usage(reported, _calls(response))
        if found is not None:
            usage, cost = found, reported_cost(reported)
    return Reading(
        usage=usage,
        service_tier=tier(response.get("service_tier")) or before.service_tier,
        model=text(response.get("model")) or before.model,
        elsewhere=_images(response) or before.elsewhere,
        reported_nano=cost,
    )


def _usage(reported: Mapping[str, Any], calls: Mapping[str, int]) -> Usage | None:
    given, produced = reported.get("input_tokens"), reported.get("output_tokens")
    if given is None and produced is None:
        return None
    inside = part(reported, "input_tokens_details")
    outside = part(reported, "output_tokens_details")
    cached = inside.get("cached_tokens", inside.get("cache_read_input_tokens"))
    figures = dict(calls)
    for holder in ("server_tool_use_details", "server_side_tool_usage_details"):
        add_calls(figures, part(reported, holder), _CALLS)
    tools = part(reported, "tool_calls_details")
    if "search_web" in tools:
        figures["web_searches"] = count(part(tools, "search_web").get("invocation"))
    return Usage(
        input_tokens=count(given),
        cache_read_input_tokens=count(cached),
        cache_write_5m_input_tokens=count(inside.get("cache_write_tokens")),
        input_audio_tokens=count(inside.get("audio_tokens")),
        input_image_tokens=count(inside.get("image_tokens")),
        output_tokens=count(produced),
        reasoning_output_tokens=count(outside.get("reasoning_tokens")),
        output_audio_tokens=count(outside.get("audio_tokens")),
        output_image_tokens=count(outside.get("image_tokens")),
        extra=whole(figures),
    )


def _calls(response: Mapping[str, Any]) -> dict[str, int]:
    """How many calls with a price stand in a response's output, or in its own count of searches.

    Of a web search's actions only the search itself is charged; opening a page and finding in it are not.
    """
    items = objects(response.get("output"))
    calls: dict[str, int] = {}
    sessions: set[str] = set()
    for item in items:
        kind = item.get("type")
        if kind == "code_interpreter_call":
            # A container is charged once, however many calls run in it.
            sessions.add(text(item.get("container_id")) or f"call {len(sessions)}")
        elif (
            isinstance(kind, str)
            and kind in _ITEMS
            and part(item, "action").get("type", "search") == "search"
        ):
            calls[_ITEMS[kind]] = calls.get(_ITEMS[kind], 0) + 1
    if sessions:
        calls["code_sessions"] = len(sessions)
    searches = part(part(response, "tool_usage"), "web_search")
    if "num_requests" in searches:
        calls["web_searches"] = count(searches["num_requests"])
    return calls


def _images(response: Mapping[str, Any]) -> tuple[tuple[str, Usage], ...]:
    """What an image model used that the response called as a tool: it stands apart, at that model's price."""
    reported = part(part(response, "tool_usage"), "image_gen")
    given, produced = count(reported.get("input_tokens")), count(reported.get("output_tokens"))
    if not given and not produced:
        return ()
    inside = part(reported, "input_tokens_details")
    outside = part(reported, "output_tokens_details")
    named = (
        text(tool.get("model"))
        for tool in objects(response.get("tools"))
        if tool.get("type") == "image_generation"
    )
    usage = Usage(
        input_tokens=given,
        input_image_tokens=count(inside.get("image_tokens")),
        output_tokens=produced,
        # An image model's output is images, where it is not said to be text.
        output_image_tokens=count(outside["image_tokens"]) if "image_tokens" in outside else produced,
        requests=0,
    )
    return ((next((model for model in named if model), "image_generation"), usage),)
