"""Anthropic's official client through the gateway to the simulated one: what it offers, and its bill."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic.types import ToolUseBlock
from pydantic import BaseModel

from metering.event import CostEvent
from metering.money import nano_to_usd
from simulator.process import Simulator
from tests.gateway.anthropic.conftest import DOLLAR, HAIKU, SONNET, Client, received, said
from tests.stack import Stack

TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather somewhere.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def billed(simulator: Simulator, event: CostEvent) -> int:
    """What the provider's own bill says of a request; it must have one line."""
    (line,) = simulator.bill(event.id)["requests"]
    return int(line["nano"])


def check(stack: Stack, simulator: Simulator, request_id: str | None, usage: Any) -> CostEvent:
    """The one event of an answer: its usage as the client saw it, its cost as it was billed."""
    assert request_id is not None
    event = stack.event(request_id)
    assert (event.surface, event.status, event.outcome) == ("messages", "succeeded", "success")
    assert (event.usage_source, event.cost_status) == ("provider", "priced")
    assert event.usage is not None
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    assert event.usage["input_tokens"] == usage.input_tokens + read + written
    assert event.usage.get("cache_read_input_tokens", 0) == read
    assert event.usage["output_tokens"] == usage.output_tokens
    assert event.cost_nano == billed(simulator, event)
    return event


def test_a_message(stack: Stack, simulator: Simulator, client: Client) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    claude = client(secret)
    message = claude.messages.create(model=HAIKU, max_tokens=100, messages=said("Hello"))  # type: ignore[arg-type]
    assert message.content[0].type == "text"
    assert message.stop_reason == "end_turn"
    event = check(stack, simulator, message._request_id, message.usage)
    assert event.model == "claude-haiku-4-5-20251001"
    (row,) = stack.counters(secret).values()
    assert row == {"spent": event.cost_nano, "reserved": 0, "doubted": 0}
    headers, _ = received(simulator, event.id)
    assert headers["x-api-key"] == ["****ated"]  # all that it shows of a key
    assert headers["anthropic-version"] == [claude.default_headers["anthropic-version"]]
    assert "authorization" not in headers


def test_a_key_may_come_as_a_bearer_token(stack: Stack, client: Client) -> None:
    secret = stack.key()
    root = stack.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=root, auth_token=secret, api_key=None, max_retries=0) as bearer:
        message = bearer.messages.create(model=HAIKU, max_tokens=9, messages=said("Hi"))  # type: ignore[arg-type]
    assert message._request_id is not None
    assert stack.event(message._request_id).key_id == stack.records[secret]


def test_a_stream(stack: Stack, simulator: Simulator, client: Client) -> None:
    with client().messages.stream(
        model=SONNET,
        max_tokens=200,
        messages=said("Hello", "tokens=40 reasoning=0"),  # type: ignore[arg-type]
    ) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert message.content[0].type == "text"
    assert message.content[0].text == text
    assert message.usage.output_tokens == 40
    event = check(stack, simulator, stream.request_id, message.usage)
    assert event.stream
    assert event.first_token_ms is not None


def test_the_cost_at_the_end_of_a_stream_does_not_trouble_the_client(stack: Stack, client: Client) -> None:
    wish = {"Observe-Include-Cost": "true"}
    with client().messages.stream(
        model=HAIKU,
        max_tokens=20,
        messages=said("Hello"),  # type: ignore[arg-type]
        extra_headers=wish,
    ) as stream:
        stream.until_done()
    raw = client().messages.with_raw_response.create(
        model=HAIKU,
        max_tokens=20,
        messages=said("Hello"),  # type: ignore[arg-type]
        extra_headers=wish,
        stream=True,
    )
    text = b"".join(raw.http_response.iter_bytes()).decode()
    event = stack.event(raw.headers["request-id"])
    assert text.endswith(f"\n\n: observe-cost-usd {nano_to_usd(event.cost_nano or 0)}\n\n")


def test_an_answer_that_reaches_its_maximum(stack: Stack, simulator: Simulator, client: Client) -> None:
    message = client().messages.create(model=HAIKU, max_tokens=5, messages=said("Hello", "tokens=40"))  # type: ignore[arg-type]
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 5)
    assert check(stack, simulator, message._request_id, message.usage).truncated_by is None


@pytest.mark.parametrize("stream", [False, True])
def test_tools_there_and_back(stack: Stack, simulator: Simulator, client: Client, stream: bool) -> None:
    asked: dict[str, Any] = {"model": HAIKU, "max_tokens": 500, "tools": [TOOL]}
    messages = said("The weather in Rome?")
    wanted = {**asked, "messages": messages, "tool_choice": {"type": "tool", "name": "get_weather"}}
    claude = client()
    if stream:
        with claude.messages.stream(**wanted) as events:
            call = events.get_final_message()
        call_id = events.request_id
    else:
        call = claude.messages.create(**wanted)
        call_id = call._request_id
    (use,) = [block for block in call.content if isinstance(block, ToolUseBlock)]
    assert (call.stop_reason, use.name) == ("tool_use", "get_weather")
    assert isinstance(use.input["city"], str)
    check(stack, simulator, call_id, call.usage)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "21 degrees"}
    back = [*messages, {"role": "assistant", "content": [block.model_dump() for block in call.content]},
            {"role": "user", "content": [result]}]  # fmt: skip
    answer = claude.messages.create(**asked, messages=back)
    assert answer.stop_reason == "end_turn"
    check(stack, simulator, answer._request_id, answer.usage)


@pytest.mark.parametrize("stream", [False, True])
def test_thinking(stack: Stack, simulator: Simulator, client: Client, stream: bool) -> None:
    asked: dict[str, Any] = {
        "model": HAIKU,
        "max_tokens": 4_000,
        "messages": said("Think", "reasoning=300 tokens=20"),
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
    }
    claude = client()
    if stream:
        with claude.messages.stream(**asked) as events:
            message = events.get_final_message()
        request_id = events.request_id
    else:
        message = claude.messages.create(**asked)
        request_id = message._request_id
    assert [block.type for block in message.content] == ["thinking", "text"]
    event = check(stack, simulator, request_id, message.usage)
    assert event.usage is not None
    assert (event.usage["output_tokens"], event.usage["reasoning_output_tokens"]) == (320, 300)


class Weather(BaseModel):
    city: str
    degrees: int


def test_structured_output(stack: Stack, simulator: Simulator, client: Client) -> None:
    message = client().messages.parse(
        model=HAIKU,
        max_tokens=500,
        messages=said("The weather?"),  # type: ignore[arg-type]
        output_format=Weather,
    )
    assert isinstance(message.parsed_output, Weather)
    check(stack, simulator, message._request_id, message.usage)


def test_an_answer_that_is_not_the_json_that_was_asked_for(stack: Stack, client: Client) -> None:
    shape = {"format": {"type": "json_schema", "schema": Weather.model_json_schema()}}
    message = client().messages.create(
        model=HAIKU,
        max_tokens=2,
        messages=said("The weather?"),
        output_config=shape,  # type: ignore[arg-type]
    )
    assert message._request_id is not None
    event = stack.event(message._request_id)
    assert (event.status, event.outcome, event.outcome_reason) == ("succeeded", "failure", "invalid_json")


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_what_is_kept_in_the_cache_is_paid_for_once_and_read_cheaply(
    stack: Stack, simulator: Simulator, client: Client, ttl: str
) -> None:
    system = [{"type": "text", "text": f"Rules {ttl}. " + "Be brief and kind. " * 900,
               "cache_control": {"type": "ephemeral", "ttl": ttl}}]  # fmt: skip
    claude = client(stack.key(limits={"month": DOLLAR}))
    usages = []
    for question in ("One?", "Two?"):
        message = claude.messages.create(
            model=SONNET,
            max_tokens=50,
            system=system,
            messages=said(question),  # type: ignore[arg-type]
        )
        event = check(stack, simulator, message._request_id, message.usage)
        assert event.usage is not None
        usages.append(event.usage)
    first, second = usages
    written = first[f"cache_write_{ttl}_input_tokens"]
    assert written > 1_024
    assert "cache_read_input_tokens" not in first
    assert second["cache_read_input_tokens"] == written
    assert f"cache_write_{ttl}_input_tokens" not in second


def test_searches_are_paid_for_beside_the_tokens(stack: Stack, simulator: Simulator, client: Client) -> None:
    asked: dict[str, Any] = {
        "model": SONNET,
        "max_tokens": 300,
        "messages": said("Look", "searches=2"),
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    }
    message = client().messages.create(**asked)
    event = check(stack, simulator, message._request_id, message.usage)
    (searches,) = [row for row in event.breakdown if row["unit"] == "web_searches"]
    assert (searches["quantity"], searches["cost_nano"]) == (2, 2 * DOLLAR // 100)
    with pytest.raises(anthropic.BadRequestError) as told:
        client(stack.key(limits={"month": DOLLAR})).messages.create(**asked)
    assert told.value.error_code == "unbounded_request"


def test_fast_answers_and_a_region_at_their_price(stack: Stack, simulator: Simulator, client: Client) -> None:
    asked: dict[str, Any] = {"model": "claude-opus-4-8", "max_tokens": 50, "messages": said("Quick")}
    for more in ({}, {"speed": "fast"}, {"inference_geo": "us"}):
        message = client().messages.create(**asked, **more)
        check(stack, simulator, message._request_id, message.usage)


def test_counting_tokens_is_free_and_fits_where_nothing_else_does(
    stack: Stack, simulator: Simulator, client: Client
) -> None:
    secret = stack.key(limits={"month": 10})
    claude = client(secret)
    asked: dict[str, Any] = {"model": HAIKU, "messages": said("How long is this?"), "tools": [TOOL]}
    raw = claude.messages.with_raw_response.count_tokens(**asked)
    counted = raw.parse()
    event = stack.event(raw.headers["request-id"])
    assert (event.surface, event.status) == ("messages.count_tokens", "succeeded")
    assert (event.cost_nano, event.cost_status, event.usage_source) == (0, "free", "none")
    assert raw.headers["observe-cost-usd"] == "0.00"
    (row,) = stack.counters(secret).values()
    assert row == {"spent": 0, "reserved": 0, "doubted": 0}
    with pytest.raises(anthropic.PaymentRequiredError):
        claude.messages.create(**asked, max_tokens=50)
    message = client().messages.create(**asked, max_tokens=50)
    assert message.usage.input_tokens == counted.input_tokens


def test_betas_go_to_the_provider(stack: Stack, simulator: Simulator, client: Client) -> None:
    message = client().beta.messages.create(
        model=SONNET,
        max_tokens=20,
        messages=said("Hi"),
        betas=["interleaved-thinking-2025-05-14"],  # type: ignore[arg-type]
    )
    assert message._request_id is not None
    event = stack.event(message._request_id)
    headers, _ = received(simulator, event.id)
    assert headers["anthropic-beta"] == ["interleaved-thinking-2025-05-14"]
    assert not any(name.startswith(("observe-", "x-stainless")) for name in headers)


def test_the_body_is_forwarded_as_it_was_understood(
    stack: Stack, simulator: Simulator, client: Client
) -> None:
    extra = {"metadata": {"user_id": "user-7"}, "stop_sequences": ["never"], "temperature": 0.5}
    message = client().messages.create(
        model=HAIKU,
        max_tokens=20,
        messages=said("Hé"),
        extra_body=extra,  # type: ignore[arg-type]
    )
    assert message._request_id is not None
    event = stack.event(message._request_id)
    _, body = received(simulator, event.id)
    assert body == {"model": HAIKU, "max_tokens": 20, "messages": said("Hé"), **extra}
    assert event.user is None


def test_models_are_listed_in_anthropics_shape(stack: Stack, client: Client) -> None:
    claude = client()
    page = claude.models.list(limit=1_000)
    names = [model.id for model in page.data]
    assert HAIKU in names
    assert page._request_id is not None
    assert [model.id for model in claude.models.list(limit=7)] == names
    before = claude.models.list(limit=3, before_id=names[5])
    assert [model.id for model in before.data] == names[2:5]
    assert claude.models.retrieve(HAIKU).display_name == HAIKU
    with pytest.raises(anthropic.NotFoundError) as told:
        claude.models.retrieve("claude-nonesuch")
    assert told.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError):
        claude.models.list(limit=0)
