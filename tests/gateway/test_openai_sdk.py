"""The official openai SDK as a client that knows nothing of us."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from simulator.process import Simulator
from tests.stack import Stack

MODEL = "gpt-4o-mini"
HI = [{"role": "user", "content": "Say hello. [[simulate: tokens=12]]"}]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    headers = {"Observe-Customer": "acme", "Observe-Feature": "greeting"}
    secret = stack.key(limits={"month": 10**9})
    with OpenAI(base_url=stack.base_url, api_key=secret, default_headers=headers, max_retries=0) as made:
        yield made


def bill_of(simulator: Simulator, request_id: str) -> int:
    requests = simulator.bill(request_id)["requests"]
    assert len(requests) == 1
    return int(requests[0]["nano"])


def test_a_plain_answer_is_attributed_and_costs_what_the_provider_bills(
    client: OpenAI, stack: Stack, simulator: Simulator
) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HI)  # type: ignore[arg-type]
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer._request_id == raw.headers["x-request-id"]
    event = stack.event(raw.headers["x-request-id"])
    assert (event.customer, event.feature, event.status, event.outcome) == (
        "acme",
        "greeting",
        "succeeded",
        "success",
    )
    assert event.cost_status == "priced"
    assert event.cost_nano == bill_of(simulator, event.id)
    assert raw.headers["observe-cost-usd"] != "unknown"
    assert "set-cookie" not in raw.headers


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_shows_usage_only_to_who_asked_for_it(
    client: OpenAI, stack: Stack, simulator: Simulator, asked: bool
) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    with client.chat.completions.with_streaming_response.create(
        model=MODEL,
        messages=HI,
        stream=True,
        **options,  # type: ignore[call-overload]
    ) as raw:
        request_id = raw.headers["x-request-id"]
        chunks = list(raw.parse())
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(usages) == (1 if asked else 0)
    assert len([chunk for chunk in chunks if not chunk.choices]) == (1 if asked else 0)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    event = stack.event(request_id)
    assert (event.usage_source, event.status, event.stream) == ("provider", "succeeded", True)
    assert event.usage is not None
    assert event.usage["output_tokens"] == 12
    assert event.cost_nano == bill_of(simulator, request_id)


def test_tools_pass_both_ways(client: OpenAI) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    answer = client.chat.completions.create(model=MODEL, messages=HI, tools=[tool])  # type: ignore[call-overload]
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"


class Person(BaseModel):
    name: str
    age: int


def test_structured_output_is_parsed_and_judged(client: OpenAI, stack: Stack) -> None:
    answer = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "Who?"}], response_format=Person
    )
    assert isinstance(answer.choices[0].message.parsed, Person)
    assert answer._request_id is not None
    assert stack.event(answer._request_id).outcome == "success"


def test_embeddings_are_priced(client: OpenAI, stack: Stack, simulator: Simulator) -> None:
    raw = client.embeddings.with_raw_response.create(model="text-embedding-3-small", input=["one", "two"])
    assert len(raw.parse().data) == 2
    event = stack.event(raw.headers["x-request-id"])
    assert event.surface == "embeddings"
    assert event.cost_nano == bill_of(simulator, event.id)


def test_models_are_listed_and_found(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert MODEL in names
    assert client.models.retrieve(MODEL).owned_by == "simulated"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-nonesuch")


def test_a_wrong_key_is_an_authentication_error(stack: Stack) -> None:
    with OpenAI(base_url=stack.base_url, api_key="sk-wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as told:
            client.chat.completions.create(model=MODEL, messages=HI)  # type: ignore[arg-type]
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    assert told.value.request_id
    assert told.value.code == "invalid_api_key"


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as told:
        client.chat.completions.create(model="gpt-nonesuch", messages=HI)  # type: ignore[arg-type]
    assert told.value.code == "model_not_found"
    assert told.value.request_id


def test_no_budget_is_a_402_that_is_not_retried(stack: Stack) -> None:
    secret = stack.key(limits={"day": 1_000})
    before = len(stack.events())
    with (
        OpenAI(base_url=stack.base_url, api_key=secret, max_retries=2) as client,
        pytest.raises(openai.APIStatusError) as told,
    ):
        client.chat.completions.create(model=MODEL, messages=HI)  # type: ignore[arg-type]
    assert told.value.status_code == 402
    assert told.value.code == "budget_exceeded"
    assert told.value.request_id
    assert told.value.response.headers["x-should-retry"] == "false"
    assert len(stack.events()) == before
    assert stack.open_requests() == 0
