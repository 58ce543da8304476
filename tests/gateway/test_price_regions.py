"""Regions with a price of their own: what an address tells is held for, and billed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from gateway.settings import ProviderSettings, Settings
from gateway.settings.provider import RegionSettings
from simulator.process import Simulator
from tests.gateway.conftest import PATIENT
from tests.stack import Stack, running_stack

MODEL = "claude-haiku-4-5"


@pytest.mark.parametrize(
    ("address", "region"),
    [
        ("https://api.openai.com/v1", None),
        ("https://eu.api.openai.com/v1", "eu"),
        ("https://us-east-1.api.x.ai/v1", "us"),
        ("https://api.x.ai/v1", None),
        ("https://aiplatform.googleapis.com/v1/projects/p/locations/global", None),
        (
            "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/europe-west1",
            "europe-west1",
        ),
        ("http://127.0.0.1:8000/v1", None),
    ],
)
def test_an_address_tells_its_region(address: str, region: str | None) -> None:
    assert RegionSettings(base_url=address).priced_in == region
    assert RegionSettings(base_url=address, price_region="elsewhere").priced_in == "elsewhere"


def provider(simulator: Simulator, location: str, **more: Any) -> ProviderSettings:
    return ProviderSettings.model_validate(
        {
            "base_url": f"{simulator.root}/v1/projects/ours/locations/{location}",
            "auth": "bearer",
            "api_key": "a-token",
            "prices": "google",
            "paths": {"rawPredict": "/publishers/anthropic/models/{model}:rawPredict"},
            "timeouts": PATIENT.model_dump(),
            **more,
        }
    )


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    providers = {
        "global": provider(simulator, "global"),
        "regional": provider(simulator, "europe-west1"),
        "named": provider(simulator, "global", price_region="europe-west1"),
    }
    with running_stack(Settings(providers=providers)) as started:
        yield started


def test_a_region_s_price_is_held_for_and_billed(stack: Stack) -> None:
    costs, held = {}, {}
    secret = stack.key(limits={"month": 10**10})
    with anthropic.Anthropic(base_url=stack.base_url.removesuffix("/v1"), api_key=secret) as client:
        for name in ("global", "regional", "named"):
            raw = client.messages.with_raw_response.create(
                model=f"{name}/{MODEL}",
                max_tokens=100,
                messages=[{"role": "user", "content": "Hello. [[simulate: tokens=20]]"}],
            )
            event = stack.event(raw.headers["x-request-id"])
            assert event.cost_status == "priced"
            costs[name], held[name] = event.cost_nano or 0, event.held_nano or 0
    assert costs["global"] * 11 == costs["regional"] * 10 == costs["named"] * 10 > 0
    assert held["regional"] == held["named"] > held["global"]
