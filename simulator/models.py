"""The models served, and what they cost: typed by hand, in dollars per million tokens, kept as fractions.

Prices: OpenAI's price list (https://platform.openai.com/docs/pricing) as of 2026-11. Limits and the tokens of
a 1024 x 1024 image: OpenAI's model pages and vision guide (4 tiles of 512 px, or 1,024 patches times the
model's factor). They are facts checked by eye, not read from any file that the gateway also reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per token, exact. Writing to a prompt cache costs something only where a dialect says so."""

    input: Fraction
    cached: Fraction
    output: Fraction
    written_5m: Fraction = Fraction(0)
    written_1h: Fraction = Fraction(0)


FREE = Rates(Fraction(0), Fraction(0), Fraction(0))


def per_million(fresh: str, cached: str, output: str) -> Rates:
    """Rates from dollars per million tokens, as a price list prints them."""
    return Rates(Fraction(fresh) / MILLION, Fraction(cached) / MILLION, Fraction(output) / MILLION)


@dataclass(frozen=True, slots=True)
class Model:
    """One model: its names, its bounds, and its rates for each service tier it is sold at."""

    id: str
    snapshot: str
    kind: str
    created: int
    context: int
    max_output: int
    tiers: dict[str, Rates]
    reasoning: bool = False
    image_low: int = 0
    image_high: int = 0
    dimensions: int = 0
    also: tuple[str, ...] = field(default=())
    above: int = 0
    long: dict[str, Rates] = field(default_factory=dict)
    """Rates, by tier, of the whole call when its prompt has more than `above` tokens."""

    def served_tier(self, asked: str) -> str:
        """The tier that a request for `asked` really gets; the first is the usual one."""
        return asked if asked in self.tiers else next(iter(self.tiers))

    def rates(self, tier: str, prompt_tokens: int) -> Rates:
        """What a call with such a prompt costs at a tier that the model is sold at."""
        return self.long[tier] if self.long and prompt_tokens > self.above else self.tiers[tier]


_ALL = (
    Model(
        id="gpt-4o",
        snapshot="gpt-4o-2024-08-06",
        also=("gpt-4o-2024-11-20",),
        kind="chat",
        created=1715367049,
        context=128_000,
        max_output=16_384,
        image_low=85,
        image_high=765,
        tiers={
            "default": per_million("2.50", "1.25", "10.00"),
            "priority": per_million("4.25", "2.125", "17.00"),
        },
    ),
    Model(
        id="gpt-4o-mini",
        snapshot="gpt-4o-mini-2024-07-18",
        kind="chat",
        created=1721172741,
        context=128_000,
        max_output=16_384,
        image_low=2_833,
        image_high=25_501,
        tiers={
            "default": per_million("0.15", "0.075", "0.60"),
            "priority": per_million("0.25", "0.125", "1.00"),
        },
    ),
    Model(
        id="gpt-4.1",
        snapshot="gpt-4.1-2025-04-14",
        kind="chat",
        created=1744316542,
        context=1_047_576,
        max_output=32_768,
        image_low=85,
        image_high=765,
        tiers={
            "default": per_million("2.00", "0.50", "8.00"),
            "priority": per_million("3.50", "0.875", "14.00"),
        },
    ),
    Model(
        id="gpt-4.1-mini",
        snapshot="gpt-4.1-mini-2025-04-14",
        kind="chat",
        created=1744318173,
        context=1_047_576,
        max_output=32_768,
        image_low=415,
        image_high=1_659,
        tiers={
            "default": per_million("0.40", "0.10", "1.60"),
            "priority": per_million("0.70", "0.175", "2.80"),
        },
    ),
    Model(
        id="gpt-4.1-nano",
        snapshot="gpt-4.1-nano-2025-04-14",
        kind="chat",
        created=1744321707,
        context=1_047_576,
        max_output=32_768,
        image_low=630,
        image_high=2_520,
        tiers={
            "default": per_million("0.10", "0.025", "0.40"),
            "priority": per_million("0.20", "0.05", "0.80"),
        },
    ),
    Model(
        id="gpt-5",
        snapshot="gpt-5-2025-08-07",
        kind="chat",
        created=1754425777,
        context=400_000,
        max_output=128_000,
        reasoning=True,
        image_low=70,
        image_high=630,
        tiers={
            "default": per_million("1.25", "0.125", "10.00"),
            "flex": per_million("0.625", "0.0625", "5.00"),
            "priority": per_million("2.50", "0.25", "20.00"),
        },
    ),
    Model(
        id="gpt-5-mini",
        snapshot="gpt-5-mini-2025-08-07",
        kind="chat",
        created=1754425928,
        context=400_000,
        max_output=128_000,
        reasoning=True,
        image_low=415,
        image_high=1_659,
        tiers={
            "default": per_million("0.25", "0.025", "2.00"),
            "flex": per_million("0.125", "0.0125", "1.00"),
            "priority": per_million("0.45", "0.045", "3.60"),
        },
    ),
    Model(
        id="gpt-5-nano",
        snapshot="gpt-5-nano-2025-08-07",
        kind="chat",
        created=1754426384,
        context=400_000,
        max_output=128_000,
        reasoning=True,
        image_low=630,
        image_high=2_520,
        tiers={
            "default": per_million("0.05", "0.005", "0.40"),
            "flex": per_million("0.025", "0.0025", "0.20"),
        },
    ),
    Model(
        id="o4-mini",
        snapshot="o4-mini-2025-04-16",
        kind="chat",
        created=1744225351,
        context=200_000,
        max_output=100_000,
        reasoning=True,
        image_low=441,
        image_high=1_762,
        tiers={
            "default": per_million("1.10", "0.275", "4.40"),
            "flex": per_million("0.55", "0.138", "2.20"),
            "priority": per_million("2.00", "0.50", "8.00"),
        },
    ),
    Model(
        id="text-embedding-3-small",
        snapshot="text-embedding-3-small",
        kind="embedding",
        created=1705948997,
        context=8_192,
        max_output=0,
        dimensions=1_536,
        tiers={"default": per_million("0.02", "0.02", "0")},
    ),
    Model(
        id="text-embedding-3-large",
        snapshot="text-embedding-3-large",
        kind="embedding",
        created=1705953180,
        context=8_192,
        max_output=0,
        dimensions=3_072,
        tiers={"default": per_million("0.13", "0.13", "0")},
    ),
    Model(
        id="gpt-3.5-turbo-instruct",
        snapshot="gpt-3.5-turbo-instruct:20230824-v2",
        kind="completion",
        created=1692901427,
        context=4_096,
        max_output=4_096,
        tiers={"default": per_million("1.50", "1.50", "2.00")},
    ),
    Model(
        id="davinci-002",
        snapshot="davinci-002",
        kind="completion",
        created=1692634301,
        context=16_384,
        max_output=16_384,
        tiers={"default": per_million("2.00", "2.00", "2.00")},
    ),
    Model(
        id="babbage-002",
        snapshot="babbage-002",
        kind="completion",
        created=1692634615,
        context=16_384,
        max_output=16_384,
        tiers={"default": per_million("0.40", "0.40", "0.40")},
    ),
    Model(
        id="omni-moderation-latest",
        snapshot="omni-moderation-2024-09-26",
        kind="moderation",
        created=1731689265,
        context=32_768,
        max_output=0,
        tiers={"default": FREE},
    ),
)

MODELS: dict[str, Model] = {model.id: model for model in _ALL}
KNOWN: dict[str, Model] = {name: model for model in _ALL for name in (model.id, model.snapshot, *model.also)}
"""Every name a model answers to."""
