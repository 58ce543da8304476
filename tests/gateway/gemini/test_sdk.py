"""Google's own client through the gateway: every shape, and every cost as the provider bills it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from google import genai
from google.genai import types

from gateway.settings import Settings
from gateway.simulated import with_simulated
from metering.event import CostEvent
from simulator.process import Simulator
from tests.gateway.gemini.conftest import FLASH, Client, header, said
from tests.simulator.gemini import WEATHER, ask, stream
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.wide
PLACES = pytest.mark.parametrize("vertex", [False, True], ids=["gemini", "vertex"])


def model(vertex: bool, name: str = FLASH) -> str:
    """A model by its provider's name. Google's client takes what stands before a slash for a publisher."""
    return f"publishers/google/models/vertex/{name}" if vertex else f"gemini/{name}"


def settled(stack: Stack, simulator: Simulator, answer: Any) -> CostEvent:
    """The one event of an answer, which costs what the simulated provider bills."""
    event = stack.event(header(answer, "x-request-id"))
    billed = simulator.bill(event.id)["requests"]
    assert [each["nano"] for each in billed] == [event.cost_nano]
    assert (event.status, event.outcome, event.cost_status) == ("succeeded", "success", "priced")
    assert event.usage_source == "provider"
    return event


@PLACES
def test_a_plain_answer(client: Client, stack: Stack, simulator: Simulator, vertex: bool) -> None:
    official = client(vertex=vertex, Observe_Customer="acme", Observe_Feature="greeting")
    answer = ask(official, said("Hello", "tokens=12 reasoning=30"), model=model(vertex))
    assert answer.text
    event = settled(stack, simulator, answer)
    assert (event.customer, event.feature, event.surface) == ("acme", "greeting", "generateContent")
    assert (event.provider, event.model, event.stream) == ("vertex" if vertex else "gemini", FLASH, False)
    assert event.usage is not None
    assert (event.usage["output_tokens"], event.usage["reasoning_output_tokens"]) == (42, 30)
    usage = answer.usage_metadata
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (12, 30)
    assert Decimal(header(answer, "observe-cost-usd")) * 10**9 == event.cost_nano


@PLACES
def test_a_stream_passes_as_it_came(client: Client, stack: Stack, simulator: Simulator, vertex: bool) -> None:
    official = client(vertex=vertex)
    pieces = stream(official, said("Hello", "tokens=22 reasoning=10 cached=0"), model=model(vertex))
    assert len(pieces) == 7
    assert pieces[-1].candidates[0].finish_reason == types.FinishReason.STOP
    event = settled(stack, simulator, pieces[0])
    assert event.stream
    assert event.first_token_ms is not None
    assert event.usage is not None
    assert event.usage["output_tokens"] == 32


@pytest.mark.parametrize("name", [FLASH, "gemini-3-flash-preview"])
def test_tools_are_called_and_answered(client: Client, stack: Stack, simulator: Simulator, name: str) -> None:
    official = client()
    asked = ask(official, "The weather in Bern?", model=name, tools=[WEATHER])
    (call,) = asked.function_calls
    assert call.name == "get_weather"
    settled(stack, simulator, asked)
    result = types.Part.from_function_response(name="get_weather", response={"sky": "clear"})
    told = [
        types.UserContent("The weather in Bern?"),
        asked.candidates[0].content,  # with its signature, without which Gemini 3 refuses
        types.UserContent([result]),
    ]
    answer = ask(official, told, model=name, tools=[WEATHER])
    assert answer.text
    settled(stack, simulator, answer)
    pieces = stream(official, "The weather in Bern?", model=name, tools=[WEATHER])
    assert [each.name for piece in pieces for each in piece.function_calls or ()] == ["get_weather"]
    settled(stack, simulator, pieces[0])


def test_thoughts_are_shown_and_paid_for_as_output(
    client: Client, stack: Stack, simulator: Simulator
) -> None:
    wanted = types.ThinkingConfig(thinking_budget=200, include_thoughts=True)
    for pieces in (
        [ask(client(), "Think.", thinking_config=wanted)],
        stream(client(), "Think.", thinking_config=wanted),
    ):
        parts = [part for piece in pieces for part in piece.candidates[0].content.parts or ()]
        assert any(part.thought for part in parts)
        event = settled(stack, simulator, pieces[0])
        assert event.usage is not None
        assert event.usage["reasoning_output_tokens"] == 200


def test_structured_output_is_judged(client: Client, stack: Stack, simulator: Simulator) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form = {"response_mime_type": "application/json", "response_json_schema": schema}
    answer = ask(client(), "Where?", **form)
    assert json.loads(answer.text)["city"]
    settled(stack, simulator, answer)
    cut = ask(client(), "Where?", **form, max_output_tokens=130)
    event = stack.event(header(cut, "x-request-id"))
    assert (event.outcome, event.outcome_reason) == ("failure", "invalid_json")


def test_what_the_cache_had_costs_less(client: Client, stack: Stack, simulator: Simulator) -> None:
    official = client()
    event = settled(stack, simulator, ask(official, said("Once more", "cached=900") + " and" * 2_000))
    assert event.usage is not None
    assert event.usage["cache_read_input_tokens"] == 900
    rows = {row["unit"] for row in event.breakdown}
    assert "cache_read_input_tokens" in rows


def test_searches_are_read_where_they_stand(client: Client, stack: Stack, simulator: Simulator) -> None:
    search = types.Tool(google_search=types.GoogleSearch())
    for name, wished in ((FLASH, 3), ("gemini-3-flash-preview", 3)):
        text = said("What is new?", f"searches={wished} tokens=40")
        for pieces in (
            [ask(client(), text, model=name, tools=[search])],
            stream(client(), text, model=name, tools=[search]),
        ):
            event = settled(stack, simulator, pieces[0])
            assert event.usage is not None
            assert event.usage["web_searches"] == wished


@PLACES
def test_counting_tokens_is_free(client: Client, stack: Stack, vertex: bool) -> None:
    official = client(stack.key(limits={"month": 1_000_000}), vertex=vertex)
    counted = official.models.count_tokens(model=model(vertex), contents="How many are these?")
    assert counted.total_tokens
    event = stack.event(header(counted, "x-request-id"))
    assert (event.surface, event.cost_nano, event.cost_status) == ("countTokens", 0, "free")
    assert event.status == "succeeded"


def test_embeddings_are_made_for_the_model_that_the_route_names(
    client: Client, stack: Stack, simulator: Simulator
) -> None:
    made = client().models.embed_content(model="gemini/gemini-embedding-001", contents=["one", "two words"])
    assert len(made.embeddings) == 2
    event = stack.event(header(made, "x-request-id"))
    assert (event.surface, event.model, event.status) == (
        "batchEmbedContents",
        "gemini-embedding-001",
        "succeeded",
    )
    assert event.usage_source == "estimated"
    assert event.cost_nano
    asked = json.loads(simulator.received()[-1]["body"])
    assert {each["model"] for each in asked["requests"]} == {"models/gemini-embedding-001"}


def test_a_model_of_google_is_found_by_its_own_name(client: Client, stack: Stack) -> None:
    answer = ask(client(), "Hello", model="models/gemini-2.5-flash-lite")
    event = stack.event(header(answer, "x-request-id"))
    assert (event.provider, event.model) == ("gemini", "gemini-2.5-flash-lite")


async def test_the_asynchronous_client(client: Client, stack: Stack, simulator: Simulator) -> None:
    official: genai.Client = client()
    contents: Any = said("Hello", "tokens=9")
    answer = await official.aio.models.generate_content(model=FLASH, contents=contents)
    settled(stack, simulator, answer)
    streamed = await official.aio.models.generate_content_stream(model=FLASH, contents=contents)
    pieces = [piece async for piece in streamed]
    settled(stack, simulator, pieces[0])
    await official.aio.aclose()


def test_without_any_provider_the_simulated_one_speaks_googles_dialect(simulator: Simulator) -> None:
    with running_stack(with_simulated(Settings(), simulator.root)) as bare:
        options = types.HttpOptions(base_url=bare.base_url.removesuffix("/v1"), timeout=60_000)
        with genai.Client(api_key=bare.key(), http_options=options) as official:
            answer = ask(official, "Hello")
            assert settled(bare, simulator, answer).provider == "simulated-gemini"
