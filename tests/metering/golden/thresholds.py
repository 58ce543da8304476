"""Vectors of other sellers' thresholds, and of tiers that have no price."""

from __future__ import annotations

from tests.metering.golden.vector import IN, K272, OUT, READ, WRITE, C, T, Vector, tokens

MANTLE = {IN: "0.0000055", READ: "0.00000055", OUT: "0.000033"}
MANTLE_LONG = {IN: "0.000011", READ: "0.0000011", OUT: "0.0000495"}
MANTLE_54 = {IN: "0.00000275", READ: "0.000000275", OUT: "0.0000165"}
MANTLE_54_LONG = {IN: "0.0000055", READ: "0.00000055", OUT: "0.00002475"}
SONNET = {IN: "0.000003", READ: "0.0000003", WRITE: "0.00000375", OUT: "0.000015"}
SONNET_LONG = {IN: "0.000006", READ: "0.0000006", WRITE: "0.0000075", OUT: "0.0000225"}
GROK = {IN: "0.000002", READ: "0.0000002", OUT: "0.0000025"}
GROK_LONG = {IN: "0.000004", READ: "0.0000004", OUT: "0.000005"}

THRESHOLDS = {
    4: Vector(
        T + "flex asked of a model without it",
        {IN: "0.00003", OUT: "0.00006"},
        tokens(1_000, 500),
        "0.06",
        tier="flex",
    ),
    16: Vector(
        T + "bedrock gpt-5.5, an AWS invoice",
        MANTLE,
        tokens(300_238, 1_000, read=100_000),
        "2.362118",
        {K272: MANTLE_LONG},
    ),
    17: Vector(
        T + "bedrock gpt-5.5 at its threshold",
        MANTLE,
        tokens(272_000, 1_000, read=100_000),
        "1.034",
        {K272: MANTLE_LONG},
    ),
    18: Vector(
        T + "bedrock gpt-5.4",
        MANTLE_54,
        tokens(300_238, 1_000, read=100_000),
        "1.181059",
        {K272: MANTLE_54_LONG},
    ),
    19: Vector(
        T + "vertex sonnet, priority without a priority price",
        SONNET,
        tokens(350_000, 1_000, read=200_000, write=100_000),
        "1.1925",
        {200_000: SONNET_LONG},
        tier="priority",
    ),
    24: Vector(
        C + "a model with tiered prices only (doubao)",
        {IN: "0.00000035", OUT: "0.00000175"},
        tokens(40_000, 500),
        "0.02975",
        {32_000: {IN: "0.0000007", OUT: "0.0000035"}},
    ),
    25: Vector(
        C + "a model with tiered prices only (qwen3.7-plus)",
        {IN: "0.0000004", OUT: "0.0000016"},
        tokens(12, 377),
        "0.000608",
        {256_000: {IN: "0.0000012", OUT: "0.0000048"}},
    ),
    33: Vector(
        T + "grok-4.20 at exactly 200k",
        GROK,
        tokens(200_000, 1_500, read=50_000, reasoning_output_tokens=1_500),
        "0.6275",  # cached and reasoning together 0.0275, and 150,000 x $4
        {199_999: GROK_LONG},
    ),
    36: Vector(
        T + "the highest threshold crossed",
        {IN: "0.000001"},
        tokens(150_000),
        "1.35",  # 150,000 x $9
        {90_000: {IN: "0.000005"}, 128_000: {IN: "0.000009"}},
    ),
    38: Vector(
        "litellm #14834, a user's arithmetic (wrong: 0.507816)",
        {IN: "0.000003", OUT: "0.000015"},
        tokens(162_732, 1_308),
        "1.015632",
        {127_999: {IN: "0.000006", OUT: "0.00003"}},
    ),
    39: Vector(
        "litellm #15338",
        {IN: "0.000003", OUT: "0.000015"},
        tokens(144_519, 45),
        "0.867789",
        {127_999: {IN: "0.000006"}},
    ),
    44: Vector(
        "litellm #6575 (wrong: 0.00675)",
        SONNET,
        tokens(1_000, write=1_000),
        "0.00375",
        {200_000: SONNET_LONG},
    ),
}
