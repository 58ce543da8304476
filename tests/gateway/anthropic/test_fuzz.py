"""Requests nobody foresaw: understood, or refused with the field that is wrong; never a fault of ours."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ceiling import input_bound
from gateway.dialects import SURFACES, Exchange
from gateway.dialects.anthropic import ANTHROPIC
from gateway.errors import BadRequest
from tests.gateway.test_surfaces_fuzz import VALUES, places

BASE: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 4_000,
    "stream": True,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
            {"type": "search_result", "source": "s", "content": [{"type": "text", "text": "a"}]},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "tool_use", "id": "t", "name": "get", "input": {"city": "Rome"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "21"}]},
            {"type": "tool_search_tool_result", "content": {
                "type": "tool_search_tool_search_result",
                "tool_references": [{"type": "tool_reference", "tool_name": "get"}]}},
        ]},
    ],
    "tools": [{"name": "get", "input_schema": {"type": "object"}}, {"type": "bash_20250124", "name": "bash"}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "enabled", "budget_tokens": 2_000},
    "output_config": {"format": {"type": "json_schema", "schema": {}}, "effort": "low"},
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    "metadata": {"user_id": "u"},
    "service_tier": "auto",
}  # fmt: skip


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """The request above with some values replaced, as JSON can say them."""
    document = copy.deepcopy(BASE)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(places(document), key=repr)))
        target: Any = document
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = draw(VALUES)
    return document


def understood(surface: str, body: dict[str, Any]) -> Exchange | BadRequest:
    """The request, or what is wrong with it; any other fault is one of ours."""
    try:
        return SURFACES[surface].call(body)
    except BadRequest as error:
        return error


@settings(max_examples=150, suppress_health_check=list(HealthCheck), derandomize=True)
@given(document=changed(), surface=st.sampled_from(["messages", "messages.count_tokens"]))
def test_every_request_is_understood_or_refused_by_name(document: Any, surface: str) -> None:
    try:
        body = orjson.loads(orjson.dumps(document))
    except (TypeError, orjson.JSONEncodeError):
        return  # surrogates and integers that no request can bring
    call = understood(surface, body)
    if isinstance(call, BadRequest):
        assert call.param
        assert call.message
        return
    forwarded = call.forwarded(call.model, maximum=None, ask_usage=False)
    assert orjson.loads(forwarded) == body
    assert input_bound(call, forwarded) >= 0
    assert isinstance(call.prompt_text(), str)


@settings(max_examples=80, suppress_health_check=list(HealthCheck), derandomize=True)
@given(told=st.dictionaries(
    st.sampled_from(["type", "delta", "content_block", "content", "error", "usage", "stop_reason"]),
    VALUES | st.sampled_from(["content_block_delta", "content_block_start", "message_delta", "message"]),
))  # fmt: skip
def test_whatever_a_provider_says_is_read(told: Any) -> None:
    assert isinstance(ANTHROPIC.text(told) + ANTHROPIC.answer_text(told), str)
    assert all(isinstance(reason, str) for reason in ANTHROPIC.reasons(told))
    ANTHROPIC.ends(b"", told)
    ANTHROPIC.failed(told)


def test_the_request_that_is_changed_is_a_good_one() -> None:
    call = SURFACES["messages"].call(copy.deepcopy(BASE))
    assert call.unbounded is None
    with pytest.raises(BadRequest):
        SURFACES["messages"].call({**BASE, "messages": 3})
