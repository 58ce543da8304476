"""Settings of a route: the targets behind a model's name, and the order in which they are tried."""

from __future__ import annotations

from pydantic import Field, field_validator

from gateway.settings.section import Section
from routing.order import By, Policy
from routing.outcome import FALLBACKS


class TargetSettings(Section):
    """One candidate of a route."""

    provider: str
    model: str
    priced_as: str | None = Field(
        None, description="the model's name in the price list, where the provider calls it differently"
    )
    weight: int = Field(1, ge=0, le=10_000)
    priority: int = Field(0, ge=0, le=100)


class RouteSettings(Section):
    """A model alias and the targets behind it."""

    targets: list[TargetSettings] = Field(min_length=1, max_length=8)
    order: Policy = "listed"
    sticky_by: By = "customer"
    fallback_on: list[str] = Field(
        list(FALLBACKS), description="outcomes of an attempt after which another target is asked"
    )
    deadline_s: float = Field(300.0, gt=0, le=3_600, description="no attempt begins later than this")
    assumed_max_output: int | None = Field(None, ge=1, le=10_000_000)
    minimum_output: int | None = Field(None, ge=1, le=1_000_000)

    @field_validator("fallback_on")
    @classmethod
    def outcomes_are_known(cls, value: list[str]) -> list[str]:
        if unknown := sorted(set(value) - set(FALLBACKS)):
            raise ValueError(f"{', '.join(unknown)}: no such outcome; known: {', '.join(FALLBACKS)}")
        return value
