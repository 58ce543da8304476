"""The whole gateway over the configured alternative, `transport: aiohttp`."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from gateway.settings import ProviderSettings, Settings
from simulator.process import Simulator
from tests.stack import Stack, running_stack

DOLLAR = 10**9


@pytest.fixture(scope="module")
def alternative(simulator: Simulator) -> Iterator[Stack]:
    provider = ProviderSettings(
        base_url=simulator.base_url,
        api_key="sk-simulated",  # type: ignore[arg-type]
        prices="openai",
        transport="aiohttp",
    )
    with running_stack(Settings(providers={"simulated": provider})) as started:
        yield started


@pytest.mark.parametrize("stream", [False, True])
def test_answers_pass_and_cost_what_the_provider_bills(
    alternative: Stack, simulator: Simulator, stream: bool
) -> None:
    secret = alternative.key(limits={"month": DOLLAR})
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hello. [[simulate: tokens=23]]"}],
        "stream": stream,
    }
    answer = httpx2.post(
        f"{alternative.base_url}/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {secret}"},
        timeout=60,
    )
    assert answer.status_code == 200
    event = alternative.event(answer.headers["x-request-id"])
    assert event.status == "succeeded"
    assert event.cost_nano == simulator.bill(event.id)["requests"][0]["nano"]


def test_a_provider_that_breaks_off_is_told_apart(alternative: Stack) -> None:
    secret = alternative.key(limits={"month": DOLLAR})
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hello. [[simulate: tokens=40 close_after_chunks=20]]"}],
        "stream": True,
    }
    answer = httpx2.post(
        f"{alternative.base_url}/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {secret}"},
        timeout=60,
    )
    assert '"error"' in answer.text
    assert "[DONE]" not in answer.text
    assert alternative.event(answer.headers["x-request-id"]).status == "cut"
