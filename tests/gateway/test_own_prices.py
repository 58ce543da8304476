"""Prices on real requests: an account's, a tier's, everybody's, and what is counted where there is none."""

from __future__ import annotations

import httpx2
import pytest
from prometheus_client import REGISTRY

from gateway.settings import PriceOverride
from metering.event import DEFAULT_ACCOUNT
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack

MODEL = "gpt-4o-mini"


def price(millions: str, **to_whom: str) -> PriceOverride:
    rates = dict.fromkeys(("input_tokens", "cache_read_input_tokens", "output_tokens"), millions)
    return PriceOverride(provider="simulated", model=MODEL, usd_per_million=rates, **to_whom)  # type: ignore[arg-type]


def ask(stack: Stack, model: str) -> httpx2.Response:
    return httpx2.post(
        f"{stack.base_url}/chat/completions",
        json={"model": f"simulated/{model}", "messages": [{"role": "user", "content": "Hello there."}]},
        headers={"Authorization": f"Bearer {stack.key()}"},
        timeout=60,
    )


@pytest.mark.parametrize(
    ("prices", "pico"),
    [
        ([price("2"), price("3", account=DEFAULT_ACCOUNT)], 3_000_000),
        ([price("2"), price("3", account="somebody-else")], 2_000_000),
        ([price("2"), price("3", service_tier="flex")], 2_000_000),
    ],
    ids=["its own price", "another's price", "another tier's price"],
)
def test_a_request_costs_its_accounts_price(
    simulator: Simulator, prices: list[PriceOverride], pico: int
) -> None:
    with running_stack(simulated_settings(simulator, prices=prices)) as stack:
        answer = ask(stack, MODEL)
        assert answer.status_code == 200, answer.text
        event = stack.event(answer.headers["x-request-id"])
    used = answer.json()["usage"]
    assert event.cost_nano == (used["prompt_tokens"] + used["completion_tokens"]) * pico // 1_000
    assert event.cost_status == "override"
    assert {row["price_pico"] for row in event.breakdown} == {pico}


def unpriced() -> float:
    return REGISTRY.get_sample_value("tollkeeper_unpriced_requests_total", {"provider": "simulated"}) or 0


def test_what_has_no_price_costs_unknown_and_is_counted(simulator: Simulator) -> None:
    settings = simulated_settings(simulator)
    # A list that does not know the model.
    elsewhere = settings.providers["simulated"].model_copy(update={"prices": "cohere"})
    settings = settings.model_copy(update={"providers": {"simulated": elsewhere}})
    before = unpriced()
    with running_stack(settings) as stack:
        answer = ask(stack, MODEL)
        assert answer.status_code == 200, answer.text
        event = stack.event(answer.headers["x-request-id"])
    assert (event.cost_nano, event.cost_status, event.breakdown) == (None, "unpriced", [])
    assert event.usage_source == "provider"
    assert unpriced() == before + 1


def test_what_has_a_price_is_not_counted_as_without(stack: Stack) -> None:
    before = unpriced()
    answer = ask(stack, MODEL)
    assert stack.event(answer.headers["x-request-id"]).cost_nano
    assert unpriced() == before
