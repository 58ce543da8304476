"""Service tiers, context bands and ceilings of one model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.price import CeilingRates, ModelPrice, Rate, RateSheet
from metering.pricebook import PriceBook
from metering.usage import FIELDS, Usage
from tests.metering.conftest import moment

PriceOf = Callable[..., ModelPrice]


def sheet(**rates: int | list[tuple[int, int]]) -> RateSheet:
    steps = {
        unit: Rate(((-1, rate),) if isinstance(rate, int) else tuple(rate), f"p/m/initial#{unit}")
        for unit, rate in rates.items()
    }
    return RateSheet(steps)


def price(default: RateSheet, **variants: RateSheet) -> ModelPrice:
    return ModelPrice("p", "m", 1_000, 100, False, default, variants)


def test_the_tier_that_served_picks_the_rates(price_of: PriceOf) -> None:
    gpt5 = price_of("openai", "gpt-5")
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000)
    costs = {
        tier: gpt5.cost_of(usage, service_tier=tier).nano for tier in ("default", "flex", "priority", "batch")
    }
    assert costs == {
        "default": 2_250_000_000,
        "flex": 1_125_000_000,
        "priority": 4_500_000_000,
        "batch": 1_125_000_000,
    }
    assert gpt5.cost_of(usage).nano == costs["default"]


def test_a_tier_takes_from_the_default_what_it_does_not_price(price_of: PriceOf) -> None:
    """gpt-4o-mini's batch table has no cached price, so cached input keeps the standard one."""
    cost = price_of("openai", "gpt-4o-mini").cost_of(
        Usage(input_tokens=1_000, cache_read_input_tokens=400), service_tier="batch"
    )
    assert cost.nano == 600 * 75 + 400 * 75
    assert cost.entry_ids == (
        "openai/gpt-4o-mini/2026-10-14#processing=batch",
        "openai/gpt-4o-mini/initial#default",
    )


def test_an_unknown_tier_is_charged_at_default_noted_and_bounded_by_the_dearest(price_of: PriceOf) -> None:
    cost = price_of("openai", "gpt-5").cost_of(Usage(input_tokens=1_000), service_tier="turbo")
    assert (cost.nano, cost.upper_nano, cost.status) == (1_250_000, 2_500_000, "priced")
    assert cost.notes == ("service tier 'turbo' has no price of its own; the default rates were charged",)


def test_an_unknown_tier_of_a_model_without_tiers_has_no_bound() -> None:
    cost = price(sheet(input_tokens=1_000)).cost_of(Usage(input_tokens=1), service_tier="turbo")
    assert (cost.nano, cost.upper_nano) == (1, None)


@pytest.mark.parametrize("tier", [None, "default", "standard", "auto", "on_demand"])
def test_the_providers_names_for_the_default_tier_are_not_unknown(tier: str | None) -> None:
    cost = price(sheet(input_tokens=1_000)).cost_of(Usage(input_tokens=1), service_tier=tier)
    assert (cost.nano, cost.upper_nano, cost.notes) == (1, 1, ())


def test_long_context_prices_the_whole_request_from_one_token_over(price_of: PriceOf) -> None:
    gemini = price_of("google", "gemini-2.5-pro")
    at = gemini.cost_of(Usage(input_tokens=200_000, output_tokens=1_000))
    over = gemini.cost_of(Usage(input_tokens=200_001, output_tokens=1_000))
    assert at.nano == 200_000 * 1_250 + 1_000 * 10_000
    assert over.nano == 200_001 * 2_500 + 1_000 * 15_000


def test_cached_tokens_count_towards_the_length_of_the_context(price_of: PriceOf) -> None:
    cost = price_of("google", "gemini-2.5-pro").cost_of(
        Usage(input_tokens=200_001, cache_read_input_tokens=200_000)
    )
    assert cost.nano == 1 * 2_500 + 200_000 * 250


def test_a_unit_without_a_step_keeps_its_rate_above_the_others() -> None:
    cut = price(sheet(input_tokens=[(-1, 1_000), (10, 2_000), (20, 3_000)], output_tokens=5_000))
    costs = [cut.cost_of(Usage(input_tokens=n, output_tokens=1)).nano for n in (10, 11, 20, 21)]
    assert costs == [10 + 5, 22 + 5, 40 + 5, 63 + 5]


def test_claude_cache_writes_of_both_lives_in_one_call(price_of: PriceOf) -> None:
    """Sonnet 4.5: $3 input, $0.30 read, $3.75 and $6 writes, $15 output, $10 a thousand searches."""
    cost = price_of("anthropic", "claude-sonnet-4-5").cost_of(
        Usage(
            input_tokens=10_000,
            cache_read_input_tokens=5_000,
            cache_write_5m_input_tokens=2_000,
            cache_write_1h_input_tokens=1_000,
            output_tokens=500,
            extra=(("web_searches", 2),),
        )
    )
    assert cost.nano == 6_000_000 + 1_500_000 + 7_500_000 + 6_000_000 + 7_500_000 + 20_000_000


def test_audio_in_and_out_have_their_own_rates(price_of: PriceOf) -> None:
    """gpt-audio: $2.50 and $10 for text, $32 and $64 for audio."""
    cost = price_of("openai", "gpt-audio").cost_of(
        Usage(input_tokens=1_000, input_audio_tokens=900, output_tokens=500, output_audio_tokens=400)
    )
    assert cost.nano == 100 * 2_500 + 900 * 32_000 + 100 * 10_000 + 400 * 64_000


def test_audio_at_a_model_listed_without_audio_rates_is_unpriced(price_of: PriceOf) -> None:
    preview, chat = price_of("openai", "gpt-4o-audio-preview"), price_of("openai", "gpt-4o")
    assert preview.cost_of(Usage(input_tokens=9, input_audio_tokens=5)).status == "unpriced"
    assert not preview.prices("input_audio_tokens")
    assert not preview.prices("nonsense")
    assert all(
        chat.prices(unit) for unit in ("input_tokens", "input_image_tokens", "reasoning_output_tokens")
    )
    assert chat.prices("requests")


def test_the_ceiling_is_the_dearest_rate_over_bands_and_tiers() -> None:
    model = price(
        sheet(
            input_tokens=[(-1, 10), (100, 20)],
            cache_write_1h_input_tokens=35,
            input_audio_tokens=90,
            output_tokens=7,
            output_image_tokens=50,
            requests=3,
        ),
        priority=sheet(input_tokens=[(-1, 30), (100, 60)], output_tokens=9, requests=5),
    )
    assert model.ceiling_rates() == CeilingRates(90, 50, 5)
    assert model.ceiling_rates(media=False) == CeilingRates(60, 9, 5)
    assert model.ceiling_rates(media=False, input_tokens_max=100) == CeilingRates(35, 9, 5)
    assert model.ceiling_rates(media=False, input_tokens_max=101) == CeilingRates(60, 9, 5)
    assert model.ceiling_rates([], media=False) == CeilingRates(35, 7, 3)
    assert model.ceiling_rates({"priority"}, media=False) == CeilingRates(60, 9, 5)


def test_a_ceiling_without_a_rate_says_that_it_is_no_bound() -> None:
    assert price(sheet(input_tokens=4)).ceiling_rates() == CeilingRates(4, 0, 0, ("output_tokens",))
    assert price(sheet(audio_seconds=4)).ceiling_rates().unpriced == ("input_tokens", "output_tokens")


@given(start=st.integers(0, 86_400_000 * 7), wait=st.integers(0, 3_599_999), tokens=st.integers(1, 10**6))
def test_no_attempt_within_the_hour_costs_more_than_its_requests_ceiling(
    book: PriceBook, start: int, wait: int, tokens: int
) -> None:
    """Whatever window or date it starts in: DeepSeek changes its price up to four times a day."""
    at = moment("2025-06-07") + start
    for provider, model in (("deepseek", "deepseek-chat"), ("openai", "o3")):
        opened, tried = book.find(provider, model, at), book.find(provider, model, at + wait)
        assert opened is not None
        assert tried is not None
        nano = tried.cost_of(Usage(input_tokens=tokens)).nano
        assert nano is not None
        assert nano <= -(-tokens * opened.ceiling_rates(media=False).input_pico // 1_000)


@given(data=st.data())
@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-5.5"),
        ("openai", "gpt-realtime"),
        ("anthropic", "claude-sonnet-4-5"),
        ("anthropic", "claude-opus-4-8"),
        ("google", "gemini-2.5-pro"),
        ("x-ai", "grok-4.3"),
        ("perplexity", "sonar"),
    ],
)
def test_no_usage_costs_more_than_its_ceiling(
    price_of: PriceOf, data: st.DataObject, provider: str, model: str
) -> None:
    found = price_of(provider, model)
    parts = {name: data.draw(st.integers(0, 100_000), label=name) for name in FIELDS if name != "requests"}
    tier = data.draw(st.sampled_from([None, *found.variants]))
    usage = Usage.from_document(
        parts
        | {
            "input_tokens": sum(count for name, count in parts.items() if "output" not in name),
            "output_tokens": sum(count for name, count in parts.items() if "output" in name),
            "cache_read_input_tokens": parts["cache_read_input_tokens"] + parts["cache_read_audio_tokens"],
            "input_audio_tokens": parts["input_audio_tokens"] + parts["cache_read_audio_tokens"],
        }
    )
    # Where the answer tells the region, no request is sent anywhere; where the endpoint does, it is known.
    region = data.draw(st.sampled_from([None, "us", "eu"]))
    cost = found.cost_of(usage, service_tier=tier, region=region)
    sent_to = None if found.uplifts.told else region
    rates = found.ceiling_rates(input_tokens_max=usage.input_tokens, region=sent_to)
    most = (
        usage.input_tokens * rates.input_pico + usage.output_tokens * rates.output_pico + rates.request_pico
    )
    assert cost.notes == ()
    assert sum(line.quantity * line.price_pico for line in cost.lines) <= most
