"""The official cohere SDK through the gateway: chat, streams, tools, embed, rerank, and its errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import pytest
from cohere.errors import (
    BadRequestError,
    ForbiddenError,
    InternalServerError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
)

from gateway.settings import ProviderSettings, Settings
from metering.event import CostEvent
from simulator.process import Simulator
from tests.gateway.conftest import PATIENT
from tests.stack import Stack, running_stack, wait_until

CHAT = "command-r7b-12-2024"
DOLLAR = 10**9
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    provider = ProviderSettings(
        preset="cohere",
        base_url=simulator.root,
        api_key="co-simulated",  # type: ignore[arg-type]
        prices="cohere",
        timeouts=PATIENT,
        paths={"cohere.chat": "/v2/chat", "cohere.embed": "/v2/embed", "rerank": "/v2/rerank"},
    )
    with running_stack(Settings(providers={"cohere": provider})) as started:
        yield started


class Requests:
    """The ids of the requests that a client made."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def note(self, answer: httpx.Response) -> None:
        self.ids.append(answer.headers["x-request-id"])


@pytest.fixture
def made() -> Requests:
    return Requests()


@pytest.fixture
def client(stack: Stack, made: Requests) -> cohere.ClientV2:
    return client_of(stack, stack.key(limits={"month": 10 * DOLLAR}), made)


def client_of(stack: Stack, secret: str, made: Requests) -> cohere.ClientV2:
    transport = httpx.Client(timeout=30, event_hooks={"response": [made.note]})
    return cohere.ClientV2(
        api_key=secret, base_url=stack.base_url.removesuffix("/v1"), httpx_client=transport
    )


def settled(stack: Stack, simulator: Simulator, made: Requests) -> CostEvent:
    """The event of the last request, whose cost is what the provider billed."""
    request_id = made.ids[-1]
    wait_until(lambda: any(event.id == request_id for event in stack.events()))
    event = stack.event(request_id)
    (billed,) = simulator.bill(request_id)["requests"]
    assert (event.status, event.usage_source, event.cost_status) == ("succeeded", "provider", "priced")
    assert event.cost_nano == billed["nano"]
    return event


def messages(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_a_chat_costs_its_billed_units(
    client: cohere.ClientV2, stack: Stack, simulator: Simulator, made: Requests
) -> None:
    answer = client.chat(model=CHAT, messages=messages("Hello. [[simulate: tokens=12]]"))
    assert answer.message.content
    event = settled(stack, simulator, made)
    assert answer.usage is not None
    assert answer.usage.billed_units is not None
    assert event.usage is not None
    assert event.usage["input_tokens"] == answer.usage.billed_units.input_tokens
    assert event.usage["output_tokens"] == 12


def test_a_streamed_chat_is_whole(
    client: cohere.ClientV2, stack: Stack, simulator: Simulator, made: Requests
) -> None:
    events = list(client.chat_stream(model=CHAT, messages=messages("Hello. [[simulate: tokens=30]]")))
    assert events[0].type == "message-start"
    assert any(event.type == "message-end" for event in events)
    assert settled(stack, simulator, made).stream


def test_tools_and_structured_output(
    client: cohere.ClientV2, stack: Stack, simulator: Simulator, made: Requests
) -> None:
    answer = client.chat(model=CHAT, messages=messages("Weather?"), tools=[TOOL], tool_choice="REQUIRED")
    assert answer.message.tool_calls
    settled(stack, simulator, made)
    client.chat(model=CHAT, messages=messages("A city as JSON."), response_format={"type": "json_object"})
    assert settled(stack, simulator, made).outcome == "success"


def test_texts_are_embedded_and_documents_ranked(
    client: cohere.ClientV2, stack: Stack, simulator: Simulator, made: Requests
) -> None:
    client.embed(
        model="embed-v4.0", texts=["one", "two"], input_type="search_document", embedding_types=["float"]
    )
    assert settled(stack, simulator, made).surface == "cohere.embed"
    documents = [f"document {number} " + "word " * 900 for number in range(60)]
    client.rerank(model="rerank-v3.5", query="word", documents=documents, top_n=3)
    event = settled(stack, simulator, made)
    assert event.usage is not None
    assert event.usage["rerank_searches"] == 2  # sixty documents, each of two parts
    assert event.cost_nano == 4_000_000
    assert event.held_nano is not None
    assert event.held_nano >= event.cost_nano


def test_a_search_that_no_budget_is_left_for_is_refused(stack: Stack, made: Requests) -> None:
    poor = client_of(stack, stack.key(limits={"month": 1_999_999}), made)
    with pytest.raises(cohere.core.api_error.ApiError) as refused:
        poor.rerank(model="rerank-v3.5", query="word", documents=["one"])
    assert refused.value.status_code == 402
    assert refused.value.body["code"] == "budget_exceeded"


@pytest.mark.parametrize(
    ("model", "text", "error"),
    [
        (CHAT, 3, BadRequestError),
        ("no-such-model", "x", NotFoundError),
        (CHAT, "[[simulate: status=429]]", TooManyRequestsError),
        (CHAT, "[[simulate: status=400]]", BadRequestError),
    ],
)
def test_refusals_are_the_sdks_own_classes(
    client: cohere.ClientV2, model: str, text: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        client.chat(model=model, messages=messages(text), request_options={"max_retries": 0})


def test_keys_and_faults_of_the_provider(stack: Stack, made: Requests) -> None:
    once: Any = {"max_retries": 0}
    with pytest.raises(UnauthorizedError):
        client_of(stack, "obs_" + "x" * 49, made).chat(
            model=CHAT, messages=messages("x"), request_options=once
        )
    with pytest.raises(ForbiddenError):
        client_of(stack, stack.key(scopes=("models.read",)), made).chat(
            model=CHAT, messages=messages("x"), request_options=once
        )
    with pytest.raises((InternalServerError, cohere.core.api_error.ApiError)) as failed:
        client_of(stack, stack.key(), made).chat(
            model=CHAT, messages=messages("[[simulate: status=500]]"), request_options=once
        )
    assert failed.value.status_code == 502
