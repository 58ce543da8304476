from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from genai_prices import Usage, calc_price

from simulator.models import MODELS

CASES = [(model.id, tier) for model in MODELS.values() for tier in model.tiers]


@pytest.mark.parametrize(("model", "tier"), CASES)
def test_prices_typed_by_hand_agree_with_a_published_list(model: str, tier: str) -> None:
    """The list is only asked here: the simulator itself must not share a source with what it checks."""
    rates = MODELS[model].tiers[tier]

    def published(usage: Usage) -> Fraction:
        price = calc_price(
            usage,
            model,
            provider_id="openai",
            genai_request_timestamp=datetime(2026, 11, 15, tzinfo=UTC),
            price_context={"service_tier": tier},
        )
        assert isinstance(price.total_price, Decimal)
        return Fraction(price.total_price) / 1_000_000

    assert rates.input == published(Usage(input_tokens=1_000_000))
    if MODELS[model].kind == "chat":
        assert rates.output == published(Usage(output_tokens=1_000_000))
        assert rates.cached == published(Usage(input_tokens=1_000_000, cache_read_tokens=1_000_000))


def test_a_tier_that_is_not_sold_is_served_as_default() -> None:
    assert MODELS["gpt-4o"].served_tier("flex") == "default"
    assert MODELS["gpt-5"].served_tier("flex") == "flex"
    assert MODELS["gpt-5"].served_tier("auto") == "default"
