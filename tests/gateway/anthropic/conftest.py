"""A gateway whose one provider is the simulated Anthropic, and the official client in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.settings import Settings
from simulator.process import Simulator
from tests.gateway.conftest import PATIENT
from tests.stack import Stack, running_stack

HAIKU = "claude-haiku-4-5"
SONNET = "claude-sonnet-5"
DOLLAR = 10**9

if TYPE_CHECKING:
    import anthropic

Client = Callable[..., "anthropic.Anthropic"]


def settings(root: str, **more: Any) -> Settings:
    """The known provider at another address, as an operator would write it."""
    provider = {"base_url": f"{root}/v1", "api_key": "sk-ant-simulated", "timeouts": PATIENT, **more}
    return Settings(providers={"anthropic": provider})  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    with running_stack(settings(simulator.root)) as started:
        yield started


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    """Makes the official client for a key; by default for a new one without limits."""
    import anthropic  # takes seconds, which only those who use it shall pay

    made: list[anthropic.Anthropic] = []

    def make(secret: str | None = None, **options: Any) -> anthropic.Anthropic:
        options = {"max_retries": 0, "timeout": 60.0, **options}
        root = stack.base_url.removesuffix("/v1")
        made.append(anthropic.Anthropic(base_url=root, api_key=secret or stack.key(), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def said(text: str, directive: str = "") -> list[dict[str, Any]]:
    """One message of a user, with a wish to the simulated provider."""
    return [{"role": "user", "content": f"{text} [[simulate: {directive}]]" if directive else text}]


def received(simulator: Simulator, request_id: str) -> tuple[dict[str, list[str]], Any]:
    """(headers, body) of the one call by which the provider was asked for a request."""
    headers: dict[str, list[str]] = {}
    found = [call for call in simulator.received() if ["x-client-request-id", request_id] in call["headers"]]
    (call,) = found
    for name, value in call["headers"]:
        headers.setdefault(name, []).append(value)
    body = call["body"]
    return headers, orjson.loads(body) if isinstance(body, str) else body
