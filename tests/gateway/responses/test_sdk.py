"""The official openai SDK's Responses, through the gateway: made, streamed, kept, continued, cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from metering.event import CostEvent
from simulator.process import Simulator
from tests.stack import Stack, wait_until

MODEL = "gpt-4o-mini"
THINKING = "gpt-5-mini"
DOLLAR = 10**9
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    secret = stack.key(limits={"month": 100 * DOLLAR})
    with OpenAI(base_url=stack.base_url, api_key=secret, max_retries=0) as made:
        yield made


def settled(stack: Stack, simulator: Simulator, request_id: str) -> CostEvent:
    """The one event of a request, whose cost is what the provider billed for it."""
    wait_until(lambda: any(event.id == request_id for event in stack.events()))
    event = stack.event(request_id)
    (billed,) = simulator.bill(request_id)["requests"]
    assert (event.surface, event.cost_status, event.usage_source) == ("responses", "priced", "provider")
    assert event.cost_nano == billed["nano"]
    assert (event.doubted_nano or 0) == 0
    return event


def test_a_plain_response_costs_what_the_provider_bills(
    client: OpenAI, stack: Stack, simulator: Simulator
) -> None:
    raw = client.responses.with_raw_response.create(model=MODEL, input="Hello. [[simulate: tokens=12]]")
    answer = raw.parse()
    assert answer.output_text
    assert answer._request_id == raw.headers["x-request-id"]
    event = settled(stack, simulator, raw.headers["x-request-id"])
    assert (event.status, event.outcome) == ("succeeded", "success")
    assert event.usage is not None
    assert event.usage["output_tokens"] == 12
    assert raw.headers["observe-cost-usd"] != "unknown"


@pytest.mark.parametrize("model", [MODEL, THINKING])
def test_a_streamed_response_is_whole_and_priced(
    client: OpenAI, stack: Stack, simulator: Simulator, model: str
) -> None:
    with client.responses.with_streaming_response.create(
        model=model, input="Hello. [[simulate: tokens=30]]", stream=True
    ) as raw:
        request_id = raw.headers["x-request-id"]
        events = list(raw.parse())
    assert events[-1].type == "response.completed"
    event = settled(stack, simulator, request_id)
    assert (event.status, event.outcome, event.stream) == ("succeeded", "success", True)
    assert ((event.usage or {}).get("reasoning_output_tokens", 0) > 0) == (model == THINKING)


def test_tools_and_structured_output(client: OpenAI, stack: Stack, simulator: Simulator) -> None:
    called = client.responses.create(model=MODEL, input="Weather?", tools=[TOOL], tool_choice="required")
    (call,) = (item for item in called.output if item.type == "function_call")
    told = client.responses.create(
        model=MODEL,
        previous_response_id=called.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}],
        tools=[TOOL],
        tool_choice="none",
    )
    assert told.output_text
    assert told._request_id is not None
    settled(stack, simulator, told._request_id)

    class City(BaseModel):
        name: str

    parsed = client.responses.parse(model=MODEL, input="A city.", text_format=City)
    assert parsed.output_parsed is not None
    assert parsed._request_id is not None
    assert settled(stack, simulator, parsed._request_id).outcome == "success"


def test_a_maximum_that_was_reached_is_told(client: OpenAI, stack: Stack, simulator: Simulator) -> None:
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="Long. [[simulate: tokens=400]]", max_output_tokens=16
    )
    assert raw.parse().status == "incomplete"
    event = settled(stack, simulator, raw.headers["x-request-id"])
    assert event.usage is not None
    assert event.usage["output_tokens"] == 16


def test_a_kept_response_is_looked_at_continued_and_deleted(client: OpenAI, stack: Stack) -> None:
    first = client.responses.create(model=MODEL, input="My name is Ada.")
    assert client.responses.retrieve(first.id).output_text == first.output_text
    assert [item.type for item in client.responses.input_items.list(first.id)] == ["message"]
    second = client.responses.create(model=MODEL, input="Who am I?", previous_response_id=first.id)
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_nobody_else_sees_it_or_goes_on_from_it(client: OpenAI, stack: Stack) -> None:
    bound = stack.key(customer="acme")
    other = stack.key(customer="globex")
    with OpenAI(base_url=stack.base_url, api_key=bound, max_retries=0) as hers:
        kept = hers.responses.create(model=MODEL, input="A secret.")
        assert hers.responses.retrieve(kept.id).id == kept.id
    with OpenAI(base_url=stack.base_url, api_key=other, max_retries=0) as theirs:
        for ask in (
            lambda: theirs.responses.retrieve(kept.id),
            lambda: theirs.responses.input_items.list(kept.id),
            lambda: theirs.responses.cancel(kept.id),
            lambda: theirs.responses.delete(kept.id),
        ):
            with pytest.raises(openai.NotFoundError):
                ask()
        with pytest.raises(openai.BadRequestError) as refused:
            theirs.responses.create(model=MODEL, input="Tell me.", previous_response_id=kept.id)
        assert refused.value.code == "previous_response_not_found"
    assert client.responses.retrieve(kept.id).id == kept.id  # a key of the account that is bound to nobody


def test_one_that_runs_in_the_background_is_followed_to_its_end(
    client: OpenAI, stack: Stack, simulator: Simulator
) -> None:
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="Later. [[simulate: tokens=40 pace_ms=20]]", background=True
    )
    answer = raw.parse()
    assert answer.status in ("queued", "in_progress")
    assert raw.headers["observe-cost-usd"] == "unknown"
    event = settled(stack, simulator, raw.headers["x-request-id"])
    assert (event.status, event.outcome) == ("succeeded", "success")
    assert event.usage is not None
    assert event.usage["output_tokens"] == 40
    assert client.responses.retrieve(answer.id).status == "completed"


def test_one_that_is_cancelled_costs_what_was_made_of_it(
    client: OpenAI, stack: Stack, simulator: Simulator
) -> None:
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="Never. [[simulate: tokens=2000 pace_ms=50]]", background=True
    )
    answer = raw.parse()
    assert client.responses.cancel(answer.id).status == "cancelled"
    request_id = raw.headers["x-request-id"]
    wait_until(lambda: any(event.id == request_id for event in stack.events()))
    event = stack.event(request_id)
    (billed,) = simulator.bill(request_id)["requests"]
    assert event.status == "cancelled"
    assert event.cost_nano is not None
    assert billed["nano"] <= event.cost_nano + (event.doubted_nano or 0)


def test_a_background_stream_that_its_client_leaves_is_followed(
    client: OpenAI, stack: Stack, simulator: Simulator
) -> None:
    with client.responses.with_streaming_response.create(
        model=MODEL, input="Go on. [[simulate: tokens=60 pace_ms=20]]", background=True, stream=True
    ) as raw:
        request_id = raw.headers["x-request-id"]
        first = next(iter(raw.parse()))
        assert first.type == "response.created"
    event = settled(stack, simulator, request_id)
    assert event.status == "succeeded"
    assert event.usage is not None
    assert event.usage["output_tokens"] == 60


@pytest.mark.parametrize(
    ("more", "error", "code"),
    [
        ({"input": 3}, openai.BadRequestError, "invalid_type"),
        ({"input": None}, openai.BadRequestError, "missing_required_parameter"),
        ({"model": "no-such-model"}, openai.NotFoundError, "model_not_found"),
        ({"max_output_tokens": -1}, openai.BadRequestError, "invalid_value"),
        ({"tools": [{"type": "web_search"}]}, openai.BadRequestError, "unbounded_request"),
        ({"input": "[[simulate: status=429]]"}, openai.RateLimitError, None),
        ({"input": "[[simulate: status=500]]"}, openai.InternalServerError, "upstream_error"),
    ],
)
def test_refusals_are_the_sdks_own_classes(
    client: OpenAI, more: dict[str, Any], error: type[openai.APIStatusError], code: str | None
) -> None:
    with pytest.raises(error) as refused:
        client.responses.create(**{"model": MODEL, "input": "x", **more})
    assert refused.value.request_id
    assert code is None or refused.value.code == code


def test_an_exhausted_budget_and_a_bad_key(stack: Stack) -> None:
    with OpenAI(base_url=stack.base_url, api_key=stack.key(limits={"month": 10}), max_retries=2) as poor:
        with pytest.raises(openai.APIStatusError) as refused:
            poor.responses.create(model=MODEL, input="x")
        assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
    nobody = OpenAI(base_url=stack.base_url, api_key="obs_" + "x" * 49, max_retries=0)
    with nobody, pytest.raises(openai.AuthenticationError):
        nobody.responses.create(model=MODEL, input="x")


def test_a_stream_that_is_cut_ends_with_an_error_event_and_keeps_its_doubt(
    client: OpenAI, stack: Stack, simulator: Simulator
) -> None:
    with client.responses.with_streaming_response.create(
        model=MODEL, input="Cut. [[simulate: tokens=200 close_after_chunks=20]]", stream=True
    ) as raw:
        request_id = raw.headers["x-request-id"]
        with pytest.raises(openai.APIError):
            list(raw.parse())
    wait_until(lambda: any(event.id == request_id for event in stack.events()))
    event = stack.event(request_id)
    (billed,) = simulator.bill(request_id)["requests"]
    assert (event.status, event.cost_status) == ("cut", "estimated")
    assert event.cost_nano is not None
    assert billed["nano"] <= event.cost_nano + (event.doubted_nano or 0)
