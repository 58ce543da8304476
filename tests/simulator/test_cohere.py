"""Cohere's chat, seen through its own SDK; bills worked by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import cohere
import httpx2
import pytest
from cohere.errors import (
    BadRequestError,
    InternalServerError,
    NotFoundError,
    ServiceUnavailableError,
    TooManyRequestsError,
    UnauthorizedError,
)

from simulator.cohere.prompt import PREAMBLE
from simulator.process import Simulator
from tests.simulator.conftest import Raw

pytestmark = [
    pytest.mark.wide,  # to import Cohere's SDK takes as long as all of these
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
MODEL = "command-r7b-12-2024"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def co(running_simulator: Simulator) -> Iterator[cohere.ClientV2]:
    with cohere_client(running_simulator.root) as made:
        yield made


def cohere_client(root: str, key: str = "test-key") -> cohere.ClientV2:
    return cohere.ClientV2(api_key=key, base_url=root, timeout=10)


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": user(text), **more}


def test_a_plain_chat_bills_the_text_alone_and_reports_the_preamble(
    co: cohere.ClientV2, simulator: Simulator
) -> None:
    answer = co.chat(model=MODEL, messages=user("hello"))
    assert answer.finish_reason == "COMPLETE"
    assert answer.message.content
    assert answer.message.content[0].text
    assert answer.usage
    # As Cohere itself said to the same word: 1 billed, 496 in all.
    assert (answer.usage.billed_units.input_tokens, answer.usage.tokens.input_tokens) == (1, 496)
    assert (answer.usage.billed_units.output_tokens, answer.usage.tokens.output_tokens) == (40, 42)
    # 1 x $0.0375/M + 40 x $0.15/M = $0.0000060375, which is 6,037.5 nano-dollars, to even.
    bill = simulator.bill()
    assert Fraction(bill["total_exact"]) == Fraction("60375") / 10**10
    assert bill["total_nano"] == 6_038


def test_a_stream_says_the_same_event_by_event(co: cohere.ClientV2, simulator: Simulator) -> None:
    events = list(co.chat_stream(model=MODEL, messages=user("Hi [[simulate: tokens=3]]")))
    kinds = [event.type for event in events]
    assert kinds == ["message-start", "content-start", *["content-delta"] * 3, "content-end", "message-end"]
    text = "".join(event.delta.message.content.text for event in events if event.type == "content-delta")
    plain = co.chat(model=MODEL, messages=user("Hi [[simulate: tokens=3]]"))
    assert text == plain.message.content[0].text
    end: Any = events[-1]
    assert end.delta.finish_reason == "COMPLETE"
    assert end.delta.usage == plain.usage
    # Hi| [|[|simulate|:| tokens|=|3|]|] = 10 twice, 3 pieces twice.
    assert simulator.bill()["total_exact"] == str(
        2 * (10 * Fraction("0.0375") + 3 * Fraction("0.15")) / 10**6
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_planned_and_called(co: cohere.ClientV2, simulator: Simulator, streamed: bool) -> None:
    if streamed:
        events: list[Any] = list(co.chat_stream(model=MODEL, messages=user("Weather?"), tools=[WEATHER]))
        plan = "".join(event.delta.message.tool_plan for event in events if event.type == "tool-plan-delta")
        (start,) = [event.delta.message.tool_calls for event in events if event.type == "tool-call-start"]
        assert (start.id[:12], start.function.name) == ("get_weather_", "get_weather")
        arguments = start.function.arguments + "".join(
            event.delta.message.tool_calls.function.arguments
            for event in events
            if event.type == "tool-call-delta"
        )
        usage, finish = events[-1].delta.usage, events[-1].delta.finish_reason
    else:
        answer = co.chat(model=MODEL, messages=user("Weather?"), tools=[WEATHER])
        assert answer.message.tool_calls
        (call,) = answer.message.tool_calls
        plan, arguments = answer.message.tool_plan, call.function.arguments
        usage, finish = answer.usage, answer.finish_reason
    assert plan == "I will use one or more of the available tools to find the answer"
    assert json.loads(arguments) == {"city": "simulated"}
    assert finish == "TOOL_CALL"
    # The plan 14, get|_|weather 3, {|"|city|"|:|"|simulated|"|} 9.
    assert usage.billed_units.output_tokens == 26
    (entry,) = simulator.bill()["requests"]
    assert (entry["prompt_tokens"], entry["completion_tokens"]) == (usage.billed_units.input_tokens, 26)


def test_a_tool_that_has_answered_is_not_called_again_unless_required(co: cohere.ClientV2) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    result = {"type": "document", "document": {"data": {"sky": "blue"}}}
    answered = [
        *user("Weather?"),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": [result]},
    ]
    assert co.chat(model=MODEL, messages=answered, tools=[WEATHER]).finish_reason == "COMPLETE"
    again = co.chat(model=MODEL, messages=answered, tools=[WEATHER], tool_choice="REQUIRED")
    assert again.finish_reason == "TOOL_CALL"


def test_the_maximum_ends_an_answer(co: cohere.ClientV2) -> None:
    answer = co.chat(model=MODEL, messages=user("Hi"), max_tokens=5)
    assert answer.finish_reason == "MAX_TOKENS"
    assert answer.usage.billed_units.output_tokens == 5


def test_structure_is_as_its_schema_says(co: cohere.ClientV2) -> None:
    shape = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 7}}}
    answer = co.chat(
        model=MODEL, messages=user("Hi"), response_format={"type": "json_object", "schema": shape}
    )
    assert json.loads(answer.message.content[0].text) == {"n": 7}


def test_what_is_cached_is_reported_and_costs_the_same(co: cohere.ClientV2, simulator: Simulator) -> None:
    answer = co.chat(model=MODEL, messages=user("Hi [[simulate: cached=400 tokens=1]]"))
    assert answer.usage.cached_tokens == 400
    assert answer.usage.tokens.input_tokens == PREAMBLE + 13
    # 13 x $0.0375/M + 1 x $0.15/M
    assert Fraction(simulator.bill()["total_exact"]) == (13 * Fraction("0.0375") + Fraction("0.15")) / 10**6


def test_a_failing_stream_ends_with_an_error_and_bills_what_was_sent(
    co: cohere.ClientV2, simulator: Simulator
) -> None:
    text = "Hi [[simulate: tokens=10 error_in_stream=4]]"
    events: list[Any] = list(co.chat_stream(model=MODEL, messages=user(text)))
    assert [event.type for event in events].count("content-delta") == 4
    assert (events[-1].type, events[-1].delta.finish_reason) == ("message-end", "ERROR")
    assert events[-1].delta.error
    assert events[-1].delta.usage is None
    assert simulator.bill()["requests"][0]["completion_tokens"] == 4


def test_usage_may_be_missing_or_come_twice(co: cohere.ClientV2, raw: Raw) -> None:
    missing: list[Any] = list(co.chat_stream(model=MODEL, messages=user("[[simulate: no_usage tokens=2]]")))
    assert (missing[-1].delta.finish_reason, missing[-1].delta.usage) == ("COMPLETE", None)
    assert co.chat(model=MODEL, messages=user("[[simulate: no_usage]]")).usage is None
    raw.send(ask("[[simulate: usage_twice tokens=2]]", stream=True), path="/v2/chat", Connection="close")
    got = raw.rest()
    assert got.count(b"event: message-end\n") == 2
    assert got.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, UnauthorizedError),
        (404, NotFoundError),
        (429, TooManyRequestsError),
        (500, InternalServerError),
        (503, ServiceUnavailableError),
    ],
)
def test_errors_are_the_sdks_own_and_free(
    co: cohere.ClientV2, simulator: Simulator, status: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        co.chat(
            model=MODEL,
            messages=user(f"[[simulate: status={status} retry_after=1]]"),
            request_options={"max_retries": 0},
        )
    found: Any = caught.value
    assert set(found.body) == {"id", "message"}
    assert found.headers["retry-after"] == "1"
    (entry,) = simulator.bill()["requests"]
    assert (entry["status"], entry["nano"]) == (status, 0)


def test_keys_models_and_bodies_are_checked(
    co: cohere.ClientV2, http: httpx2.Client, simulator: Simulator
) -> None:
    with cohere_client(simulator.root, "obs_leaked") as wrong, pytest.raises(UnauthorizedError):
        wrong.chat(model=MODEL, messages=user("Hi"))
    with pytest.raises(NotFoundError, match="model 'gpt-4o' not found"):
        co.chat(model="gpt-4o", messages=user("Hi"))
    for body in (
        {"model": MODEL, "messages": []},
        ask("Hi", max_tokens=5_000),
        ask("Hi", tool_choice="REQUIRED"),
        {"model": "rerank-v3.5", "messages": user("Hi")},
        {"model": MODEL, "messages": [{"role": "owner", "content": "Hi"}]},
    ):
        answer = http.post("/v2/chat", json=body)
        assert (answer.status_code, set(answer.json())) == (400, {"id", "message"})
    assert http.get("/v2/chat").status_code == 405
    assert set(http.get("/v2/nothing").json()) == {"id", "message"}
    assert simulator.total_nano() == 0
