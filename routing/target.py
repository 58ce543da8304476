"""Target: one concrete place that can answer: a provider, a model there, and the price list that applies."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """`provider`: its configured name. `model`: its name there. `prices`: its list in the price book.

    `priced_as`: the model's name in that list, where it is called differently at the provider (a deployment).
    `weight`: its share where targets are drawn by weight; 0 only takes over from others. `priority`: smaller
    ones are tried first. `listed`: a configured or offered model, not one that a client made up.
    """

    provider: str
    model: str
    prices: str
    priced_as: str = ""
    weight: int = 1
    priority: int = 0
    listed: bool = field(default=True, compare=False)
    name: str = field(default="", init=False, compare=False)
    """`provider/model`, or `provider/*` for all that are not listed: what its health is kept under."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider}/{self.model if self.listed else '*'}")
        if not self.priced_as:
            object.__setattr__(self, "priced_as", self.model)
