"""Golden vectors: dollar amounts that others published for a usage at given rates, to the nano-dollar.

VECTORS are those of issue reports, provider invoices and other projects' tests, each with its source; the
rates are the ones written there, and the dollars were worked out by hand from them. EDGES are their context
thresholds, one token below, at, and one above. What stands below a threshold where the source names only the
rates above it is ours, and so are the sums, written out as integers of pico-dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from metering.bill import bill
from metering.money import half_even, usd_to_nano, usd_to_pico
from metering.plan import NO_TERMS
from metering.price import ModelPrice, Rate, RateSheet
from metering.pricebook import Override, PriceBook
from metering.pricelist import Entry, PriceList
from metering.units import UNITS
from metering.usage import Usage
from metering.usage.readers import READERS
from metering.usage.reading import Reading
from tests.metering.conftest import moment

IN, READ, WRITE, HOUR, OUT = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "output_tokens",
)
Rates = Mapping[str, str]


@dataclass(frozen=True)
class Vector:
    """Dollars for a usage. `above`: rates of the whole request above so many input tokens, in dollars."""

    source: str
    rates: Rates
    usage: Usage
    dollars: str
    above: Mapping[int, Rates] = field(default_factory=dict)
    tiers: Mapping[str, tuple[Rates, Mapping[int, Rates]]] = field(default_factory=dict)
    tier: str | None = None

    def price(self) -> ModelPrice:
        tiers = {name: sheet(rates, above) for name, (rates, above) in self.tiers.items()}
        return ModelPrice("p", "m", None, None, False, sheet(self.rates, self.above), tiers)


def sheet(rates: Rates, above: Mapping[int, Rates]) -> RateSheet:
    """Rates in dollars per unit as steps of pico-dollars."""
    return RateSheet(
        {
            unit: Rate(
                (
                    (-1, pico(unit, dollars)),
                    *((start, pico(unit, each[unit])) for start, each in above.items() if unit in each),
                ),
                f"p/m/initial#{unit}",
            )
            for unit, dollars in rates.items()
        },
        NO_TERMS,
    )


def pico(unit: str, dollars: str) -> int:
    return usd_to_pico(dollars) * UNITS[unit].per


def tokens(given: int, out: int = 0, read: int = 0, write: int = 0, hour: int = 0, **more: int) -> Usage:
    return Usage.from_document(
        {
            IN: given,
            OUT: out,
            READ: read,
            "cache_write_5m_input_tokens": write,
            HOUR: hour,
            **more,
        }
    )


def scaled(rates: Rates, times: str) -> Rates:
    return {unit: str(Decimal(dollars) * Decimal(times)) for unit, dollars in rates.items()}


K272 = 272_000
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
MANTLE = {IN: "0.0000055", READ: "0.00000055", OUT: "0.000033"}
MANTLE_LONG = {IN: "0.000011", READ: "0.0000011", OUT: "0.0000495"}
MANTLE_54 = {IN: "0.00000275", READ: "0.000000275", OUT: "0.0000165"}
MANTLE_54_LONG = {IN: "0.0000055", READ: "0.00000055", OUT: "0.00002475"}
SONNET = {IN: "0.000003", READ: "0.0000003", WRITE: "0.00000375", OUT: "0.000015"}
SONNET_LONG = {IN: "0.000006", READ: "0.0000006", WRITE: "0.0000075", OUT: "0.0000225"}
NANO = {IN: "0.00000005", OUT: "0.0000004"}
GROK = {IN: "0.000002", READ: "0.0000002", OUT: "0.0000025"}
GROK_LONG = {IN: "0.000004", READ: "0.0000004", OUT: "0.000005"}
FLASH = {IN: "0.0000003", READ: "0.00000003", OUT: "0.0000025"}

T, C = "litellm test_llm_cost_calc_utils ", "litellm test_cost_calculator "
VECTORS = {
    1: Vector(C + "gemini 2.5 implicit caching", FLASH, tokens(15_033, 17, read=14_316), "0.00068708"),
    2: Vector(T + "service tier default", NANO, tokens(1_000, 500), "0.00025"),
    3: Vector(
        T + "service tier flex",
        NANO,
        tokens(1_000, 500),
        "0.000125",
        tiers={"flex": (scaled(NANO, "0.5"), {})},
        tier="flex",
    ),
    4: Vector(
        T + "flex asked of a model without it",
        {IN: "0.00003", OUT: "0.00006"},
        tokens(1_000, 500),
        "0.06",
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
    20: Vector(
        T + "cache writes of both lives, as a zero total",
        {IN: "0.000003", WRITE: "0.00000375", HOUR: "0.000006", OUT: "0.000015"},
        tokens(300, write=100, hour=200),
        "0.001575",
    ),
    21: Vector(
        C + "azure ai claude",
        {IN: "0.000005", READ: "0.0000005", WRITE: "0.00000625", OUT: "0.000025"},
        tokens(1_000, 100, read=800, write=100),
        "0.004025",
    ),
    22: Vector(
        C + "azure gpt-5.6 cache writes",
        {IN: "0.0000002", WRITE: "0.00000025", OUT: "0.0000012"},
        tokens(2_000, 100, write=1_313),
        "0.00058565",
    ),
    23: Vector(
        C + "mai-code-1-flash",
        {IN: "0.00000075", READ: "0.000000075", OUT: "0.0000045"},
        tokens(1_000, 500, read=200),
        "0.002865",
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
    26: Vector(
        C + "transcription by tokens",
        {IN: "0.0000025", "input_audio_tokens": "0.0000025", OUT: "0.00001"},
        tokens(14, 45, input_audio_tokens=14),
        "0.000485",
    ),
    27: Vector(
        C + "transcription by seconds",
        {"audio_seconds": "0.0001"},
        Usage(extra=(("audio_seconds", 10),)),
        "0.001",
    ),
    28: Vector(
        C + "vertex chirp 3",
        {"audio_seconds": "0.00026667"},
        Usage(extra=(("audio_seconds", 18),)),
        "0.00480006",
    ),
    29: Vector(
        C + "azure audio output (wrong: 0.00592)",
        {OUT: "0.00001", "output_audio_tokens": "0.00008"},
        tokens(0, 592, output_audio_tokens=482),
        "0.03966",
    ),
    30: Vector(
        T + "image tokens",
        {IN: "0.000001", OUT: "0.000002", "output_image_tokens": "0.000005"},
        tokens(14, 1_720, output_image_tokens=1_120),
        "0.006814",
    ),
    31: Vector(
        T + "video tokens",
        {IN: "0.0000015", OUT: "0.000009", "output_video_tokens": "0.0000175"},
        tokens(20, 46_436, output_video_tokens=46_336),
        "0.81181",
    ),
    32: Vector(
        T + "gemini-2.5-flash, a real answer",
        FLASH,
        tokens(209, 3_996, read=100, reasoning_output_tokens=3_114),
        "0.0100257",
    ),
    33: Vector(
        T + "grok-4.20 at exactly 200k",
        GROK,
        tokens(200_000, 1_500, read=50_000, reasoning_output_tokens=1_500),
        "0.6275",  # cached and reasoning together 0.0275, and 150,000 x $4
        {199_999: GROK_LONG},
    ),
    34: Vector(
        T + "gpt-5.6-sol ultrafast",
        scaled({IN: "0.00005", READ: "0.000005", WRITE: "0.0000625", OUT: "0.0003"}, "0.1"),
        tokens(1_000, 400, read=200, write=300),
        "0.16475",
        tiers={"ultrafast": ({IN: "0.00005", READ: "0.000005", WRITE: "0.0000625", OUT: "0.0003"}, {})},
        tier="ultrafast",
    ),
    35: Vector(
        T + "cache writes backed out of the text",
        {IN: "0.000004", WRITE: "0.000005", OUT: "0.00002"},
        tokens(1_000, write=800),
        "0.0048",
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
    40: Vector(
        "litellm #15945, verified by its user",
        {IN: "0.00000125", READ: "0.000000125", OUT: "0.00001"},
        tokens(9_126, 3_197, read=4_864),
        "0.0379055",
    ),
    41: Vector(
        "litellm #37046, gpt-4o-mini",
        {IN: "0.00000015", OUT: "0.0000006"},
        tokens(9, 2),
        "0.00000425",
        tiers={"priority": ({IN: "0.00000025", OUT: "0.000001"}, {})},
        tier="priority",
    ),
    43: Vector(
        "litellm #33772",
        {IN: "0.000004", WRITE: "0.000005", OUT: "0.00002"},
        tokens(12_317, 5, write=12_314),
        "0.061682",
    ),
    44: Vector(
        "litellm #6575 (wrong: 0.00675)",
        SONNET,
        tokens(1_000, write=1_000),
        "0.00375",
        {200_000: SONNET_LONG},
    ),
}


@pytest.mark.parametrize("number", VECTORS)
def test_a_vector_costs_what_it_was_billed(number: int) -> None:
    vector = VECTORS[number]
    cost = vector.price().cost_of(vector.usage, service_tier=vector.tier)
    assert cost.nano == usd_to_nano(vector.dollars)
    assert sum(line.cost_nano for line in cost.lines) == cost.nano
    assert cost.unpriced_units == ()
    assert bool(cost.notes) == (number in (4, 19))  # the tier that was asked for has no price


def rows(number: int) -> dict[str, int]:
    vector = VECTORS[number]
    cost = vector.price().cost_of(vector.usage, service_tier=vector.tier)
    return {line.unit: line.cost_nano for line in cost.lines}


def test_parts_of_vectors_that_name_them() -> None:
    assert rows(32)["reasoning_output_tokens"] == usd_to_nano("0.007785")
    assert rows(33)[READ] + rows(33)["reasoning_output_tokens"] == usd_to_nano("0.0275")
    assert rows(15)[OUT] == usd_to_nano("0.15")
    assert rows(13)[OUT] == usd_to_nano("0.1125")


def test_37_off_peak_hours_across_midnight() -> None:
    """16:30 to 00:30 UTC: the start belongs to the window, the end does not."""
    half = {"id": "p/m/initial#default@16:30-00:30", "hours_utc": ["16:30", "00:30"], "rates": {IN: 500_000}}
    model = {
        "id": "m",
        "match": {"equals": "m"},
        "prices": [{"id": "p/m/initial#default", "rates": {IN: 1_000_000}}, half],
    }
    document = {
        "provider": "p",
        "name": "P",
        "source": "https://p",
        "checked": "2026-01-01",
        "models": [model],
    }
    found = PriceList(document).find("m")
    assert found is not None

    def rate(at: str) -> int:
        entry: Entry = next(each for each in reversed(found.prices) if each.active(moment(at)))
        return entry.rates[IN].at(0)

    times = (
        "16:29:59.999",
        "16:30",
        "16:30:00.001",
        "23:59:59.999",
        "00:00",
        "00:29:59.999",
        "00:30",
        "00:30:00.001",
    )
    expected = (1_000_000, 500_000, 500_000, 500_000, 500_000, 500_000, 1_000_000, 1_000_000)
    assert tuple(rate(f"2026-11-20T{at}") for at in times) == expected


def test_42_a_provider_reports_the_cost_of_a_model_that_no_list_has() -> None:
    """litellm #38802: DeepInfra's estimated_cost, one and a half times the standard tier's."""
    answer = {
        "model": "Qwen/Qwen3.6-35B",
        "service_tier": "priority",
        "usage": {"prompt_tokens": 11, "completion_tokens": 5, "estimated_cost": 8.775e-06},
    }
    reading = READERS["openai.chat"](answer)
    cost = bill(PriceBook.load(), "deepinfra", "Qwen/Qwen3.6-35B", reading, moment("2026-11-21"))
    assert (cost.nano, cost.status) == (8_775, "provider_reported")


def test_41_gpt_4o_priority() -> None:
    price = ModelPrice(
        "p",
        "m",
        None,
        None,
        False,
        sheet({IN: "0.0000025", OUT: "0.00001"}, {}),
        {"priority": sheet({IN: "0.00000425", OUT: "0.000017"}, {})},
    )
    assert price.cost_of(tokens(9, 1), service_tier="priority").nano == usd_to_nano("0.00005525")


# (vector, input tokens, pico-dollars): one below, at, one above each threshold. Cached, written and output
# tokens are the vector's own; what is left of the input is fresh.
EDGES: list[tuple[int, int, int]] = [
    # terra: 50,000 read, 40,000 written
    (8, 271_999, 181_999 * 2_000_000 + 50_000 * 200_000 + 40_000 * 2_500_000),
    (8, 272_000, 182_000 * 2_000_000 + 50_000 * 200_000 + 40_000 * 2_500_000),
    (8, 272_001, 182_001 * 4_000_000 + 50_000 * 400_000 + 40_000 * 5_000_000),
    (9, 271_999, 181_999 * 1_000_000 + 50_000 * 100_000 + 40_000 * 1_250_000),
    (9, 272_000, 182_000 * 1_000_000 + 50_000 * 100_000 + 40_000 * 1_250_000),
    (9, 272_001, 182_001 * 2_000_000 + 50_000 * 200_000 + 40_000 * 2_500_000),
    (7, 271_999, 181_999 * 4_000_000 + 50_000 * 400_000 + 40_000 * 5_000_000),
    (7, 272_000, 182_000 * 4_000_000 + 50_000 * 400_000 + 40_000 * 5_000_000),
    (7, 272_001, 182_001 * 8_000_000 + 50_000 * 800_000 + 40_000 * 10_000_000),
    # gpt-5.6 and luna, flex: 1,000 out
    (10, 271_999, 271_999 * 2_000_000 + 1_000 * 10_000_000),
    (10, 272_000, 272_000 * 2_000_000 + 1_000 * 10_000_000),
    (10, 272_001, 272_001 * 4_000_000 + 1_000 * 15_000_000),
    (11, 271_999, 271_999 * 100_000 + 1_000 * 600_000),
    (11, 272_000, 272_000 * 100_000 + 1_000 * 600_000),
    (11, 272_001, 272_001 * 200_000 + 1_000 * 900_000),
    # cyber, astra priority: 50,000 read, 40,000 written, 1,000 out
    (13, 271_999, 181_999 * 12_500_000 + 50_000 * 1_250_000 + 40_000 * 15_625_000 + 1_000 * 75_000_000),
    (13, 272_000, 182_000 * 12_500_000 + 50_000 * 1_250_000 + 40_000 * 15_625_000 + 1_000 * 75_000_000),
    (13, 272_001, 182_001 * 25_000_000 + 50_000 * 2_500_000 + 40_000 * 31_250_000 + 1_000 * 112_500_000),
    (14, 271_999, 181_999 * 10_000_000 + 50_000 * 1_000_000 + 40_000 * 12_500_000),
    (14, 272_000, 182_000 * 10_000_000 + 50_000 * 1_000_000 + 40_000 * 12_500_000),
    (14, 272_001, 182_001 * 20_000_000 + 50_000 * 2_000_000 + 40_000 * 25_000_000),
    (15, 271_999, 181_999 * 20_000_000 + 50_000 * 2_000_000 + 40_000 * 25_000_000 + 1_000 * 100_000_000),
    (15, 272_000, 182_000 * 20_000_000 + 50_000 * 2_000_000 + 40_000 * 25_000_000 + 1_000 * 100_000_000),
    (15, 272_001, 182_001 * 40_000_000 + 50_000 * 4_000_000 + 40_000 * 50_000_000 + 1_000 * 150_000_000),
    # the invoice: 100,000 read, 1,000 out
    (16, 271_999, 171_999 * 5_500_000 + 100_000 * 550_000 + 1_000 * 33_000_000),
    (16, 272_000, 172_000 * 5_500_000 + 100_000 * 550_000 + 1_000 * 33_000_000),
    (16, 272_001, 172_001 * 11_000_000 + 100_000 * 1_100_000 + 1_000 * 49_500_000),
    (18, 271_999, 171_999 * 2_750_000 + 100_000 * 275_000 + 1_000 * 16_500_000),
    (18, 272_000, 172_000 * 2_750_000 + 100_000 * 275_000 + 1_000 * 16_500_000),
    (18, 272_001, 172_001 * 5_500_000 + 100_000 * 550_000 + 1_000 * 24_750_000),
    # sonnet: here 200,000 read would be all of it, so vector 44's 1,000 written
    (44, 199_999, 198_999 * 3_000_000 + 1_000 * 3_750_000),
    (44, 200_000, 199_000 * 3_000_000 + 1_000 * 3_750_000),
    (44, 200_001, 199_001 * 6_000_000 + 1_000 * 7_500_000),
    (24, 31_999, 31_999 * 350_000 + 500 * 1_750_000),
    (24, 32_000, 32_000 * 350_000 + 500 * 1_750_000),
    (24, 32_001, 32_001 * 700_000 + 500 * 3_500_000),
    (25, 255_999, 255_999 * 400_000 + 377 * 1_600_000),
    (25, 256_000, 256_000 * 400_000 + 377 * 1_600_000),
    (25, 256_001, 256_001 * 1_200_000 + 377 * 4_800_000),
    # xAI: from the threshold on, not above it
    (33, 199_999, 149_999 * 2_000_000 + 50_000 * 200_000 + 1_500 * 2_500_000),
    (33, 200_000, 150_000 * 4_000_000 + 50_000 * 400_000 + 1_500 * 5_000_000),
    (33, 200_001, 150_001 * 4_000_000 + 50_000 * 400_000 + 1_500 * 5_000_000),
    (38, 127_999, 127_999 * 3_000_000 + 1_308 * 15_000_000),
    (38, 128_000, 128_000 * 6_000_000 + 1_308 * 30_000_000),
    (38, 128_001, 128_001 * 6_000_000 + 1_308 * 30_000_000),
    (39, 127_999, 127_999 * 3_000_000 + 45 * 15_000_000),
    (39, 128_000, 128_000 * 6_000_000 + 45 * 15_000_000),
    (39, 128_001, 128_001 * 6_000_000 + 45 * 15_000_000),
    # two thresholds
    (36, 89_999, 89_999 * 1_000_000),
    (36, 90_000, 90_000 * 1_000_000),
    (36, 90_001, 90_001 * 5_000_000),
    (36, 127_999, 127_999 * 5_000_000),
    (36, 128_000, 128_000 * 5_000_000),
    (36, 128_001, 128_001 * 9_000_000),
]


@pytest.mark.parametrize(("number", "given", "total_pico"), EDGES)
def test_a_vector_at_its_threshold_one_below_and_one_above(number: int, given: int, total_pico: int) -> None:
    vector = VECTORS[number]
    usage = Usage.from_document(vector.usage.document() | {IN: given})
    cost = vector.price().cost_of(usage, service_tier=vector.tier)
    assert cost.nano == half_even(total_pico, 1_000)


def test_every_vector_with_a_threshold_is_tried_at_it() -> None:
    """Those that differ only in what they use of the same rates share their edges."""
    same = {5: 8, 6: 9, 12: 13, 17: 16, 19: 44}
    with_threshold = {number for number, vector in VECTORS.items() if vector.above}
    assert {same.get(number, number) for number in with_threshold} == {number for number, _, _ in EDGES}
    assert len(VECTORS) + 2 == 44


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
