"""A golden vector: the dollars for a usage at given rates, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from metering.money import usd_to_pico
from metering.plan import NO_TERMS
from metering.price import ModelPrice, Rate, RateSheet
from metering.units import UNITS
from metering.usage import Usage

IN, READ, WRITE, HOUR, OUT = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "output_tokens",
)
T, C = "litellm test_llm_cost_calc_utils ", "litellm test_cost_calculator "
"""How the sources of most vectors begin."""
K272 = 272_000
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
