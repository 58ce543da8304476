"""Anthropic's models and what they cost, typed by hand in dollars per million tokens.

Prices, limits and the thresholds of long prompts: https://www.anthropic.com/pricing#api as checked on
2026-11-10 (the page that `pricing_data/providers/anthropic.json` names). A cache write costs 1.25 times the
input for 5 minutes and 2 times for an hour; batches cost half; inference in the US costs 1.1 times where the
model is sold with a choice of region. Minimum cacheable prompts: Anthropic's page on prompt caching.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from simulator.models import MILLION, Model, Rates

SEARCH = Fraction(10, 1000)
"""Dollars for one search of the web."""
US_UPLIFT = Fraction(11, 10)
BATCH = Fraction(1, 2)
WRITTEN_5M = Fraction(5, 4)
WRITTEN_1H = Fraction(2)


@dataclass(frozen=True, slots=True)
class Claude:
    """What Anthropic's models have beside a price.

    `beta_context`: the context with the beta `context-1m`. `cache_from`: the least prompt that is cached.
    `thinks`: thinks although nobody asked, and shows it only when asked. `regional`: may be asked to run in
    the US. A model sold at the tier "fast" may be asked for with `speed`.
    """

    model: Model
    name: str
    released: str
    beta_context: int = 0
    cache_from: int = 1_024
    thinks: bool = False
    regional: bool = False


def _rates(fresh: str, cached: str, output: str, times: Fraction = Fraction(1)) -> Rates:
    base = Fraction(fresh) / MILLION * times
    return Rates(
        input=base,
        cached=Fraction(cached) / MILLION * times,
        output=Fraction(output) / MILLION * times,
        written_5m=base * WRITTEN_5M,
        written_1h=base * WRITTEN_1H,
    )


def _tiers(fresh: str, cached: str, output: str, *, batch: bool = True) -> dict[str, Rates]:
    tiers = {"standard": _rates(fresh, cached, output)}
    if batch:
        tiers["batch"] = _rates(fresh, cached, output, BATCH)
    return tiers


_ALL = (
    Claude(
        Model(
            id="claude-opus-4-1", snapshot="claude-opus-4-1-20250805", kind="chat", created=1754352000,
            context=200_000, max_output=32_000, reasoning=True,
            tiers=_tiers("15", "1.50", "75", batch=False),
        ),
        name="Claude Opus 4.1", released="2025-08-05T00:00:00Z",
    ),
    Claude(
        Model(
            id="claude-sonnet-4-5", snapshot="claude-sonnet-4-5-20250929", kind="chat", created=1759104000,
            context=200_000, max_output=64_000, reasoning=True,
            tiers=_tiers("3", "0.30", "15"),
            above=200_000, long=_tiers("6", "0.60", "22.50"),
        ),
        name="Claude Sonnet 4.5", released="2025-09-29T00:00:00Z", beta_context=1_000_000,
    ),
    Claude(
        Model(
            id="claude-haiku-4-5", snapshot="claude-haiku-4-5-20251001", kind="chat", created=1760486400,
            context=200_000, max_output=64_000, reasoning=True,
            tiers=_tiers("1", "0.10", "5"),
        ),
        name="Claude Haiku 4.5", released="2025-10-15T00:00:00Z", cache_from=4_096,
    ),
    Claude(
        Model(
            id="claude-opus-4-8", snapshot="claude-opus-4-8", kind="chat", created=1779840000,
            context=1_000_000, max_output=128_000, reasoning=True,
            tiers={**_tiers("5", "0.50", "25"), "fast": _rates("10", "1", "50")},
        ),
        name="Claude Opus 4.8", released="2026-05-27T00:00:00Z", regional=True,
    ),
    Claude(
        Model(
            id="claude-sonnet-5", snapshot="claude-sonnet-5", kind="chat", created=1782864000,
            context=1_000_000, max_output=128_000, reasoning=True,
            tiers=_tiers("2", "0.20", "10"),
        ),
        name="Claude Sonnet 5", released="2026-07-01T00:00:00Z", thinks=True, regional=True,
    ),
    Claude(
        Model(
            id="claude-haiku-5-5", snapshot="claude-haiku-5-5", kind="chat", created=1790812800,
            context=1_000_000, max_output=128_000, reasoning=True,
            tiers=_tiers("0.10", "0.01", "0.50"),
            above=100_000, long=_tiers("0.50", "0.05", "2.50"),
        ),
        name="Claude Haiku 5.5", released="2026-10-01T00:00:00Z", thinks=True, regional=True,
    ),
)  # fmt: skip

CLAUDES: dict[str, Claude] = {name: each for each in _ALL for name in (each.model.id, each.model.snapshot)}
"""Every name that a model answers to."""
KNOWN: dict[str, Model] = {name: each.model for name, each in CLAUDES.items()}


def uplifted(rates: Rates) -> Rates:
    """What a call costs that ran in the US because the request said so."""
    return Rates(
        input=rates.input * US_UPLIFT,
        cached=rates.cached * US_UPLIFT,
        output=rates.output * US_UPLIFT,
        written_5m=rates.written_5m * US_UPLIFT,
        written_1h=rates.written_1h * US_UPLIFT,
    )
