"""Google's models and what they cost, typed by hand in dollars per million tokens.

Prices, limits and the threshold of long prompts: https://ai.google.dev/gemini-api/docs/pricing as checked on
2026-11-10 (the page that `pricing_data/providers/google.json` names). Thoughts cost what output costs. Up to
Gemini 2.5 a request that searches pays once, from Gemini 3 on for each query.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from simulator.models import Model, per_million

_SEARCHED_REQUEST = Fraction(35, 1000)
_SEARCH = Fraction(14, 1000)


@dataclass(frozen=True, slots=True)
class Gemini:
    """What Google's models have beside a price.

    `usual_thoughts`: what it thinks when nobody asks, in tokens; `must_think`: thinking cannot be turned off;
    `signs`: calls of functions carry ids and signatures, which have to come back (Gemini 3).
    """

    model: Model
    name: str
    version: str
    usual_thoughts: int = 128
    must_think: bool = False
    signs: bool = False
    search: Fraction = _SEARCHED_REQUEST
    each_search: bool = False

    def fees(self, searches: int) -> Fraction:
        """Dollars for so many searches of one request."""
        return self.search * (searches if self.each_search else min(1, searches))


_ALL = (
    Gemini(
        Model(
            id="gemini-2.5-pro", snapshot="gemini-2.5-pro", kind="chat", created=1750118400,
            context=1_048_576, max_output=65_536, reasoning=True,
            tiers={"standard": per_million("1.25", "0.125", "10")},
            above=200_000, long={"standard": per_million("2.50", "0.25", "15")},
        ),
        name="Gemini 2.5 Pro", version="2.5", must_think=True,
    ),
    Gemini(
        Model(
            id="gemini-2.5-flash", snapshot="gemini-2.5-flash", kind="chat", created=1750118400,
            context=1_048_576, max_output=65_536, reasoning=True,
            tiers={"standard": per_million("0.30", "0.03", "2.50")},
        ),
        name="Gemini 2.5 Flash", version="001",
    ),
    Gemini(
        Model(
            id="gemini-2.5-flash-lite", snapshot="gemini-2.5-flash-lite", kind="chat", created=1753142400,
            context=1_048_576, max_output=65_536, reasoning=True,
            tiers={"standard": per_million("0.10", "0.01", "0.40")},
        ),
        name="Gemini 2.5 Flash-Lite", version="001", usual_thoughts=0,
    ),
    Gemini(
        Model(
            id="gemini-3-flash-preview", snapshot="gemini-3-flash-preview", kind="chat", created=1765929600,
            context=1_048_576, max_output=65_536, reasoning=True,
            tiers={"standard": per_million("0.50", "0.05", "3")},
        ),
        name="Gemini 3 Flash Preview", version="3-flash-preview-12-2025",
        signs=True, search=_SEARCH, each_search=True,
    ),
    Gemini(
        Model(
            id="gemini-3.1-pro-preview", snapshot="gemini-3.1-pro-preview", kind="chat", created=1771459200,
            context=1_048_576, max_output=65_536, reasoning=True,
            tiers={"standard": per_million("2", "0.20", "12")},
            above=200_000, long={"standard": per_million("4", "0.40", "18")},
        ),
        name="Gemini 3.1 Pro Preview", version="3.1-pro-preview-02-2026",
        must_think=True, signs=True, search=_SEARCH, each_search=True,
    ),
    Gemini(
        Model(
            id="gemini-embedding-001", snapshot="gemini-embedding-001", kind="embedding", created=1752451200,
            context=2_048, max_output=0, dimensions=3_072,
            tiers={"standard": per_million("0.15", "0.15", "0")},
        ),
        name="Gemini Embedding 001", version="001", usual_thoughts=0,
    ),
    Gemini(
        Model(
            id="gemini-embedding-2", snapshot="gemini-embedding-2", kind="embedding", created=1776211200,
            context=8_192, max_output=0, dimensions=3_072,
            tiers={"standard": per_million("0.20", "0.20", "0")},
        ),
        name="Gemini Embedding 2", version="2", usual_thoughts=0,
    ),
)  # fmt: skip

GEMINIS: dict[str, Gemini] = {each.model.id: each for each in _ALL}
KNOWN: dict[str, Model] = {name: each.model for name, each in GEMINIS.items()}
