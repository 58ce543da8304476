"""Shapes and usage, seen through the official SDK and as bytes."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import jsonschema
import openai
import pytest

from simulator.process import Simulator
from tests.simulator.conftest import Raw, chat

USER = {"role": "user", "content": "What is the capital of Mexico?"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def test_a_plain_answer_has_openais_shape_and_hand_worked_usage(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=[USER])
    assert answer.object == "chat.completion"
    assert answer.model == "gpt-4o-2024-08-06"
    assert answer.service_tier == "default"
    assert answer.id.startswith("chatcmpl-")
    assert answer._request_id
    assert answer._request_id.startswith("req_")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage
    # 3 for the answer + 4 for the message + What| is| the| capital| of| Mexico|? = 14, as OpenAI itself said.
    assert answer.usage.prompt_tokens == 14
    assert answer.usage.completion_tokens == 40
    assert answer.usage.total_tokens == 54
    assert answer.usage.prompt_tokens_details
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_headers_are_those_of_openai(http: httpx2.Client) -> None:
    answer = http.post("/v1/chat/completions", json=chat("Hi"))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["openai-version"] == "2020-10-01"
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert answer.headers["x-ratelimit-remaining-tokens"]
    assert list(answer.json()) == [
        "id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"
    ]  # fmt: skip


def test_every_message_part_and_tool_is_counted(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "name": "ann",
                "content": [
                    {"type": "text", "text": "Look here"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                ],
            },
        ],
        tools=[{"type": "function", "function": {"name": "f"}}],
        tool_choice="none",
    )
    assert answer.usage
    # tool {"name":"f"}: { " name " : " f " } = 9; system 4 + Be| brief|. = 7; user 4 + ann: 1 + 1,
    # Look| here = 2, the image 85; the answer 3.
    assert answer.usage.prompt_tokens == 9 + 7 + 4 + 2 + 2 + 85 + 3


def test_a_stream_with_usage_has_null_everywhere_and_a_last_event_without_choices(raw: Raw) -> None:
    raw.send(
        chat("Hi [[simulate: tokens=3]]", stream=True, stream_options={"include_usage": True}),
        Connection="close",
    )
    head, _, body = raw.rest().partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert b"content-type: text/event-stream" in head
    lines = [line for line in body.decode().splitlines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert len(events) == 1 + 3 + 1 + 1
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all(event["usage"] is None for event in events[:-1])
    assert events[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert events[-1]["choices"] == []
    # Hi| [|[|simulate|:| tokens|=|3|]|] = 10, and 7 around it.
    assert events[-1]["usage"]["prompt_tokens"] == 17
    assert events[-1]["usage"]["completion_tokens"] == 3
    assert len({event["id"] for event in events}) == 1


def test_a_stream_without_the_option_says_nothing_of_usage(client: openai.OpenAI, raw: Raw) -> None:
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=[USER], stream=True))
    plain = client.chat.completions.create(model="gpt-4o", messages=[USER])
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain.choices[0].message.content
    )
    raw.send(chat("Hi", stream=True), Connection="close")
    assert b"usage" not in raw.rest()


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_with_arguments_that_its_schema_allows(client: openai.OpenAI, stream: bool) -> None:
    ask: dict[str, Any] = {"model": "gpt-4.1", "messages": [USER], "tools": [WEATHER]}
    if stream:
        with client.chat.completions.stream(**ask) as events:
            answer: Any = events.get_final_completion()
    else:
        answer = client.chat.completions.create(**ask)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    call = choice.message.tool_calls[0]
    assert call.function.name == "get_weather"
    jsonschema.validate(json.loads(call.function.arguments), WEATHER["function"]["parameters"])
    if not stream:
        # get|_|weather = 3 and {|"|city|"|:|"|simulated|"|} = 9.
        assert answer.usage.completion_tokens == 12


def test_tool_choice_decides_and_a_tools_answer_ends_the_calling(client: openai.OpenAI) -> None:
    other = {"type": "function", "function": {"name": "other", "parameters": {}}}
    named = client.chat.completions.create(
        model="gpt-4o",
        messages=[USER],
        tools=[WEATHER, other],
        tool_choice={"type": "function", "function": {"name": "other"}},
    )
    assert named.choices[0].message.tool_calls[0].function.name == "other"
    assert named.choices[0].finish_reason == "stop"
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    after = client.chat.completions.create(
        model="gpt-4o",
        messages=[
            USER,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ],
        tools=[WEATHER],
    )
    assert after.choices[0].message.content


def test_structured_answers_are_json_and_follow_the_schema(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(
        model="gpt-4o", messages=[USER], response_format={"type": "json_object"}
    )
    assert "answer" in json.loads(plain.choices[0].message.content)
    assert plain.usage.completion_tokens == 40
    schema = WEATHER["function"]["parameters"]
    shaped = client.chat.completions.create(
        model="gpt-4o",
        messages=[USER],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "w", "strict": True, "schema": schema},
        },
    )
    jsonschema.validate(json.loads(shaped.choices[0].message.content), schema)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_maximum_ends_an_answer_for_length(client: openai.OpenAI, field: str) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=[USER], **{field: 5})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_hidden_tokens_count_within_completion_and_within_the_maximum(client: openai.OpenAI) -> None:
    ask: dict[str, Any] = {"model": "gpt-5-mini", "messages": [USER]}
    free = client.chat.completions.create(**ask)
    assert free.usage.completion_tokens == 128 + 40
    assert free.usage.completion_tokens_details.reasoning_tokens == 128
    low = client.chat.completions.create(**ask, reasoning_effort="low", max_completion_tokens=70)
    assert low.usage.completion_tokens == 70
    assert low.usage.completion_tokens_details.reasoning_tokens == 64
    assert low.choices[0].finish_reason == "length"
    none_left = client.chat.completions.create(**ask, max_completion_tokens=100)
    assert none_left.choices[0].message.content == ""
    assert none_left.usage.completion_tokens_details.reasoning_tokens == 100


def test_long_prefixes_are_cached_in_steps_and_per_key(client: openai.OpenAI) -> None:
    # 1,500 words of one piece each and 4 + 3 around them.
    text = " ".join(["word"] * 1500)
    first = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}])
    assert first.usage.prompt_tokens == 1507
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    again = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": text + " more"}]
    )
    # The common prefix is 4 + 1,500 tokens; 11 x 128 = 1,408 of them are whole steps.
    assert again.usage.prompt_tokens_details.cached_tokens == 1408
    stranger = client.with_options(api_key="sk-other").chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": text}]
    )
    assert stranger.usage.prompt_tokens_details.cached_tokens == 0


def test_the_served_tier_is_echoed_and_unsold_tiers_fall_back(client: openai.OpenAI) -> None:
    flex = client.chat.completions.create(model="gpt-5", messages=[USER], service_tier="flex")
    assert flex.service_tier == "flex"
    unsold = client.chat.completions.create(model="gpt-4o", messages=[USER], service_tier="flex")
    assert unsold.service_tier == "default"


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"model": "gpt-9"}, openai.NotFoundError, "model_not_found"),
        ({"model": "text-embedding-3-small"}, openai.NotFoundError, None),
        ({"messages": []}, openai.BadRequestError, "empty_array"),
        ({"messages": [{"role": "king", "content": "Hi"}]}, openai.BadRequestError, "invalid_value"),
        ({"messages": [{"role": "user", "content": None}]}, openai.BadRequestError, "invalid_type"),
        ({"max_tokens": 0}, openai.BadRequestError, "integer_below_min_value"),
        ({"max_tokens": "5"}, openai.BadRequestError, "invalid_type"),
        ({"max_tokens": 16_385}, openai.BadRequestError, "invalid_value"),
        ({"model": "o4-mini", "max_tokens": 5}, openai.BadRequestError, "unsupported_parameter"),
        ({"stream_options": {"include_usage": True}}, openai.BadRequestError, None),
        ({"service_tier": "gold"}, openai.BadRequestError, "invalid_value"),
        (
            {"messages": [{"role": "user", "content": "a." * 70_000}]},
            openai.BadRequestError,
            "context_length_exceeded",
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "parameters": {"type": "array", "minItems": "x"}},
                    }
                ]
            },
            openai.BadRequestError,
            None,
        ),
    ],
)
def test_bad_requests_are_refused_as_openai_refuses_them(
    client: openai.OpenAI,
    simulator: Simulator,
    change: dict[str, Any],
    error: type[openai.APIStatusError],
    code: str,
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(**{"model": "gpt-4o", "messages": [USER], **change})
    assert caught.value.code == code
    assert caught.value.request_id
    assert simulator.total_nano() == 0


@pytest.mark.parametrize("key", ["obs_leaked", "sk-invalid-1"])
def test_keys_that_no_provider_would_know_are_refused(client: openai.OpenAI, key: str) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key=key).chat.completions.create(model="gpt-4o", messages=[USER])
    assert caught.value.code == "invalid_api_key"
    assert key not in str(caught.value)


def test_a_missing_key_broken_json_and_unknown_paths_are_told_apart(http: httpx2.Client) -> None:
    path = "/v1/chat/completions"
    assert http.post(path, json=chat("Hi"), headers={"authorization": ""}).status_code == 401
    broken = http.post(path, content=b"{")
    assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error")
    assert http.get(path).status_code == 405
    assert http.post("/v1/nowhere").status_code == 404


def test_models_are_listed_and_looked_up(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert {"gpt-4o", "gpt-5-nano", "o4-mini", "text-embedding-3-large"} <= set(names)
    assert client.models.retrieve("gpt-4.1-mini").owned_by == "system"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
