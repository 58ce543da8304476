"""The simulated Anthropic beside what the real one was recorded to answer: names, types and their order."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2

from simulator.process import Simulator
from tests.simulator.claude import HELLO, WEATHER, ask, user
from tests.simulator.recordings import disorder, paths, recorded, streamed

SEARCH = {"type": "web_search_20250305", "name": "web_search"}
ASKED: list[dict[str, Any]] = [
    {"messages": [HELLO]},
    {"messages": [HELLO], "tools": [WEATHER]},
    {"messages": [HELLO], "thinking": {"type": "adaptive"}, "model": "claude-sonnet-5"},
    {"messages": user("[[simulate: searches=1]]"), "tools": [SEARCH]},
    {"messages": user("word " * 2_000), "cache_control": {"type": "ephemeral"}},
]


def test_every_member_of_an_answer_is_one_that_anthropic_sends(claude: anthropic.Anthropic) -> None:
    real = [each["response"] for each in recorded("anthropic") if "response" in each]
    known = {member for document in real for member in paths(document)}
    always = set.intersection(*({where for where, _ in paths(document)} for document in real))
    for asked in ASKED:
        answer = claude.messages.with_raw_response.create(
            **{"model": "claude-opus-4-8", "max_tokens": 2_000, **asked}
        )
        members = set(paths(answer.http_response.json()))
        assert members - known == set()
        assert always - {where for where, _ in members} == set()


def test_every_event_of_a_stream_has_anthropics_members_in_its_order(
    http: httpx2.Client, simulator: Simulator
) -> None:
    exchanges = recorded("anthropic")
    real = [event for each in exchanges for event in streamed(each.get("stream", ""))]
    blocks = [block for each in exchanges if "response" in each for block in each["response"]["content"]]
    begun = [{"type": "content_block_start", "content_block": block} for block in blocks]
    known = {member for event in [*real, *begun] for member in paths(event)}
    for asked in ASKED:
        body = {"model": "claude-opus-4-8", "max_tokens": 2_000, "stream": True, **asked}
        answer = http.post("/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"})
        for event in streamed(answer.text):
            alike = [each for each in real if each["type"] == event["type"]]
            assert {where for where, _ in paths(event)} - {where for where, _ in known} == set()
            assert disorder(list(event), [list(each) for each in alike]) == []
            for name in ("message", "delta"):
                if isinstance(event.get(name), dict):
                    assert disorder(list(event[name]), [list(each[name]) for each in alike]) == []
            usage = event.get("usage") or (event.get("message") or {}).get("usage")
            if usage:
                orders = [each.get("usage") or each["message"]["usage"] for each in alike]
                assert disorder(list(usage), [list(order) for order in orders]) == []


def test_a_stop_is_told_as_anthropic_tells_it(claude: anthropic.Anthropic) -> None:
    real = {each["response"]["stop_reason"] for each in recorded("anthropic") if "response" in each}
    assert ask(claude).stop_reason in real
    assert ask(claude, tools=[WEATHER]).stop_reason in real
