"""OpenAI's Responses with its own client: every shape, and every bill worked by hand."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import openai
import pydantic
import pytest

from simulator.process import Simulator
from tests.simulator.conftest import Raw

pytestmark = pytest.mark.wide  # the client takes its time to build its types
MEXICO = "What is the capital of Mexico?"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
SEARCH: Any = {"type": "web_search"}


def ask(client: openai.OpenAI, given: Any = MEXICO, **more: Any) -> Any:
    return client.responses.create(**{"model": "gpt-4o", "input": given, **more})


def kinds(client: openai.OpenAI, text: str, **more: Any) -> list[str]:
    return [event.type.removeprefix("response.") for event in ask(client, text, stream=True, **more)]


def test_a_plain_response_has_its_shape_and_costs_its_tokens(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    answer = ask(client)
    assert answer.id.startswith("resp_")
    assert (answer.object, answer.status, answer.model) == ("response", "completed", "gpt-4o-2024-08-06")
    assert (answer.service_tier, answer.error, answer.incomplete_details) == ("default", None, None)
    (message,) = answer.output
    assert (message.type, message.role, message.status) == ("message", "assistant", "completed")
    assert answer.output_text == message.content[0].text
    # 3 for the answer + 4 for the message + What| is| the| capital| of| Mexico|? = 14.
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (14, 40, 54)
    assert answer.usage.input_tokens_details.cached_tokens == 0
    assert answer.usage.output_tokens_details.reasoning_tokens == 0
    # 14 x $2.50/M + 40 x $10/M
    assert simulator.total_nano() == 435_000
    (entry,) = simulator.bill(answer._request_id)["requests"]
    assert (entry["model"], entry["status"], entry["complete"]) == ("gpt-4o-2024-08-06", 200, True)


def test_a_stream_numbers_its_events_and_ends_with_the_whole_response(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    events = list(ask(client, "Hi [[simulate: tokens=3]]", stream=True))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "content_part.added", *["output_text.delta"] * 3,
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(11))
    assert (events[0].response.status, events[0].response.usage) == ("in_progress", None)
    last = events[-1].response
    plain = ask(client, "Hi [[simulate: tokens=3]]")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == last.output_text == plain.output_text
    # Hi| [|[|simulate|:| tokens|=|3|]|] = 10, and 7 around it.
    assert last.usage == plain.usage
    assert (last.usage.input_tokens, last.usage.output_tokens) == (17, 3)
    assert simulator.total_nano() == 2 * (17 * 2_500 + 3 * 10_000)


def test_events_are_named_and_nothing_follows_the_last(raw: Raw) -> None:
    raw.send(
        {"model": "gpt-4o", "input": "Hi [[simulate: tokens=2]]", "stream": True},
        path="/v1/responses",
        Connection="close",
    )
    lines = raw.rest().decode().splitlines()
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert names == [each["type"] for each in data]
    deltas = [each for each in data if each["type"] == "response.output_text.delta"]
    assert len({len(each["delta"]) + len(each["obfuscation"]) for each in deltas}) == 1


def test_without_obfuscation_deltas_are_bare(raw: Raw) -> None:
    body = {
        "model": "gpt-4o",
        "input": "Hi",
        "stream": True,
        "stream_options": {"include_obfuscation": False},
    }
    raw.send(body, path="/v1/responses", Connection="close")
    assert b"obfuscation" not in raw.rest()


@pytest.mark.parametrize("streamed", [False, True])
def test_hidden_tokens_are_billed_and_told_apart(
    client: openai.OpenAI, simulator: Simulator, streamed: bool
) -> None:
    more: Any = {"model": "gpt-5-nano", "reasoning": {"effort": "low", "summary": "auto"}}
    text = "Hi [[simulate: tokens=3]]"
    answer = (
        list(ask(client, text, stream=True, **more))[-1].response if streamed else ask(client, text, **more)
    )
    thought, message = answer.output
    assert (thought.type, message.type) == ("reasoning", "message")
    assert "thought about it" in thought.summary[0].text
    assert (answer.usage.output_tokens, answer.usage.output_tokens_details.reasoning_tokens) == (67, 64)
    assert answer.reasoning.effort == "low"
    (entry,) = simulator.bill()["requests"]
    assert (entry["completion_tokens"], entry["reasoning"]) == (67, 64)
    # $0.05/M in, $0.40/M out.
    assert Fraction(entry["exact"]) == (17 * Fraction("0.05") + 67 * Fraction("0.40")) / 10**6


def test_a_summary_comes_in_events_of_its_own_before_the_answer(client: openai.OpenAI) -> None:
    seen = kinds(client, "Hi [[simulate: tokens=1]]", model="gpt-5-nano", reasoning={"summary": "auto"})
    assert seen[2:9] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done", "output_item.added",
    ]  # fmt: skip
    bare = kinds(client, "Hi [[simulate: tokens=1]]", model="gpt-5-nano")
    assert bare[2:5] == ["output_item.added", "output_item.done", "output_item.added"]


def test_encrypted_thoughts_are_there_on_request_and_cost_nothing_to_bring_back(
    client: openai.OpenAI,
) -> None:
    more: Any = {"model": "gpt-5-nano", "store": False, "include": ["reasoning.encrypted_content"]}
    answer = ask(client, "Hi", **more)
    assert answer.output[0].encrypted_content
    assert ask(client, "Hi", model="gpt-5-nano").output[0].encrypted_content is None
    before = [{"role": "user", "content": "Hi"}, *[item.model_dump() for item in answer.output]]
    following = ask(client, [*before, {"role": "user", "content": "Go on"}], **more)
    # Hi 1 + 4, the 40 pieces of the answer + 4, Go| on 2 + 4, the answer 3.
    assert following.usage.input_tokens == 58


@pytest.mark.parametrize("streamed", [False, True])
def test_a_function_is_called_with_arguments_that_its_schema_allows(
    client: openai.OpenAI, simulator: Simulator, streamed: bool
) -> None:
    if streamed:
        with client.responses.stream(model="gpt-4.1", input=MEXICO, tools=[WEATHER]) as events:
            seen = [event.type for event in events]
            answer: Any = events.get_final_response()
        assert seen.count("response.function_call_arguments.delta") == 9
        assert "response.function_call_arguments.done" in seen
    else:
        answer = ask(client, model="gpt-4.1", tools=[WEATHER])
    (call,) = answer.output
    assert (call.type, call.name, call.status) == ("function_call", "get_weather", "completed")
    assert json.loads(call.arguments) == {"city": "simulated"}
    # get|_|weather 3, {|"|city|"|:|"|simulated|"|} 9
    assert answer.usage.output_tokens == 12
    assert simulator.bill()["requests"][0]["completion_tokens"] == 12


def test_a_functions_output_is_answered_in_words_unless_a_call_is_demanded(client: openai.OpenAI) -> None:
    called = ask(client, tools=[WEATHER])
    output = [{"type": "function_call_output", "call_id": called.output[0].call_id, "output": "Sunny"}]
    told = ask(client, output, tools=[WEATHER], previous_response_id=called.id)
    assert [item.type for item in told.output] == ["message"]
    for choice in ("required", {"type": "function", "name": "get_weather"}):
        again = ask(client, output, tools=[WEATHER], previous_response_id=called.id, tool_choice=choice)
        assert [item.type for item in again.output] == ["function_call"]
    never = ask(client, tools=[WEATHER], tool_choice="none")
    assert never.output_text


@pytest.mark.parametrize("streamed", [False, True])
def test_searches_cost_a_fee_each_and_what_they_found(
    client: openai.OpenAI, simulator: Simulator, streamed: bool
) -> None:
    text = "Hi [[simulate: tokens=2 searches=3]]"
    asked = ask(client, text, tools=[SEARCH], stream=streamed)
    answer = list(asked)[-1].response if streamed else asked
    assert [item.type for item in answer.output] == [*["web_search_call"] * 3, "message"]
    assert answer.output[0].action.query
    (cited,) = answer.output[-1].content[0].annotations
    assert (cited.type, cited.start_index, cited.end_index) == ("url_citation", 0, len(answer.output_text))
    # {|"|type|"|:|"|web|_|search|"|} 11, the text 13 and 7 around it, 500 for what each search found.
    assert answer.usage.input_tokens == 11 + 13 + 7 + 3 * 500
    (entry,) = simulator.bill()["requests"]
    assert entry["searches"] == 3
    # 3 x $10/1,000 on top of the tokens.
    tokens = answer.usage.input_tokens * Fraction("2.50") + 2 * 10
    assert Fraction(entry["exact"]) == tokens / 10**6 + 3 * Fraction(10, 1_000)


def test_searches_are_bounded_by_the_request(client: openai.OpenAI) -> None:
    def searches(wish: str = "", **more: Any) -> int:
        answer = ask(client, f"Hi [[simulate: tokens=1 {wish}]]", **more)
        return sum(item.type == "web_search_call" for item in answer.output)

    assert searches(tools=[SEARCH]) == 1
    assert searches("searches=4", tools=[SEARCH], max_tool_calls=2) == 2
    assert searches("searches=4", tools=[SEARCH], tool_choice="none") == 0
    assert searches("searches=4", tools=[WEATHER], tool_choice="none") == 0
    assert searches(tools=[SEARCH, WEATHER]) == 0
    assert searches(tools=[SEARCH, WEATHER], tool_choice={"type": "web_search"}) == 1


def test_a_search_shows_its_stages_in_the_stream(client: openai.OpenAI) -> None:
    seen = kinds(client, "Hi [[simulate: tokens=1]]", tools=[SEARCH])
    assert seen[2:7] == [
        "output_item.added", "web_search_call.in_progress", "web_search_call.searching",
        "web_search_call.completed", "output_item.done",
    ]  # fmt: skip
    assert "output_text.annotation.added" in seen


class City(pydantic.BaseModel):
    name: str
    people: int


def test_structure_is_as_its_schema_says(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model="gpt-4o", input=MEXICO, text_format=City)
    assert parsed.output_parsed == City(name="simulated", people=0)
    loose = ask(client, "Hi [[simulate: tokens=12]]", text={"format": {"type": "json_object"}})
    assert set(json.loads(loose.output_text)) == {"answer"}


@pytest.mark.parametrize("streamed", [False, True])
def test_the_maximum_makes_a_response_incomplete(client: openai.OpenAI, streamed: bool) -> None:
    more: Any = {"model": "gpt-5-nano", "max_output_tokens": 66, "reasoning": {"effort": "low"}}
    asked = ask(client, stream=streamed, **more)
    events = list(asked) if streamed else []
    answer = events[-1].response if streamed else asked
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (answer.usage.output_tokens, answer.usage.output_tokens_details.reasoning_tokens) == (66, 64)
    assert answer.output[-1].status == "incomplete"
    if streamed:
        assert events[-1].type == "response.incomplete"
    ignored = ask(client, "Hi [[simulate: tokens=30 ignore_max]]", max_output_tokens=16)
    assert (ignored.status, ignored.usage.output_tokens) == ("completed", 30)


def test_long_prefixes_are_cached_across_turns(client: openai.OpenAI, simulator: Simulator) -> None:
    first = ask(client, " word" * 1_500 + "[[simulate: tokens=1]]")
    second = ask(client, "Go on", previous_response_id=first.id)
    assert first.usage.input_tokens_details.cached_tokens == 0
    cached = second.usage.input_tokens_details.cached_tokens
    assert cached == 1_408  # the most of 1,500 in steps of 128
    entry = simulator.bill()["requests"][-1]
    fresh = second.usage.input_tokens - cached
    assert Fraction(entry["exact"]) == (
        fresh * Fraction("2.50") + cached * Fraction("1.25") + 40 * Fraction(10)
    ) / 10**6  # fmt: skip


def test_tiers_are_served_and_told(client: openai.OpenAI, simulator: Simulator) -> None:
    flex = ask(client, "Hi [[simulate: reasoning=0 tokens=1]]", model="gpt-5", service_tier="flex")
    assert flex.service_tier == "flex"
    other = ask(client, "Hi [[simulate: tier=priority tokens=1 served=gpt-4o-mini]]")
    assert (other.service_tier, other.model) == ("priority", "gpt-4o-mini-2024-07-18")
    one, two = simulator.bill()["requests"]
    # gpt-5 at flex: $0.625/M and $5/M; gpt-4o-mini at priority: $0.25/M and $1/M.
    assert one["nano"] == flex.usage.input_tokens * 625 + 5_000
    assert two["nano"] == other.usage.input_tokens * 250 + 1_000
