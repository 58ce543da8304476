"""Settings of one provider: its address, its credential, its prices, its patience."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from gateway.settings.section import Section


class TimeoutSettings(Section):
    """Upstream patience in seconds, each counted separately."""

    connect_s: float = Field(5.0, gt=0)
    first_byte_s: float = Field(120.0, gt=0)
    idle_s: float = Field(60.0, gt=0)
    total_s: float = Field(900.0, gt=0)


class ProviderSettings(Section):
    """One place that answers: its address, its credential, and which price list applies."""

    kind: Literal["openai"] = "openai"
    base_url: str
    api_key: SecretStr | None = None
    api_key_env: str | None = Field(None, description="name of the environment variable with the key")
    prices: str | None = Field(
        None, description="provider id in the price book; default: this provider's name"
    )
    models: Literal["priced"] | list[str] = Field(
        "priced", description="models offered without a route: all that the price book knows, or a list"
    )
    include_usage: bool = Field(True, description="the provider knows stream_options.include_usage")
    maximum_field: Literal["max_tokens", "max_completion_tokens", "auto"] = "auto"
    cancel_stops_billing: bool = True
    transport: Literal["native", "aiohttp"] = "native"
    timeouts: TimeoutSettings = TimeoutSettings()
    max_connections: int = Field(1_000, ge=1)
    allow_private: bool | None = Field(
        None, description="may the host's name lead to private addresses; by default only if it is one itself"
    )
    ca_bundle: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None

    @field_validator("base_url")
    @classmethod
    def base_url_is_usable(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[^?#]*)?", value):
            raise ValueError("expected http(s)://host[:port][/path] without user, query or fragment")
        return value.rstrip("/")

    @property
    def secret(self) -> str | None:
        """The credential in force: the literal one, else the environment's."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        return os.environ.get(self.api_key_env) if self.api_key_env else None
