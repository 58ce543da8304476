"""Every price we ship against genai-prices' own calculation, model by model.

The lists are generated from genai-prices, so this proves the way there and the arithmetic: conversion to
pico-dollars, subsets, tiers at their edge, variants, dates, daily windows, rounding. Where the two differ on
purpose, DISAGREEMENTS names the model and says why; an entry that no longer differs fails too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN
from typing import Any

import pytest
from genai_prices import types
from genai_prices.data_snapshot import get_snapshot
from genai_prices.units import _get_registry

from metering.pricebook import PriceBook
from metering.usage import Usage

TWELFTH = (
    "OpenRouter's price of a cache write is an hour's storage by the twelfth; ours is a whole pico-dollar."
)
NO_RATE = "The list has the model without a single rate: the oracle says $0, we say that it is not known."

DISAGREEMENTS = {
    **dict.fromkeys(
        [
            "cerebras/qwen-3-coder-480b",
            "github-copilot/gpt-3.5-turbo",
            "github-copilot/gpt-4.1",
            "github-copilot/gpt-4o",
            "github-copilot/gpt-4o-mini",
            "huggingface_together/ServiceNow-AI/Apriel-1.6-15b-Thinker",
            "huggingface_together/prism-ml/Ternary-Bonsai-27B-AWQ-4bit",
            "huggingface_together/prism-ml/Ternary-Bonsai-27B-gguf",
            "openrouter/gemini-2.5-pro-exp-03-25",
            "openrouter/google/gemini-flash-1.5-8b-exp",
            "openrouter/google/lyria-3-clip-preview",
            "openrouter/google/lyria-3-pro-preview",
            "openrouter/stealth/crouton-alpha",
        ],
        NO_RATE,
    ),
    **dict.fromkeys(
        [
            "openrouter/google/gemini-2.5-flash",
            "openrouter/google/gemini-2.5-flash-image",
            "openrouter/google/gemini-2.5-flash-lite",
            "openrouter/google/gemini-2.5-flash-lite:batch",
            "openrouter/google/gemini-2.5-flash:batch",
            "openrouter/google/gemini-3-flash-preview",
            "openrouter/google/gemini-3-flash-preview:batch",
            "openrouter/google/gemini-3.1-flash-lite",
            "openrouter/google/gemini-3.1-flash-lite:batch",
            "openrouter/google/gemini-3.5-flash",
            "openrouter/google/gemini-3.5-flash-lite",
            "openrouter/google/gemini-3.5-flash-lite:batch",
            "openrouter/google/gemini-3.5-flash:batch",
            "openrouter/google/gemini-3.6-flash",
            "openrouter/google/gemini-3.6-flash:batch",
            "openrouter/google/gemini-3.7-flash",
            "openrouter/google/gemini-3.7-flash:batch",
            "openrouter/google/gemini-3.8-flash",
            "openrouter/google/gemini-3.8-flash:batch",
            "openrouter/~google/gemini-flash-latest",
        ],
        TWELFTH,
    ),
}

# Our token units as the oracle's: it wants the sum of all cache writes beside the two kinds.
ORACLE_NAMES = {
    "input_tokens": "input_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_write_5m_input_tokens": "cache_write_5m_tokens",
    "cache_write_1h_input_tokens": "cache_write_1h_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "cache_read_audio_tokens": "cache_audio_read_tokens",
    "input_image_tokens": "input_image_tokens",
    "cache_read_image_tokens": "cache_image_read_tokens",
    "input_video_tokens": "input_video_tokens",
    "output_tokens": "output_tokens",
    "reasoning_output_tokens": "output_reasoning_tokens",
    "citation_output_tokens": "output_citation_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "output_image_tokens": "output_image_tokens",
    "output_video_tokens": "output_video_tokens",
}
# Counts that only models with a price for them can have, and which counts must then be told beside them.
MEDIA = {
    "input_audio_tokens": 331,
    "cache_audio_read_tokens": 57,
    "input_image_tokens": 217,
    "cache_image_read_tokens": 41,
    "input_video_tokens": 119,
    "output_audio_tokens": 211,
    "output_image_tokens": 173,
    "output_video_tokens": 67,
    "output_citation_tokens": 29,
}
CALLS = {
    "web_searches": 3,
    "storage_searches": 2,
    "social_searches": 1,
    "code_executions": 1,
    "rerank_searches": 7,
    "input_text_messages": 11,
    "input_characters": 4_321,
    "audio_seconds": 47,
    "input_audio_seconds": 47,
    "input_document_pages": 13,
    "input_annotated_document_pages": 5,
}
# The lists' context thresholds, each with the token count before and after it.
EDGES = {
    edge
    for start in (32_000, 100_000, 128_000, 199_999, 200_000, 256_000, 272_000, 512_000, 524_288)
    for edge in (start - 1, start, start + 1)
}
TODAY = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass
class Comparison:
    """What the run over all models found."""

    models: int = 0
    calls: int = 0
    edges: int = 0
    variants: int = 0
    differing: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    book, result = PriceBook.load(), Comparison()
    for provider in get_snapshot().providers:
        for model in provider.models:
            compare(book, provider, model, result)
    return result


def test_every_model_costs_what_the_oracle_says_but_for_the_listed(comparison: Comparison) -> None:
    unlisted = {name: why for name, why in comparison.differing.items() if name not in DISAGREEMENTS}
    assert not unlisted


def test_every_listed_disagreement_still_is_one(comparison: Comparison) -> None:
    assert not DISAGREEMENTS.keys() - comparison.differing.keys()


def test_the_comparison_covers_models_tiers_and_variants(comparison: Comparison) -> None:
    assert comparison.models == sum(len(provider.models) for provider in get_snapshot().providers) >= 2_330
    assert comparison.calls > 11_000
    assert comparison.edges > 1_500
    assert comparison.variants >= 229


def test_every_name_means_the_same_model() -> None:
    book = PriceBook.load()
    differing = {}
    providers = get_snapshot().providers
    for provider in providers:
        for name in names(provider):
            theirs = provider.find_model(name, all_providers=providers)
            ours = book._model(provider.id, name)
            if (ours.id if ours else None) != (theirs.id if theirs else None):
                differing[f"{provider.id}/{name}"] = (ours and ours.id, theirs and theirs.id)
    assert not differing


def names(provider: types.Provider) -> Iterator[str]:
    """Names worth trying: every literal in the rules, with a date or a suffix, and what no rule knows."""
    for model in provider.models:
        yield model.id
        for literal in literals(model.match):
            yield literal
            # The oracle tries every rule for every name; the variations are spared on the one huge list.
            if len(provider.models) < 200:
                yield from (literal.upper(), f"{literal}-20260131", f"x{literal}:free")
    yield from ("gpt-4o-mini", "claude-opus-4-5-20251101", "gpt-5-20250807", "no-such-model")


def literals(rule: Any) -> Iterator[str]:
    for part in getattr(rule, "or_", None) or getattr(rule, "and_", None) or ():
        yield from literals(part)
    for kind in ("equals", "starts_with", "ends_with", "contains"):
        if hasattr(rule, kind):
            yield getattr(rule, kind)


def compare(book: PriceBook, provider: types.Provider, model: types.ModelInfo, result: Comparison) -> None:
    """Put one model's every date, variant, tier edge and usage shape to both; note the first difference."""
    result.models += 1
    name = f"{provider.id}/{model.id}"
    # The id need not match the model's own rule; what is compared here is the price, not the name.
    listed = next(each for each in book._list(provider.id).models if each.id == model.id)  # type: ignore[union-attr]
    contexts: list[dict[str, str]] = [{}]
    contexts += [v.when for v in model.price_variants or () if v.when not in contexts]
    result.variants += len(contexts) - 1
    for at in moments(model):
        at_ms = round(at.timestamp() * 1000)
        price = book._price(provider.id, model.id, listed, [], at_ms)
        for context in contexts:
            prices = model.get_prices(at, context)
            tier = next(iter(context.items())) if context else None
            for counts in shapes(prices, full=at is TODAY):
                usage = ours(counts)
                # What the list calls charged once for a request, the oracle charges as often as it is told.
                told = {unit: min(n, 1) if unit in listed.terms.once else n for unit, n in counts.items()}
                theirs = model.calc_price(
                    types.Usage(**told), provider, genai_request_timestamp=at, price_context=context
                )
                expected = int((theirs.total_price * 10**9).to_integral_value(ROUND_HALF_EVEN))
                cost = price.cost_of(usage, service_tier=variant(tier)) if price else None
                result.calls += 1
                result.edges += counts.get("input_tokens", 0) in EDGES
                nano = cost.nano if cost else None
                if nano is not None and name in DISAGREEMENTS:
                    # What rounding a rate may do at most: half a pico-dollar for each cache write.
                    assert abs(nano - expected) <= counts.get("cache_write_tokens", 0) // 2_000 + 1
                if nano != expected and name not in result.differing:
                    result.differing[name] = f"{nano} for {expected}: {at} {context} {counts} {cost}"


def variant(condition: tuple[str, str] | None) -> str | None:
    if condition is None:
        return None
    key, value = condition
    return value if key in ("service_tier", "processing", "speed") else f"{key}={value}"


def moments(model: types.ModelInfo) -> list[datetime]:
    """Today, both sides of every start date, and both sides of every daily window's edges."""
    found = [TODAY]
    conditional = model.prices if isinstance(model.prices, list) else []
    for part in [*conditional, *(model.price_variants or ())]:
        if isinstance(part.constraint, types.StartDateConstraint):
            start = datetime.combine(part.constraint.start_date, time(), UTC)
            found += [start - timedelta(milliseconds=1), start]
        elif isinstance(part.constraint, types.TimeOfDateConstraint):
            for edge in (part.constraint.start_time, part.constraint.end_time):
                instant = datetime.combine(TODAY.date(), edge)
                found += [instant - timedelta(milliseconds=1), instant]
    return list(dict.fromkeys(found))


def shapes(prices: types.ModelPrice, *, full: bool) -> Iterator[dict[str, int]]:
    """Usages in the oracle's words: text, cached and reasoning, media, calls, and every tier's edge."""
    registry = _get_registry()
    known = {registry.unit_for_price_key(key).usage_key for key, each in prices.__dict__.items() if each}
    starts = {
        tier.start
        for each in prices.__dict__.values()
        if isinstance(each, types.TieredPrices)
        for tier in each.tiers
    }
    text = {"input_tokens": 2_357, "output_tokens": 571}
    subsets = {
        "cache_read_tokens": 613,
        "cache_write_tokens": 309,
        "cache_write_5m_tokens": 202,
        "cache_write_1h_tokens": 107,
        "output_reasoning_tokens": 89,
    }
    # Where only one side has a price (embeddings have no output), the other is no count of that model.
    for side in ("input", "output"):
        if f"{side}_tokens" not in known:
            del text[f"{side}_tokens"]
            subsets = {
                unit: count for unit, count in subsets.items() if ("output" in unit) != (side == "output")
            }
    yield text | subsets
    for start in starts:
        for edge in (start - 1, start, start + 1):
            yield text | {"input_tokens": edge} | subsets
    if not full:
        return
    yield text
    yield {unit: count * 97 for unit, count in (text | subsets).items()}
    media = {unit: count for unit, count in MEDIA.items() if unit in known}
    if media:
        larger = {unit: count * 5 for unit, count in text.items()}
        # A total must be told for whatever is counted inside it.
        yield larger | {"cache_read_tokens": 0} | media | (subsets if "cache_read_tokens" in known else {})
    calls = {unit: count for unit, count in CALLS.items() if unit in known}
    if calls:
        yield text | calls


def ours(counts: dict[str, int]) -> Usage:
    """The same usage in our words."""
    reverse = {theirs: our for our, theirs in ORACLE_NAMES.items()}
    return Usage.from_document(
        {reverse.get(unit, unit): count for unit, count in counts.items() if unit != "cache_write_tokens"}
    )
