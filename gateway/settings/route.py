"""Settings of a route: the targets behind a model's name."""

from __future__ import annotations

from pydantic import Field

from gateway.settings.section import Section


class TargetSettings(Section):
    """One candidate of a route."""

    provider: str
    model: str


class RouteSettings(Section):
    """A model alias and the targets behind it, tried in order."""

    targets: list[TargetSettings] = Field(min_length=1, max_length=8)
    assumed_max_output: int | None = Field(None, ge=1, le=10_000_000)
    minimum_output: int | None = Field(None, ge=1, le=1_000_000)
