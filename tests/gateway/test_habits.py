"""Providers' habits, from their presets to the bytes that they receive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest

from gateway.settings import Settings
from simulator.process import Simulator, start_simulator
from tests.stack import Stack, running_stack

CHAT = {"messages": [{"role": "user", "content": "Hello."}]}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with start_simulator() as started:
        yield started


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    common = {"base_url": simulator.base_url, "api_key": "sk-1", "prices": "openai"}
    classic = {
        "preset": "azure-deployments",
        "base_url": f"{simulator.root}/openai/deployments/{{model}}",
        "api_key": "az-1",
    }
    providers: dict[str, Any] = {
        "openai": common,
        "mistral": common,
        "groq": common,
        "azure": {**common, "api_key": "az-1"},
        "classic": classic,
    }
    with running_stack(Settings(providers=providers)) as started:
        yield started


def send(stack: Stack, simulator: Simulator, model: str, **fields: Any) -> dict[str, Any]:
    """What the provider received for one request."""
    simulator.reset()
    httpx2.post(
        f"{stack.base_url}/chat/completions",
        json={"model": model, **CHAT, **fields},
        headers={"Authorization": f"Bearer {stack.key()}"},
        timeout=60,
    )
    (received,) = simulator.received()
    return {**received, "body": orjson.loads(received["body"]), "headers": dict(received["headers"])}


@pytest.mark.parametrize(
    ("model", "given", "expected"),
    [
        # Mistral refuses max_completion_tokens, and obeys max_tokens.
        ("mistral/gpt-4o-mini", {"max_completion_tokens": 7}, {"max_tokens": 7}),
        ("mistral/gpt-4o-mini", {"max_tokens": 7}, {"max_tokens": 7}),
        ("mistral/gpt-4o-mini", {"max_tokens": 7, "max_completion_tokens": 9}, {"max_tokens": 7}),
        # OpenAI's reasoning models refuse max_tokens; its other models take either.
        ("openai/gpt-5-nano", {"max_tokens": 700}, {"max_completion_tokens": 700}),
        ("openai/gpt-4o-mini", {"max_tokens": 7}, {"max_tokens": 7}),
        ("openai/gpt-4o-mini", {"max_completion_tokens": 7}, {"max_completion_tokens": 7}),
    ],
)
def test_a_maximum_is_written_where_it_is_obeyed(
    stack: Stack, simulator: Simulator, model: str, given: dict[str, int], expected: dict[str, int]
) -> None:
    body = send(stack, simulator, model, **given)["body"]
    assert {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body} == expected


def test_what_a_provider_refuses_is_left_out_for_it_alone(stack: Stack, simulator: Simulator) -> None:
    fields = {"logit_bias": {"50256": -100}, "user": "u-1", "temperature": 0.5}
    assert set(send(stack, simulator, "groq/gpt-4o-mini", **fields)["body"]) >= {"user", "temperature"}
    assert "logit_bias" not in send(stack, simulator, "groq/gpt-4o-mini", **fields)["body"]
    mistral = send(stack, simulator, "mistral/gpt-4o-mini", **fields)["body"]
    assert {"logit_bias", "user"}.isdisjoint(mistral)
    assert mistral["temperature"] == 0.5
    assert "logit_bias" in send(stack, simulator, "openai/gpt-4o-mini", **fields)["body"]


def test_a_stream_is_asked_for_its_usage_only_where_that_is_known(stack: Stack, simulator: Simulator) -> None:
    asked = send(stack, simulator, "openai/gpt-4o-mini", stream=True)["body"]
    assert asked["stream_options"] == {"include_usage": True}
    wanted = {"stream": True, "stream_options": {"include_usage": True}}
    assert "stream_options" not in send(stack, simulator, "mistral/gpt-4o-mini", **wanted)["body"]


def test_azure_gets_its_own_header_and_its_classic_path(stack: Stack, simulator: Simulator) -> None:
    headers = {
        name.lower(): value for name, value in send(stack, simulator, "azure/gpt-4o")["headers"].items()
    }
    assert headers["api-key"].endswith("az-1")
    assert "authorization" not in headers
    classic = send(stack, simulator, "classic/my deployment")
    path = "/openai/deployments/my%20deployment/chat/completions"
    assert classic["path"] == path  # the simulator tells no query
    (endpoint,) = stack.gateway.parts.upstreams["classic"].endpoints
    assert endpoint.path("chat.completions", "my deployment").decode() == f"{path}?api-version=2024-10-21"
