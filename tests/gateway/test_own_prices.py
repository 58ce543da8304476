"""Configured prices on real requests: of an account, of a tier, and of everybody."""

from __future__ import annotations

import httpx2
import pytest

from gateway.settings import PriceOverride
from metering.event import DEFAULT_ACCOUNT
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import running_stack

MODEL = "gpt-4o-mini"


def price(millions: str, **to_whom: str) -> PriceOverride:
    rates = dict.fromkeys(("input_tokens", "cache_read_input_tokens", "output_tokens"), millions)
    return PriceOverride(provider="simulated", model=MODEL, usd_per_million=rates, **to_whom)  # type: ignore[arg-type]


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
        secret = stack.key()
        answer = httpx2.post(
            f"{stack.base_url}/chat/completions",
            json={"model": f"simulated/{MODEL}", "messages": [{"role": "user", "content": "Hello there."}]},
            headers={"Authorization": f"Bearer {secret}"},
            timeout=15,
        )
        assert answer.status_code == 200, answer.text
        event = stack.event(answer.headers["x-request-id"])
    used = answer.json()["usage"]
    assert event.cost_nano == (used["prompt_tokens"] + used["completion_tokens"]) * pico // 1_000
    assert event.cost_status == "override"
    assert {row["price_pico"] for row in event.breakdown} == {pico}
