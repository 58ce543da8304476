"""Anthropic's models at Vertex AI: asked for there, and by requests of `/v1/messages`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import AnthropicVertex

from gateway.settings import Settings
from simulator.process import Simulator
from tests.gateway.conftest import PATIENT
from tests.stack import Stack, running_stack, wait_until

MODEL = "claude-haiku-4-5"
HI: Any = [{"role": "user", "content": "Hello. [[simulate: tokens=20]]"}]
PATHS = {
    "rawPredict": "/publishers/anthropic/models/{model}:rawPredict",
    "rawPredict.stream": "/publishers/anthropic/models/{model}:streamRawPredict",
    "rawPredict.count_tokens": "/publishers/anthropic/models/count-tokens:rawPredict",
}


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    provider = {
        "base_url": f"{simulator.root}/v1/projects/ours/locations/global",
        "auth": "bearer",
        "api_key": "a-token",
        "prices": "anthropic",
        "paths": PATHS,
        "timeouts": PATIENT,
    }
    with running_stack(Settings(providers={"vertex": provider})) as started:  # type: ignore[dict-item]
        yield started


@pytest.fixture(params=["vertex", "messages"])
def client(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of each kind, with our key."""
    secret, root = stack.key(limits={"month": 10**10}), stack.base_url.removesuffix("/v1")
    made: Any
    if request.param == "vertex":
        made = AnthropicVertex(
            project_id="p", region="global", base_url=f"{root}/v1", access_token=secret, max_retries=0
        )
    else:
        made = anthropic.Anthropic(base_url=root, api_key=secret, max_retries=0)
    with made:
        yield made


def settled(stack: Stack, simulator: Simulator, request_id: str) -> Any:
    wait_until(lambda: any(event.id == request_id for event in stack.events()))
    event = stack.event(request_id)
    (billed,) = simulator.bill(request_id)["requests"]
    assert (event.status, event.provider, event.cost_nano) == ("succeeded", "vertex", billed["nano"])
    return event


def test_a_message_goes_where_its_path_names_the_model(
    client: Any, stack: Stack, simulator: Simulator
) -> None:
    raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=100, messages=HI)
    assert raw.parse().usage.output_tokens == 20
    assert settled(stack, simulator, raw.headers["x-request-id"]).usage["output_tokens"] == 20


def test_a_streamed_message_too(client: Any, stack: Stack, simulator: Simulator) -> None:
    with client.messages.with_streaming_response.create(
        model=MODEL, max_tokens=100, messages=HI, stream=True
    ) as raw:
        request_id = raw.headers["x-request-id"]
        events = list(raw.parse())
    assert events[-1].type == "message_stop"
    assert settled(stack, simulator, request_id).stream


def test_tokens_are_counted_for_nothing(client: Any, stack: Stack) -> None:
    raw = client.messages.with_raw_response.count_tokens(model=MODEL, messages=HI)
    assert raw.parse().input_tokens > 0
    event = stack.event(raw.headers["x-request-id"])
    assert (event.cost_nano, event.cost_status) == (0, "free")


def test_a_refusal_is_anthropic_s(client: Any) -> None:
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="no-such-model", max_tokens=100, messages=HI)
