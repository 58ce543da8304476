"""Settings of a price: what an operator lays over the price book."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import Field, field_validator

from gateway.settings.section import Section


class PriceOverride(Section):
    """A negotiated or missing price: dollars per million units, laid over the price book from a date on.

    `account`: for this account alone. `service_tier`: for what this tier serves; else it holds in every tier.
    """

    provider: str
    model: str
    account: str | None = Field(None, min_length=1)
    service_tier: str | None = Field(None, min_length=1)
    effective_from: date = date(1970, 1, 1)
    usd_per_million: dict[str, str] = Field(
        description="unit name -> dollars per million, as a quoted decimal"
    )
    context_window: int | None = Field(None, ge=1)
    max_output_tokens: int | None = Field(None, ge=1)
    source: str = "configuration"

    @field_validator("usd_per_million", mode="before")
    @classmethod
    def rates_are_exact(cls, value: Any) -> Any:
        """A YAML float has already lost its digits; whole numbers and quoted decimals have not."""
        if not isinstance(value, dict):
            return value
        for unit, rate in value.items():
            if isinstance(rate, float):
                raise ValueError(f'{unit}: write the rate as a quoted decimal, such as "{rate}"')
        return {unit: str(rate) for unit, rate in value.items()}
