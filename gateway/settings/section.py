"""Section: what all parts of the settings have in common, and the error of one that cannot be used."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigError(Exception):
    """The configuration cannot be used. `complaints` holds one sentence for each fault."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


class Section(BaseModel):
    """A part of the settings: unknown names are complaints, not silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)
