"""Ceilings of requests in Anthropic's format, against figures it publishes and traffic that was recorded."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.ceiling import BASE_TOKENS, ceiling, input_bound
from gateway.dialects import SURFACES, Exchange
from metering.pricebook import ModelPrice, PriceBook
from tests.gateway.replay import needs_recordings, recorded

NOW = 1_795_000_000_000
BIGGEST_IMAGE = 4_784
"""Patches of an image at the highest resolution; https://platform.claude.com/docs/en/build-with-claude/vision"""


def price(model: str = "claude-haiku-4-5") -> ModelPrice:
    found = PriceBook.load().find("anthropic", model, NOW)
    assert found is not None
    return found


def read(surface: str = "messages", **fields: Any) -> Exchange:
    body = {"model": "claude-haiku-4-5", "max_tokens": 1_000, "messages": [{"role": "user", "content": "Hi"}]}
    return SURFACES[surface].call({**body, **fields})


def nano(call: Exchange, model: str = "claude-haiku-4-5") -> int:
    bound = ceiling(call, body_of(call), price(model))
    assert bound is not None
    assert bound.full == bound.at(call.maximum or 0)
    return bound.full


def body_of(call: Exchange) -> bytes:
    return call.forwarded(call.model, maximum=None, ask_usage=False)


def test_input_is_held_at_what_an_hour_in_the_cache_costs_and_output_at_its_maximum() -> None:
    call = read()
    # $1 a million in, twice that to keep it for an hour, $5 out.
    assert nano(call) == input_bound(call, body_of(call)) * 2_000 + 1_000 * 5_000


def test_fast_answers_and_a_region_are_held_at_their_price() -> None:
    rates = price("claude-opus-4-8").ceiling_rates(media=False)
    # Fast: $10 in and $50 out a million; an hour's write twice the input; 1.1 times that in the US.
    assert (rates.input_pico, rates.output_pico) == (10 * 2 * 1_100_000, 50 * 1_100_000)


def test_long_prompts_are_held_at_the_price_above_the_threshold() -> None:
    short, long = read(), read(system="x" * 250_000)
    assert nano(short, "claude-sonnet-4-5") == input_bound(short, body_of(short)) * 6_000 + 1_000 * 15_000
    assert nano(long, "claude-sonnet-4-5") == input_bound(long, body_of(long)) * 12_000 + 1_000 * 22_500


def test_an_image_is_held_as_the_biggest_there_can_be() -> None:
    data = "A" * 1_000_000
    for source in (
        {"type": "base64", "media_type": "image/png", "data": data},
        {"type": "url", "url": "https://x"},
    ):
        call = read(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])
        assert BIGGEST_IMAGE < input_bound(call, body_of(call)) < BIGGEST_IMAGE + 1_000


def test_pages_are_held_as_a_full_context_and_more_with_the_beta_for_more() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}
    call = read(messages=[{"role": "user", "content": [pdf]}])
    assert nano(call) == 200_000 * 2_000 + 1_000 * 5_000
    call.passed = [(b"anthropic-beta", b"other,context-1m-2025-08-07")]
    assert nano(call, "claude-sonnet-4-5") == 1_000_000 * 12_000 + 1_000 * 22_500


def test_tools_bring_a_prompt_of_their_own() -> None:
    tools = [{"name": "get", "input_schema": {"type": "object"}}]
    call = read(tools=tools)
    assert input_bound(call, body_of(call)) > len(body_of(call)) + BASE_TOKENS
    provided = read(tools=[*tools, {"type": "text_editor_20250728", "name": "edit"}])
    assert input_bound(provided, body_of(provided)) > input_bound(call, body_of(call)) + 700


@needs_recordings
def test_the_bound_of_the_input_held_for_every_recorded_request_that_has_one() -> None:
    checked, beyond = 0, 0
    for exchange in recorded(lambda each: each["provider"] == "anthropic"):
        call = SURFACES["messages"].call(exchange["request"])
        bound = input_bound(call, body_of(call))
        reading = _reading(exchange)
        if call.unbounded is None:
            checked += 1
            assert reading <= bound, exchange["id"]
        else:
            beyond += reading > bound
    assert checked >= 60
    # What was said to have no bound really went beyond it: tools that ran at the provider.
    assert beyond >= 10


def _reading(exchange: dict[str, Any]) -> int:
    """Input tokens that were reported, added up by hand."""
    usage: dict[str, Any] = exchange.get("response", {}).get("usage") or {}
    for told in SURFACES["messages"].dialect.events(exchange.get("stream", "").encode()):
        document = SURFACES["messages"].dialect.document(told.split(b"data:", 1)[1]) or {}
        usage = {**usage, **(document.get("message") or document).get("usage", {})}
    return sum(
        usage.get(name) or 0
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-4-8", "claude-sonnet-5"])
def test_no_listed_rate_of_text_is_above_what_is_held(model: str) -> None:
    found = price(model)
    rates = found.ceiling_rates(media=False)
    for sheet in (found.default, *found.variants.values()):
        for band in sheet.bands():
            for name, (pico, _) in band.rates.items():
                if name.endswith("input_tokens"):
                    assert pico <= rates.input_pico, name
                elif name.endswith("output_tokens"):
                    assert pico <= rates.output_pico, name
