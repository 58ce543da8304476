"""Target: one concrete place that can answer: a provider, a model there, and the price list that applies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """`provider`: its configured name. `model`: its name there. `prices`: its id in the price book."""

    provider: str
    model: str
    prices: str
