"""Vectors of OpenAI's tiers, and of its thresholds within them."""

from __future__ import annotations

from tests.metering.golden.vector import IN, K272, OUT, READ, WRITE, T, Vector, scaled, tokens

TERRA = {IN: "0.000002", READ: "0.0000002", WRITE: "0.0000025", OUT: "0.000012"}
TERRA_LONG = {IN: "0.000004", READ: "0.0000004", WRITE: "0.000005", OUT: "0.000018"}
TERRA_TIERS = {
    tier: (scaled(TERRA, times), {K272: scaled(TERRA_LONG, times)})
    for tier, times in (("flex", "0.5"), ("priority", "2"))
}
CYBER = {IN: "0.0000125", READ: "0.00000125", WRITE: "0.000015625", OUT: "0.000075"}
CYBER_LONG = {IN: "0.000025", READ: "0.0000025", WRITE: "0.00003125", OUT: "0.0001125"}
ASTRA = {IN: "0.00001", READ: "0.000001", WRITE: "0.0000125", OUT: "0.00005"}
ASTRA_LONG = {IN: "0.00002", READ: "0.000002", WRITE: "0.000025", OUT: "0.000075"}
NANO = {IN: "0.00000005", OUT: "0.0000004"}

TIERS = {
    2: Vector(T + "service tier default", NANO, tokens(1_000, 500), "0.00025"),
    3: Vector(
        T + "service tier flex",
        NANO,
        tokens(1_000, 500),
        "0.000125",
        tiers={"flex": (scaled(NANO, "0.5"), {})},
        tier="flex",
    ),
    5: Vector(
        T + "gpt-5.6-terra caches",
        TERRA,
        tokens(100_000, read=50_000, write=40_000),
        "0.13",
        {K272: TERRA_LONG},
    ),
    6: Vector(
        T + "gpt-5.6-terra flex",
        TERRA,
        tokens(100_000, read=50_000, write=40_000),
        "0.065",
        {K272: TERRA_LONG},
        TERRA_TIERS,
        "flex",
    ),
    7: Vector(
        T + "gpt-5.6-terra priority",
        TERRA,
        tokens(100_000, read=50_000, write=40_000),
        "0.26",
        {K272: TERRA_LONG},
        TERRA_TIERS,
        "priority",
    ),
    8: Vector(
        T + "gpt-5.6-terra long",
        TERRA,
        tokens(300_000, read=50_000, write=40_000),
        "1.06",
        {K272: TERRA_LONG},
    ),
    9: Vector(
        T + "gpt-5.6-terra long flex",
        TERRA,
        tokens(300_000, read=50_000, write=40_000),
        "0.53",
        {K272: TERRA_LONG},
        TERRA_TIERS,
        "flex",
    ),
    10: Vector(
        T + "gpt-5.6 flex above 272k",
        {IN: "0.000004", OUT: "0.00002"},
        tokens(300_000, 1_000),
        "1.215",
        {K272: {IN: "0.000008", OUT: "0.00003"}},
        {"flex": ({IN: "0.000002", OUT: "0.00001"}, {K272: {IN: "0.000004", OUT: "0.000015"}})},
        "flex",
    ),
    11: Vector(
        T + "gpt-5.6-luna flex above 272k",
        {IN: "0.0000002", OUT: "0.0000012"},
        tokens(300_000, 1_000),
        "0.0609",
        {K272: {IN: "0.0000004", OUT: "0.0000018"}},
        {"flex": ({IN: "0.0000001", OUT: "0.0000006"}, {K272: {IN: "0.0000002", OUT: "0.0000009"}})},
        "flex",
    ),
    12: Vector(
        T + "gpt-5.6-cyber",
        CYBER,
        tokens(100_000, 1_000, read=50_000, write=40_000),
        "0.8875",  # 0.8125 + 0.075
        {K272: CYBER_LONG},
    ),
    13: Vector(
        T + "gpt-5.6-cyber long",
        CYBER,
        tokens(300_000, 1_000, read=50_000, write=40_000),
        "6.7375",  # 6.625 + 0.1125
        {K272: CYBER_LONG},
    ),
    14: Vector(
        T + "gpt-6-astra price sheet",
        ASTRA,
        tokens(100_000, read=50_000, write=40_000),
        "0.65",
        {K272: ASTRA_LONG},
    ),
    15: Vector(
        T + "gpt-6-astra long priority",
        ASTRA,
        tokens(300_000, 1_000, read=50_000, write=40_000),
        "10.75",  # 10.6 + 0.15; the default tier's input is half: 5.3
        {K272: ASTRA_LONG},
        {"priority": (scaled(ASTRA, "2"), {K272: scaled(ASTRA_LONG, "2")})},
        "priority",
    ),
    34: Vector(
        T + "gpt-5.6-sol ultrafast",
        scaled({IN: "0.00005", READ: "0.000005", WRITE: "0.0000625", OUT: "0.0003"}, "0.1"),
        tokens(1_000, 400, read=200, write=300),
        "0.16475",
        tiers={"ultrafast": ({IN: "0.00005", READ: "0.000005", WRITE: "0.0000625", OUT: "0.0003"}, {})},
        tier="ultrafast",
    ),
    41: Vector(
        "litellm #37046, gpt-4o-mini",
        {IN: "0.00000015", OUT: "0.0000006"},
        tokens(9, 2),
        "0.00000425",
        tiers={"priority": ({IN: "0.00000025", OUT: "0.000001"}, {})},
        tier="priority",
    ),
}
