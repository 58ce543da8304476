"""Anthropic's dialect with Anthropic's own client: every shape, and every bill worked by hand."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import anthropic
import httpx2
import pytest

from simulator.process import Simulator
from tests.simulator.claude import HELLO, WEATHER, ask, user

# The client warns of models that are sold no longer than they have to be.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def test_a_plain_message_has_its_shape_and_costs_its_tokens(
    claude: anthropic.Anthropic, simulator: Simulator
) -> None:
    answer = ask(claude, model="claude-haiku-4-5")
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert answer.model == "claude-haiku-4-5-20251001"
    assert answer.id.startswith("msg_01")
    assert answer._request_id.startswith("req_011C")
    (text,) = answer.content
    assert text.type == "text"
    assert text.text
    # One word, 4 for the message, 3 for the answer to begin.
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (8, 40)
    assert answer.usage.service_tier == "standard"
    # 8 x $1/M + 40 x $5/M
    assert simulator.total_nano() == 8 * 1_000 + 40 * 5_000
    (entry,) = simulator.bill(answer._request_id)["requests"]
    assert (entry["model"], entry["status"], entry["complete"]) == ("claude-haiku-4-5-20251001", 200, True)


def test_a_streamed_message_is_the_same_message(claude: anthropic.Anthropic, simulator: Simulator) -> None:
    whole = ask(claude)
    with claude.messages.stream(model="claude-opus-4-8", max_tokens=1000, messages=[HELLO]) as stream:
        seen = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert streamed.content[0].text == whole.content[0].text
    assert streamed.usage.output_tokens == whole.usage.output_tokens == 40
    assert streamed.usage.input_tokens == 8
    assert seen[0] == "message_start"
    assert seen[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    # Both: 8 x $5/M + 40 x $25/M
    assert simulator.total_nano() == 2 * (8 * 5_000 + 40 * 25_000)


def test_events_are_framed_as_anthropic_frames_them(http: httpx2.Client, simulator: Simulator) -> None:
    lines = raw_stream(http, {"model": "claude-opus-4-8", "max_tokens": 3, "messages": [HELLO]})
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert names == [document["type"] for document in data]
    assert names == [
        "message_start", "content_block_start", "ping", *["content_block_delta"] * 3, "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    start, last = data[0]["message"], data[-2]
    assert start["usage"]["output_tokens"] == 1
    assert (start["content"], start["stop_reason"]) == ([], None)
    assert last["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None, "stop_details": None}
    assert last["usage"]["output_tokens"] == 3


def raw_stream(http: httpx2.Client, body: dict[str, Any]) -> list[str]:
    headers = {"anthropic-version": "2023-06-01"}
    answer = http.post("/v1/messages", json={**body, "stream": True}, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.text.split("\n")


@pytest.mark.parametrize(
    "choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}, {"type": "auto"}]
)
def test_a_tool_is_called_and_its_result_is_answered(claude: anthropic.Anthropic, choice: Any) -> None:
    asked = ask(claude, tools=[WEATHER], tool_choice=choice)
    assert asked.stop_reason == "tool_use"
    (call,) = asked.content
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", {"city": "simulated"})
    assert call.id.startswith("toolu_")
    with claude.messages.stream(
        model="claude-opus-4-8", max_tokens=1000, messages=[HELLO], tools=[WEATHER], tool_choice=choice
    ) as stream:
        assert stream.get_final_message().content[0].input == {"city": "simulated"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny"}
    told = ask(
        claude,
        tools=[WEATHER],
        messages=[
            HELLO,
            {"role": "assistant", "content": asked.content},
            {"role": "user", "content": [result]},
        ],
    )
    assert (told.stop_reason, told.content[0].type) == ("end_turn", "text")


def test_tools_cost_their_definition_and_anthropics_instructions(claude: anthropic.Anthropic) -> None:
    without = ask(claude).usage.input_tokens
    chosen = ask(claude, tools=[WEATHER], tool_choice={"type": "any"}).usage.input_tokens
    free = ask(claude, tools=[WEATHER]).usage.input_tokens
    assert free - chosen == 346 - 313
    assert chosen - without > 313


def test_thinking_comes_first_is_signed_and_is_billed_as_output(
    claude: anthropic.Anthropic, simulator: Simulator
) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    answer = ask(claude, max_tokens=4000, thinking=thinking, messages=user("Hello [[simulate: tokens=5]]"))
    thought, text = answer.content
    assert (thought.type, text.type) == ("thinking", "text")
    assert thought.thinking
    assert thought.signature
    assert answer.usage.output_tokens_details.thinking_tokens == 256
    assert answer.usage.output_tokens == 256 + 5
    # $5/M in, $25/M out, thinking included
    assert simulator.total_nano() == answer.usage.input_tokens * 5_000 + 261 * 25_000
    assert simulator.bill()["requests"][0]["reasoning"] == 256


def test_thinking_is_within_the_maximum(claude: anthropic.Anthropic) -> None:
    answer = ask(claude, max_tokens=100, thinking={"type": "adaptive"})
    assert [block.type for block in answer.content] == ["thinking"]
    assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 100)


def test_a_stream_of_thinking_gives_the_same_blocks(claude: anthropic.Anthropic) -> None:
    asked = {"max_tokens": 4000, "thinking": {"type": "adaptive"}}
    whole = ask(claude, **asked)
    with claude.messages.stream(model="claude-opus-4-8", messages=[HELLO], **asked) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert streamed.usage.output_tokens == whole.usage.output_tokens


def test_hidden_thinking_is_billed_and_shows_nothing_but_a_signature(
    claude: anthropic.Anthropic, http: httpx2.Client, simulator: Simulator
) -> None:
    answer = ask(claude, model="claude-sonnet-5", messages=user("Hi [[simulate: tokens=4 reasoning=50]]"))
    thought, _ = answer.content
    assert (thought.type, thought.thinking) == ("thinking", "")
    assert thought.signature
    assert answer.usage.output_tokens == 54
    # $2/M in, $10/M out
    assert simulator.total_nano() == answer.usage.input_tokens * 2_000 + 54 * 10_000
    asked = {"max_tokens": 100, "messages": user("Hi [[simulate: tokens=4 reasoning=50]]")}
    lines = raw_stream(http, {"model": "claude-sonnet-5", **asked})
    assert not [line for line in lines if "thinking_delta" in line]
    assert len([line for line in lines if line == "event: ping"]) > 1


def test_thinking_goes_back_unchanged_or_is_refused(claude: anthropic.Anthropic) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = ask(claude, max_tokens=4000, thinking=thinking, tools=[WEATHER])
    thought, call = asked.content
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny"}

    def again(*blocks: Any, **more: Any) -> Any:
        said = [HELLO, {"role": "assistant", "content": [*blocks]}, {"role": "user", "content": [result]}]
        return ask(claude, max_tokens=4000, thinking=thinking, tools=[WEATHER], messages=said, **more)

    plain = again(thought, call)
    assert [block.type for block in plain.content] == ["text"]
    interleaved = again(thought, call, extra_headers={"anthropic-beta": "interleaved-thinking-2025-05-14"})
    assert [block.type for block in interleaved.content] == ["thinking", "text"]
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        again({**thought.to_dict(), "thinking": "something else"}, call)
    with pytest.raises(anthropic.BadRequestError, match="must start with a thinking block"):
        again(call)


def test_what_is_counted_is_what_is_charged(claude: anthropic.Anthropic, simulator: Simulator) -> None:
    asked: dict[str, Any] = {
        "model": "claude-opus-4-8",
        "system": "You are brief.",
        "tools": [WEATHER],
        "messages": user("What is the weather in Paris?"),
    }
    counted = claude.messages.count_tokens(**asked).input_tokens
    assert simulator.total_nano() == 0
    assert claude.messages.create(max_tokens=100, **asked).usage.input_tokens == counted


def test_structured_output_satisfies_its_schema(claude: anthropic.Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "population": {"type": "integer", "minimum": 7}},
        "required": ["city", "population"],
        "additionalProperties": False,
    }
    answer = ask(claude, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert json.loads(answer.content[0].text) == {"city": "simulated", "population": 7}


def test_searches_are_blocks_usage_and_a_fee(
    claude: anthropic.Anthropic, http: httpx2.Client, simulator: Simulator
) -> None:
    wish = user("Look [[simulate: searches=2 tokens=5]]")
    answer = ask(claude, tools=[SEARCH], messages=wish)
    assert [block.type for block in answer.content] == [
        *["server_tool_use", "web_search_tool_result"] * 2, "text",
    ]  # fmt: skip
    assert answer.usage.server_tool_use.web_search_requests == 2
    (entry,) = simulator.bill()["requests"]
    assert entry["searches"] == 2
    tokens = answer.usage.input_tokens * 5_000 + answer.usage.output_tokens * 25_000
    # $10 for a thousand searches
    assert entry["nano"] == tokens + 2 * 10_000_000
    lines = raw_stream(
        http, {"model": "claude-opus-4-8", "max_tokens": 100, "tools": [SEARCH], "messages": wish}
    )
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    first, last = data[0]["message"]["usage"], data[-2]["usage"]
    # What the searches found was not there yet when the stream began.
    assert last["input_tokens"] == answer.usage.input_tokens == first["input_tokens"] + 1_000


@pytest.mark.parametrize(("pieces", "rate"), [(100_000, 1), (100_001, 5)])
def test_a_long_prompt_costs_more_from_the_token_above_the_threshold(
    claude: anthropic.Anthropic, simulator: Simulator, pieces: int, rate: int
) -> None:
    wish = "[[simulate: tokens=10 reasoning=0]]"
    base = claude.messages.count_tokens(model="claude-haiku-5-5", messages=user(wish)).input_tokens
    text = "word " * (pieces - base) + wish
    answer = ask(claude, model="claude-haiku-5-5", messages=user(text))
    assert answer.usage.input_tokens == pieces
    # $0.10/M and $0.50/M; above 100,000 tokens five times that, for the whole request
    assert simulator.total_nano() == (pieces * 100 + 10 * 500) * rate


def test_a_context_of_a_million_needs_its_beta(claude: anthropic.Anthropic, simulator: Simulator) -> None:
    long = user("word " * 200_001 + "[[simulate: tokens=10]]")
    with pytest.raises(
        anthropic.BadRequestError, match=r"prompt is too long: 2000\d\d tokens > 200000 maximum"
    ):
        ask(claude, model="claude-sonnet-4-5", messages=long)
    beta = {"anthropic-beta": "context-1m-2025-08-07"}
    answer = ask(claude, model="claude-sonnet-4-5", messages=long, extra_headers=beta)
    # Above 200,000 tokens: $6/M and $22.50/M
    assert simulator.total_nano() == answer.usage.input_tokens * 6_000 + 10 * 22_500


@pytest.mark.parametrize(
    ("more", "told", "times"),
    [
        ({"inference_geo": "us"}, ("us", "standard", None), Fraction(11, 10)),
        ({"speed": "fast"}, ("global", "standard", "fast"), Fraction(2)),
        ({"messages": user("[[simulate: tier=batch]]")}, ("global", "batch", None), Fraction(1, 2)),
    ],
)
def test_region_speed_and_tier_are_told_and_change_the_price(
    claude: anthropic.Anthropic, simulator: Simulator, more: Any, told: Any, times: Fraction
) -> None:
    usage = ask(claude, **more).usage
    assert (usage.inference_geo, usage.service_tier, usage.speed) == told
    assert simulator.total_nano() == (usage.input_tokens * 5_000 + usage.output_tokens * 25_000) * times


def test_limits_are_told_in_headers(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.with_raw_response.create(model="claude-opus-4-8", max_tokens=5, messages=[HELLO])
    for what in ("requests", "tokens", "input-tokens", "output-tokens"):
        limit = int(answer.headers[f"anthropic-ratelimit-{what}-limit"])
        assert 0 < int(answer.headers[f"anthropic-ratelimit-{what}-remaining"]) < limit
        assert answer.headers[f"anthropic-ratelimit-{what}-reset"].endswith("Z")
    assert answer.headers["request-id"] == answer.request_id


def test_models_are_listed_in_anthropics_shape_only_to_its_clients(
    claude: anthropic.Anthropic, http: httpx2.Client
) -> None:
    page = claude.models.list(limit=2)
    assert page.has_more
    names = [model.id for model in page]  # The client asks for every page.
    assert "claude-opus-4-8" in names
    assert len(names) == len(set(names)) > 2
    assert claude.models.retrieve("claude-haiku-4-5").id == "claude-haiku-4-5-20251001"
    with pytest.raises(anthropic.NotFoundError):
        claude.models.retrieve("gpt-4o")
    assert http.get("/v1/models").json()["object"] == "list"


def test_claude_at_vertex_has_its_model_in_the_path_and_a_token(simulator: Simulator) -> None:
    with anthropic.AnthropicVertex(
        base_url=f"{simulator.root}/v1", region="global", project_id="p", access_token="ya29.x", max_retries=0
    ) as vertex:
        asked: dict[str, Any] = {"model": "claude-haiku-4-5@20251001", "messages": [HELLO]}
        answer = vertex.messages.create(max_tokens=10, **asked)
        with vertex.messages.stream(max_tokens=10, **asked) as stream:
            assert stream.get_final_message().content[0].text == answer.content[0].text
        assert vertex.messages.count_tokens(**asked).input_tokens == answer.usage.input_tokens == 8
    # Twice 8 x $1/M + 10 x $5/M
    assert simulator.total_nano() == 2 * (8 * 1_000 + 10 * 5_000)
