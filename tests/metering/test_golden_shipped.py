"""Amounts worked out by hand at the shipped prices: thresholds, tiers, hours, media, dates, overrides."""

from __future__ import annotations

from typing import Any

import pytest

from metering.bill import bill
from metering.pricebook import Override, PriceBook
from metering.usage import Usage
from metering.usage.reading import Reading
from tests.metering.conftest import moment
from tests.metering.golden.vector import IN, OUT, tokens


def shipped(provider: str, model: str, usage: Usage, at: str = "2026-11-21", **how: Any) -> int | None:
    """Nano-dollars at the shipped prices."""
    price = PriceBook.load().find(provider, model, moment(at))
    assert price is not None
    return price.cost_of(usage, **how).nano


def test_gpt_4o_cached() -> None:
    """$2.50 in, $1.25 cached, $10 out per million."""
    assert (
        shipped("openai", "gpt-4o", tokens(1_000, 100, read=600)) == 400 * 2_500 + 600 * 1_250 + 100 * 10_000
    )


def test_claude_cache_writes_of_both_lives_in_one_call() -> None:
    """Sonnet 4.5: $3, $0.30 read, $3.75 and $6 writes, $15 out."""
    usage = tokens(1_000, 10, read=100, write=200, hour=300)
    expected = 400 * 3_000 + 100 * 300 + 200 * 3_750 + 300 * 6_000 + 10 * 15_000
    assert shipped("anthropic", "claude-sonnet-4-5", usage) == expected


@pytest.mark.parametrize(
    ("given", "rate_in", "rate_out"),
    [(199_999, 1_250, 10_000), (200_000, 1_250, 10_000), (200_001, 2_500, 15_000)],
)
def test_gemini_around_200_000(given: int, rate_in: int, rate_out: int) -> None:
    assert shipped("google", "gemini-2.5-pro", tokens(given, 7)) == given * rate_in + 7 * rate_out


@pytest.mark.parametrize(
    ("given", "rate_in", "rate_out"),
    [(199_999, 1_250, 2_500), (200_000, 2_500, 5_000), (200_001, 2_500, 5_000)],
)
def test_grok_from_200_000(given: int, rate_in: int, rate_out: int) -> None:
    assert shipped("x-ai", "grok-4.3", tokens(given, 7)) == given * rate_in + 7 * rate_out


@pytest.mark.parametrize(
    ("tier", "rate_in", "rate_out"),
    [("default", 1_250, 10_000), ("flex", 625, 5_000), ("priority", 2_500, 20_000), ("batch", 625, 5_000)],
)
def test_gpt_5_in_each_tier(tier: str, rate_in: int, rate_out: int) -> None:
    assert shipped("openai", "gpt-5", tokens(1_000, 10), service_tier=tier) == 1_000 * rate_in + 10 * rate_out


@pytest.mark.parametrize(
    ("at", "rate"),
    [
        ("2025-08-01T16:29", 270),
        ("2025-08-01T16:29:59.999", 270),
        ("2025-08-01T16:30", 135),
        ("2025-08-01T16:31", 135),
        ("2025-08-01T23:59:59.999", 135),
        ("2025-08-02T00:00", 135),
        ("2025-08-02T00:29:59.999", 135),
        ("2025-08-02T00:30", 270),
    ],
)
def test_deepseek_around_its_window_and_across_midnight(at: str, rate: int) -> None:
    assert shipped("deepseek", "deepseek-chat", tokens(1_000), at) == 1_000 * rate


def test_audio_in_and_out() -> None:
    """gpt-audio: $2.50 and $10 for text, $32 and $64 for audio."""
    usage = tokens(1_000, 592, input_audio_tokens=900, output_audio_tokens=482)
    expected = 100 * 2_500 + 900 * 32_000 + 110 * 10_000 + 482 * 64_000
    assert shipped("openai", "gpt-audio", usage) == expected


def test_an_image_in_tokens_and_an_image_by_size_and_quality() -> None:
    """chatgpt-image-latest: $5 text and $8 images in, $10 text and $32 images out. By the piece: our own."""
    usage = tokens(350, 1_156, input_image_tokens=300, output_image_tokens=1_056)
    expected = 50 * 5_000 + 300 * 8_000 + 100 * 10_000 + 1_056 * 32_000
    assert shipped("openai", "chatgpt-image-latest", usage) == expected
    rates = {
        "output_images": 30 * 10**9,
        "output_images:1024x1024": 40 * 10**9,
        "output_images:1024x1024:hd": 80 * 10**9,
    }
    book = PriceBook.load([Override("openai", "dall-e-3", 0, rates)])
    price = book.find("openai", "dall-e-3", moment("2026-11-21"))
    assert price is not None
    costs = {
        unit: price.cost_of(Usage(extra=((unit, 2),))).nano
        for unit in (
            "output_images:1024x1024:hd",
            "output_images:1024x1024:standard",
            "output_images:1024x1024",
            "output_images:512x512:hd",
            "output_images",
        )
    }
    assert list(costs.values()) == [160_000_000, 80_000_000, 80_000_000, 60_000_000, 60_000_000]
    assert price.ceiling_of("output_images") == 80 * 10**9
    assert price.ceiling_of("output_images:1024x1792:hd") == 30 * 10**9


@pytest.mark.parametrize(
    ("at", "rate"),
    [("2025-06-09T23:59:59.999", 10_000), ("2025-06-10", 2_000), ("2025-06-10T00:00:00.001", 2_000)],
)
def test_a_price_changes_at_its_instant(at: str, rate: int) -> None:
    assert shipped("openai", "o3", tokens(1_000), at) == 1_000 * rate


def test_an_unknown_model_is_unpriced() -> None:
    cost = bill(PriceBook.load(), "openai", "gpt-99", Reading(tokens(10, 1)), moment("2026-11-21"))
    assert (cost.nano, cost.status, cost.upper_nano) == (None, "unpriced", None)
    assert cost.unpriced_units == (IN, OUT)


def test_an_account_override() -> None:
    book = PriceBook.load([Override("openai", "gpt-4o", 0, {IN: 2_000_000}, account="acme")])
    reading = Reading(tokens(1_000, 10))
    costs = [
        bill(book, "openai", "gpt-4o", reading, moment("2026-11-21"), account=account).nano
        for account in (None, "acme")
    ]
    assert costs == [1_000 * 2_500 + 10 * 10_000, 1_000 * 2_000 + 10 * 10_000]
