"""Models on Bedrock and what they cost there: typed by hand, in dollars per million tokens.

Prices: https://aws.amazon.com/bedrock/pricing/ as of 2026-11. A profile of one geography (`us.`) costs
a tenth more than the global one. Writing to a cache costs what Anthropic takes for it; with Amazon's own
models it is input like any other. The shortest prefix that is cached, and what each model can do:
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from simulator.errors import Refusal
from simulator.models import MILLION, Model, Rates


@dataclass(frozen=True, slots=True)
class Nature:
    """What a family of models is like on Bedrock.

    `thinks` says when it does: `asked` for only, or `always`; `shows` whether the thoughts are shown.
    `caches_from` is the shortest prefix that is cached, 0 where there is no cache.
    """

    thinks: str = "never"
    shows: bool = True
    caches_from: int = 0
    anthropic: bool = False


CLAUDE = Nature(thinks="asked", caches_from=1_024, anthropic=True)
CLAUDE_SMALL = Nature(thinks="asked", caches_from=4_096, anthropic=True)
NOVA = Nature(caches_from=1_024)
NOVA_2 = Nature(thinks="asked", shows=False, caches_from=1_024)
OPEN_WEIGHTS = Nature(thinks="always")


def _rates(fresh: str, cached: str, output: str, written_5m: str, written_1h: str) -> Rates:
    prices = (Fraction(price) / MILLION for price in (fresh, cached, output, written_5m, written_1h))
    return Rates(*prices)


def _model(name: str, context: int, maximum: int, rates: Rates, *also: str, image: int = 0) -> Model:
    return Model(
        id=name,
        snapshot=name,
        also=also,
        kind="chat",
        created=0,
        context=context,
        max_output=maximum,
        image_high=image,
        tiers={"default": rates},
    )


_SONNET = _rates("3.00", "0.30", "15.00", "3.75", "6.00")
_SONNET_US = _rates("3.30", "0.33", "16.50", "4.125", "6.60")
_HAIKU = _rates("1.00", "0.10", "5.00", "1.25", "2.00")
_HAIKU_US = _rates("1.10", "0.11", "5.50", "1.375", "2.20")
_MICRO = _rates("0.035", "0.00875", "0.14", "0.035", "0.035")
_NOVA_2 = _rates("0.30", "0.075", "2.50", "0.30", "0.30")
_NOVA_2_US = _rates("0.33", "0.0825", "2.75", "0.33", "0.33")
_OSS = _rates("0.15", "0.15", "0.60", "0.15", "0.15")

_ALL: tuple[tuple[Nature, Model], ...] = (
    (
        CLAUDE,
        _model("global.anthropic.claude-sonnet-4-5-20250929-v1:0", 200_000, 64_000, _SONNET, image=1_568),
    ),
    (
        CLAUDE,
        _model("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 200_000, 64_000, _SONNET_US, image=1_568),
    ),
    (
        CLAUDE_SMALL,
        _model("global.anthropic.claude-haiku-4-5-20251001-v1:0", 200_000, 64_000, _HAIKU, image=1_568),
    ),
    (
        CLAUDE_SMALL,
        _model("us.anthropic.claude-haiku-4-5-20251001-v1:0", 200_000, 64_000, _HAIKU_US, image=1_568),
    ),
    (NOVA, _model("amazon.nova-micro-v1:0", 128_000, 10_000, _MICRO, "us.amazon.nova-micro-v1:0")),
    (NOVA_2, _model("global.amazon.nova-2-lite-v1:0", 1_000_000, 64_000, _NOVA_2, image=1_300)),
    (NOVA_2, _model("us.amazon.nova-2-lite-v1:0", 1_000_000, 64_000, _NOVA_2_US, image=1_300)),
    (OPEN_WEIGHTS, _model("openai.gpt-oss-120b-1:0", 128_000, 128_000, _OSS)),
)

KNOWN: dict[str, Model] = {name: model for _, model in _ALL for name in (model.id, *model.also)}
_NATURES: dict[str, Nature] = {model.id: nature for nature, model in _ALL}


def read_model(name: str) -> Model:
    """The model of an id, or of the ARN of a profile or a model. Raises Refusal when there is none."""
    model = KNOWN.get(name.rpartition("/")[2] if name.startswith("arn:") else name)
    if model is None:
        raise Refusal(400, "The provided model identifier is invalid.")
    return model


def nature_of(model: Model) -> Nature:
    """What the model is like."""
    return _NATURES[model.id]
