"""Gemini's dialect with Google's own client: every shape, and every bill worked by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types

from simulator.process import Simulator
from tests.simulator.gemini import WEATHER, ask, at_google, at_vertex, stream


@pytest.fixture(scope="module")
def official(running_simulator: Simulator) -> Iterator[genai.Client]:
    client = at_google(running_simulator)
    yield client
    client.close()


@pytest.fixture
def gemini(simulator: Simulator, official: genai.Client) -> genai.Client:
    return official


def test_a_plain_answer_has_its_shape_and_costs_its_tokens(
    gemini: genai.Client, simulator: Simulator
) -> None:
    answer = ask(gemini, "Hello there")
    assert answer.text
    assert answer.model_version == "gemini-2.5-flash"
    (candidate,) = answer.candidates
    assert (candidate.finish_reason, candidate.content.role) == (types.FinishReason.STOP, "model")
    usage = answer.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count) == (
        2,
        40,
        128,
    )
    assert usage.total_token_count == 2 + 40 + 128
    assert [(each.modality, each.token_count) for each in usage.prompt_tokens_details] == [("TEXT", 2)]
    # 2 x $0.30/M + (40 + 128) x $2.50/M: thoughts are outside of the candidate and cost what it costs
    assert simulator.total_nano() == 2 * 300 + 168 * 2_500
    (entry,) = simulator.bill(answer.response_id)["requests"]
    assert (entry["completion_tokens"], entry["reasoning"]) == (168, 128)


def test_a_stream_repeats_its_usage_until_it_is_whole(gemini: genai.Client, simulator: Simulator) -> None:
    whole, pieces = ask(gemini), stream(gemini)
    assert "".join(piece.text or "" for piece in pieces) == whole.text
    counts = [piece.usage_metadata.candidates_token_count for piece in pieces]
    assert counts == [*range(4, 41, 4), 40]
    assert {piece.usage_metadata.thoughts_token_count for piece in pieces} == {128}
    assert [piece.candidates[0].finish_reason for piece in pieces[:-1]] == [None] * 10
    assert pieces[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert pieces[-1].usage_metadata.total_token_count == whole.usage_metadata.total_token_count
    assert simulator.total_nano() == 2 * (1 * 300 + 168 * 2_500)


def test_a_stream_is_an_array_unless_events_are_asked_for(http: httpx2.Client, simulator: Simulator) -> None:
    body = {"contents": [{"parts": [{"text": "Hello"}]}], "generationConfig": {"maxOutputTokens": 140}}
    path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
    array = http.post(path, json=body)
    assert array.headers["content-type"].startswith("application/json")
    events = http.post(f"{path}?alt=sse", json=body)
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.content.count(b"\r\n\r\n") == len(array.json()) == 4
    last = array.json()[-1]
    assert last["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert last["usageMetadata"]["candidatesTokenCount"] == 140 - 128


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-flash-preview"])
def test_a_function_is_called_and_its_result_is_answered(gemini: genai.Client, model: str) -> None:
    asked = ask(gemini, model=model, tools=[WEATHER])
    (call,) = asked.function_calls
    assert (call.name, call.args) == ("get_weather", {"city": "simulated"})
    # From Gemini 3 on, calls have an id and a signature.
    assert (call.id is not None) == model.startswith("gemini-3")
    streamed = [piece for piece in stream(gemini, model=model, tools=[WEATHER]) if piece.function_calls]
    assert [piece.function_calls[0].args for piece in streamed] == [call.args]
    answered = types.Part.from_function_response(name="get_weather", response={"sky": "blue"})
    contents = [
        types.Content(role="user", parts=[types.Part(text="Hello")]),
        asked.candidates[0].content,
        types.Content(role="user", parts=[answered]),
    ]
    told = ask(gemini, contents, model=model, tools=[WEATHER])
    assert told.text
    assert not told.function_calls
    forced = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY"))
    assert ask(gemini, contents, model=model, tools=[WEATHER], tool_config=forced).function_calls
    if call.id:
        contents[1].parts[0].thought_signature = None
        with pytest.raises(errors.ClientError, match="missing a thought_signature"):
            ask(gemini, contents, model=model, tools=[WEATHER])


@pytest.mark.parametrize(
    ("model", "config", "thoughts"),
    [
        ("gemini-2.5-pro", {"thinking_budget": 100}, 100),
        ("gemini-2.5-flash", {"thinking_budget": 0}, None),
        ("gemini-2.5-flash-lite", {}, None),
        ("gemini-2.5-flash-lite", {"thinking_budget": -1}, 128),
        ("gemini-3-flash-preview", {"thinking_level": "LOW"}, 64),
        ("gemini-3.1-pro-preview", {"thinking_level": "HIGH"}, 256),
    ],
)
def test_thoughts_follow_their_budget_or_level(
    gemini: genai.Client, model: str, config: Any, thoughts: int | None
) -> None:
    usage = ask(gemini, model=model, thinking_config=config).usage_metadata
    assert usage.thoughts_token_count == thoughts
    assert usage.total_token_count == 1 + 40 + (thoughts or 0)


def test_thoughts_are_shown_as_a_summary_and_within_the_maximum(gemini: genai.Client) -> None:
    shown = ask(gemini, thinking_config={"include_thoughts": True})
    thought, text = shown.candidates[0].content.parts
    assert thought.thought
    assert thought.text
    assert not text.thought
    cut = ask(gemini, max_output_tokens=50)
    assert cut.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert not cut.candidates[0].content.parts
    usage = cut.usage_metadata
    assert (usage.thoughts_token_count, usage.candidates_token_count) == (50, None)


@pytest.mark.parametrize(("pieces", "rates"), [(200_000, (1_250, 10_000)), (200_001, (2_500, 15_000))])
def test_a_long_prompt_costs_more_from_the_token_above_the_threshold(
    gemini: genai.Client, simulator: Simulator, pieces: int, rates: tuple[int, int]
) -> None:
    wish = "[[simulate: tokens=10 reasoning=20 cached=0]]"
    base = gemini.models.count_tokens(model="gemini-2.5-pro", contents=wish).total_tokens
    answer = ask(gemini, "word " * (pieces - base) + wish, model="gemini-2.5-pro")
    assert answer.usage_metadata.prompt_token_count == pieces
    # $1.25/M and $10/M; above 200,000 tokens $2.50/M and $15/M for the whole request
    assert simulator.total_nano() == pieces * rates[0] + 30 * rates[1]


def test_a_prefix_seen_before_is_cached_inside_the_prompt(gemini: genai.Client, simulator: Simulator) -> None:
    text = "word " * 1_500 + "[[simulate: tokens=10 reasoning=0]]"
    first, second = (ask(gemini, text).usage_metadata for _ in range(2))
    assert first.cached_content_token_count is None
    # The longest multiple of 128 that is not longer than the prompt
    cached = first.prompt_token_count // 128 * 128
    assert second.cached_content_token_count == cached
    assert second.prompt_token_count == first.prompt_token_count
    fresh = second.prompt_token_count - cached
    # $0.30/M fresh, $0.03/M cached, $2.50/M said
    both = simulator.bill()["requests"]
    assert [entry["nano"] for entry in both] == [
        first.prompt_token_count * 300 + 10 * 2_500, fresh * 300 + cached * 30 + 10 * 2_500,
    ]  # fmt: skip


def test_an_image_is_a_modality_of_its_own(gemini: genai.Client) -> None:
    image = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    usage = ask(gemini, ["Look", image]).usage_metadata
    assert [(each.modality.value, each.token_count) for each in usage.prompt_tokens_details] == [
        ("TEXT", 1), ("IMAGE", 258),
    ]  # fmt: skip
    assert usage.prompt_token_count == 259


def test_what_is_counted_is_what_is_charged(http: httpx2.Client, simulator: Simulator) -> None:
    asked = {
        "contents": [{"parts": [{"text": "What is it?"}]}],
        "systemInstruction": {"parts": [{"text": "Be"}]},
    }
    path = "/v1beta/models/gemini-2.5-pro"
    counted = http.post(
        f"{path}:countTokens",
        json={"generateContentRequest": {"model": "models/gemini-2.5-pro", **asked}},
    )
    assert counted.json() == {
        "totalTokens": 5, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
    }  # fmt: skip
    assert simulator.total_nano() == 0
    answer = http.post(f"{path}:generateContent", json=asked).json()
    assert answer["usageMetadata"]["promptTokenCount"] == 5


@pytest.mark.parametrize(
    "shape",
    [
        {"response_schema": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]}},
        {
            "response_json_schema": {
                "type": "object",
                "properties": {"n": {"type": "integer"}},
                "required": ["n"],
            }
        },
    ],
)
def test_structured_output_satisfies_its_schema(gemini: genai.Client, shape: Any) -> None:
    answer = ask(gemini, response_mime_type="application/json", **shape)
    assert json.loads(answer.text) == {"n": 0}


@pytest.mark.parametrize(
    ("model", "fee"), [("gemini-2.5-flash", 35_000_000), ("gemini-3-flash-preview", 2 * 14_000_000)]
)
def test_searches_are_told_and_cost_by_request_or_by_query(
    gemini: genai.Client, simulator: Simulator, model: str, fee: int
) -> None:
    config = {"tools": [types.Tool(google_search=types.GoogleSearch())]}
    answer = ask(gemini, "[[simulate: searches=2 reasoning=0 tokens=1]]", model=model, **config)
    assert len(answer.candidates[0].grounding_metadata.web_search_queries) == 2
    (entry,) = simulator.bill()["requests"]
    price, out = (300, 2_500) if model == "gemini-2.5-flash" else (500, 3_000)
    assert entry["nano"] == answer.usage_metadata.prompt_token_count * price + out + fee
    assert entry["searches"] == 2


def test_embeddings_are_one_or_many_and_cost_their_input(
    gemini: genai.Client, http: httpx2.Client, simulator: Simulator
) -> None:
    many = gemini.models.embed_content(
        model="gemini-embedding-001", contents=["one", "two words"], config={"output_dimensionality": 8}
    )
    assert [len(each.values) for each in many.embeddings] == [8, 8]
    one = http.post(
        "/v1beta/models/gemini-embedding-001:embedContent", json={"content": {"parts": [{"text": "one"}]}}
    ).json()
    assert len(one["embedding"]["values"]) == 3_072
    assert sum(value * value for value in one["embedding"]["values"]) == pytest.approx(1)
    # (3 + 1) x $0.15/M
    assert simulator.total_nano() == 600


def test_embeddings_at_vertex_tell_their_tokens(http: httpx2.Client, simulator: Simulator) -> None:
    path = "/v1/projects/p/locations/l/publishers/google/models/gemini-embedding-001:predict"
    body = {
        "instances": [{"content": "one"}, {"content": "two words"}],
        "parameters": {"outputDimensionality": 8},
    }
    answer = http.post(path, json=body).json()
    found = [each["embeddings"] for each in answer["predictions"]]
    assert [each["statistics"]["token_count"] for each in found] == [1, 2]
    assert [len(each["values"]) for each in found] == [8, 8]
    assert answer["metadata"] == {"billableCharacterCount": 11}
    # 3 x $0.15/M
    assert simulator.total_nano() == 450


def test_models_are_listed(gemini: genai.Client, http: httpx2.Client) -> None:
    names = [model.name for model in gemini.models.list(config={"page_size": 3})]
    assert "models/gemini-2.5-pro" in names
    assert len(names) == len(set(names)) > 3
    assert gemini.models.get(model="gemini-2.5-pro").input_token_limit == 1_048_576
    listed = http.get("/v1beta/models", headers={"x-goog-api-key": "AIza-test"}).json()["models"]
    assert [model["name"] for model in listed] == names


def test_vertex_answers_at_its_own_paths_with_a_token(simulator: Simulator) -> None:
    client = at_vertex(simulator)
    answer = ask(client, "Hello there")
    usage = answer.usage_metadata
    assert usage.traffic_type == types.TrafficType.ON_DEMAND
    assert [(each.modality.value, each.token_count) for each in usage.candidates_tokens_details] == [
        ("TEXT", 40)
    ]
    assert answer.create_time is not None
    assert "".join(piece.text or "" for piece in stream(client, "Hello there")) == answer.text
    assert client.models.count_tokens(model="gemini-2.5-flash", contents="Hello there").total_tokens == 2
    client.close()
    path = simulator.received()[0]["path"]
    assert path.endswith(
        "/projects/project/locations/europe-west4/publishers/google/models/gemini-2.5-flash:generateContent"
    )
    assert simulator.total_nano() == 2 * (2 * 300 + 168 * 2_500)


def test_both_versions_of_the_api_are_served(simulator: Simulator) -> None:
    for version in ("v1", "v1beta"):
        client = at_google(simulator, api_version=version)
        assert ask(client).text
        client.close()
    assert [each["path"].split("/")[1] for each in simulator.received()] == ["v1", "v1beta"]
