"""How what decides the price of a usage has been misread elsewhere: reported costs, tiers, models, regions.

Each trap has the thread that reported it: `litellm #n` and others are issues or pull requests of the project
named. Amounts are counts; what they cost is tested with the prices.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.metering.answers import START, chat, delta, gemini, message, read


@pytest.mark.parametrize(
    ("figures", "nano"),
    [
        # `cost` is charged; cost_details are its parts.
        ({"cost": 0.00183, "cost_details": {"upstream_inference_cost": 0.00183}}, 1_830_000),
        ({"cost": 0.0004970133333333333, "is_byok": False}, 497_013),
        # Above its upstream's bill: it includes more than inference.
        (
            {"cost": 0.0160614, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.0001764}},
            16_061_400,
        ),
        # The caller's own key pays the upstream.
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.0003253}}, 325_300),
        ({"cost": 0.00001, "cost_details": {"upstream_inference_cost": 0.0002}}, 210_000),
        ({"cost": 0.0001, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.0002}}, 100_000),
        ({"cost": 0, "cost_details": None}, 0),
        # Others' names for it.
        ({"cost": {"total_cost": 0.006, "request_cost": 0.005}}, 6_000_000),
        ({"cost_in_usd_ticks": 37_756_000}, 3_775_600),
        ({"estimated_cost": 8.775e-06}, 8_775),
        # Nothing, or nothing that is an amount.
        ({}, None),
        ({"cost": "0.1"}, None),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost_in_usd_ticks": 1.5}, None),
    ],
)
def test_a_reported_cost_is_the_bill_and_its_parts_are_not_added(
    figures: dict[str, Any], nano: int | None
) -> None:
    """preloop #224 (`cost` and its details both counted); opencode #454, #20937; litellm #16021, #38802."""
    answer = chat(prompt_tokens=1, completion_tokens=1, **figures)
    assert read("openai.chat", answer).reported_nano == nano
    response = {"usage": {"input_tokens": 1, "output_tokens": 1, **figures}}
    assert read("openai.responses", response).reported_nano == nano


@pytest.mark.parametrize(
    ("reader", "answer", "served"),
    [
        ("openai.chat", {**chat(prompt_tokens=1), "service_tier": "default"}, "default"),
        ("openai.chat", {**chat(prompt_tokens=1), "service_tier": "on_demand"}, "default"),
        ("openai.chat", {**chat(prompt_tokens=1), "service_tier": None}, None),
        ("openai.responses", {"usage": None, "service_tier": "priority"}, "priority"),
        ("anthropic.messages", message(input_tokens=1, service_tier="batch"), "batch"),
        ("anthropic.messages", message(input_tokens=1, service_tier="standard"), "default"),
        ("anthropic.messages", message(input_tokens=1, service_tier="standard", speed="fast"), "fast"),
        ("gemini.generate", gemini(promptTokenCount=1, serviceTier="standard"), "default"),
        ("gemini.generate", gemini(promptTokenCount=1, trafficType="ON_DEMAND_PRIORITY"), "priority"),
        ("gemini.generate", gemini(promptTokenCount=1, trafficType="PROVISIONED_THROUGHPUT"), "provisioned"),
        ("gemini.generate", gemini(promptTokenCount=1, trafficType="TRAFFIC_TYPE_UNSPECIFIED"), None),
        ("bedrock.converse", {"usage": {"inputTokens": 1}, "serviceTier": {"type": "flex"}}, "flex"),
        ("bedrock.converse", {"usage": None, "performanceConfig": {"latency": "optimized"}}, "optimized"),
    ],
)
def test_the_tier_is_the_one_that_served(reader: str, answer: dict[str, Any], served: str | None) -> None:
    """litellm #13810, #31837, #37046, #38802: billed at the tier that was asked for."""
    assert read(reader, answer).service_tier == served


def test_the_last_word_on_the_tier_counts() -> None:
    chunks = [
        {"service_tier": "auto", "choices": []},
        {"service_tier": "flex", "choices": []},
        {"choices": []},
    ]
    assert read("openai.chat", *chunks).service_tier == "flex"


def test_the_served_model_is_the_answers() -> None:
    """litellm #41344, #39294: a fallback at the provider was billed as the model that was asked for."""
    found = read("openai.chat", {"model": "a", "choices": []}, {"model": "b", "choices": []})
    assert found.model == "b"
    assert read("gemini.generate", {"modelVersion": "models/gemini-2.5-pro"}).model == "gemini-2.5-pro"
    assert read("anthropic.messages", START, delta(output_tokens=1)).model == "claude-sonnet-5"


def test_where_it_was_served_is_said_where_it_has_a_price() -> None:
    regions = [
        read("anthropic.messages", message(input_tokens=1, inference_geo=geo)).region
        for geo in ("us", "global", "not_available", None)
    ]
    assert regions == ["us", None, None, None]
