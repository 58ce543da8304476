"""An operator's own price for a model, laid over the shipped lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metering.price import NEGOTIATED, Rate


@dataclass(frozen=True, slots=True)
class Override:
    """A negotiated or missing price: pico-USD per `Unit.per` units, from a moment on.

    `model` is the name as requested or the list's canonical id. What is not named here (units, context
    window, maximum output) stays as listed. A rate of 0 says that the unit is free. `account`: for this
    account only. `service_tier`: for what this tier serves; else it holds in every tier.
    """

    provider: str
    model: str
    effective_from_ms: int
    rates_pico: Mapping[str, int]
    context_window: int | None = None
    max_output_tokens: int | None = None
    source: str = "configuration"
    account: str | None = None
    service_tier: str | None = None

    @property
    def id(self) -> str:
        """The entry id that cost events keep."""
        tier = f"#{self.service_tier}" if self.service_tier else ""
        owner = f"@{self.account}" if self.account else ""
        return f"{NEGOTIATED}{self.provider}/{self.model}/{self.effective_from_ms}{tier}{owner}"

    @property
    def rank(self) -> tuple[bool, bool, int, str]:
        """What is laid over what: an account's own price last, then a tier's, then the later one."""
        return self.account is not None, self.service_tier is not None, self.effective_from_ms, self.model


def negotiated(laid: Sequence[Override], tier: str | None) -> dict[str, Rate]:
    """The rates that overrides in the order of their rank set in a tier; None: where no tier was asked for.

    An account's price for every tier is laid over everybody's price for one.
    """
    return {
        unit: Rate(((-1, pico),), override.id)
        for override in laid
        if override.service_tier is None or override.service_tier == tier
        for unit, pico in override.rates_pico.items()
    }
