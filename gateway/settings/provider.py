"""Settings of one provider: its addresses, its credentials, its prices, its patience, its habits."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.dialects.surfaces import operations
from gateway.settings.auth import AuthSettings
from gateway.settings.section import Section

_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[^?#]*)?")
_MODEL_PLACE = "{model}"
_PRICE_REGION = re.compile(
    r"//([a-z]{2})\.api\.openai\.com|//([a-z]{2})-[a-z]+-\d\.api\.x\.ai|/locations/([a-z0-9\-]+)"
)
"""Where an address tells a region that may have prices of its own: OpenAI's residency, xAI, Vertex AI."""
_PATH = re.compile(r"(\.\./)*/?[A-Za-z0-9._~{}:/\-]+(\?[A-Za-z0-9._~=&\-]*)?")
DEFAULT_PATHS = {
    "chat.completions": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "moderations": "/moderations",
}
"""Of a provider that speaks OpenAI's older formats, as most do."""


def _usable(value: str) -> str:
    if not _ADDRESS.fullmatch(value.replace(_MODEL_PLACE, "model")):
        raise ValueError("expected http(s)://host[:port][/path] without user, query or fragment")
    return value.rstrip("/")


class TimeoutSettings(Section):
    """Upstream patience in seconds, each counted separately."""

    connect_s: float = Field(5.0, gt=0)
    first_byte_s: float = Field(120.0, gt=0)
    idle_s: float = Field(60.0, gt=0)
    total_s: float = Field(900.0, gt=0)


class KeySettings(Section):
    """One of several credentials of a provider."""

    api_key: SecretStr | None = None
    api_key_env: str | None = Field(None, description="name of the environment variable with the key")
    weight: int = Field(1, ge=1, le=1_000, description="its share of the requests")

    @property
    def has_key(self) -> bool:
        """Whether a credential is set, or the name of the variable that holds it."""
        return self.api_key is not None or self.api_key_env is not None

    @property
    def secret(self) -> str | None:
        """The credential in force: the literal one, else the environment's."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        return os.environ.get(self.api_key_env) if self.api_key_env else None


class RegionSettings(KeySettings):
    """One of several addresses of a provider. A credential here is this region's own, instead of all
    others."""

    base_url: str
    price_region: str | None = Field(None, description="as the provider's")

    @field_validator("base_url")
    @classmethod
    def base_url_is_usable(cls, value: str) -> str:
        return _usable(value)

    @property
    def priced_in(self) -> str | None:
        """The region whose prices apply at this address; None where those of the list do."""
        if self.price_region is not None:
            return self.price_region
        found = _PRICE_REGION.search(self.base_url)
        region = next(filter(None, found.groups())) if found else "global"
        return None if region == "global" else region


class RetrySettings(Section):
    """Attempts that repeat one which surely cost nothing."""

    attempts: int = Field(1, ge=0, le=5, description="how often one target is asked again for one request")
    base_ms: int = Field(
        250, ge=1, le=60_000, description="the first wait is drawn from 0 to this; it doubles"
    )
    wait_max_s: float = Field(4.0, ge=0, le=60, description="no single wait is longer, Retry-After's neither")
    budget_percent: int = Field(
        20, ge=0, le=100, description="attempts beyond the first of each request, in % of requests"
    )


class CircuitSettings(Section):
    """When a target that fails is set aside, and for how long."""

    failures: int = Field(5, ge=1, le=1_000, description="at least so many in the last 10 to 20 seconds")
    percent: int = Field(50, ge=1, le=100, description="and at least this part of its attempts")
    open_s: float = Field(5.0, gt=0, le=300, description="at first; it doubles with each failed trial")
    open_max_s: float = Field(20.0, gt=0, le=300)


class ProviderSettings(Section):
    """One place that answers: its addresses, its credentials, and which price list applies.

    Where the provider is known by its name (or by `preset`), what is not set here is taken from what is
    known.
    """

    kind: Literal["openai"] = "openai"
    preset: str | None = Field(None, description="the known provider this is, where its name is another one")
    base_url: str = ""
    regions: list[RegionSettings] = Field([], max_length=16, description="several addresses, instead of one")
    api_key: SecretStr | None = None
    api_key_env: str | None = Field(None, description="name of the environment variable with the key")
    api_keys: list[KeySettings] = Field([], max_length=32, description="several credentials, instead of one")
    paths: dict[str, str] = Field(
        DEFAULT_PATHS,
        min_length=1,
        description="what it can be asked, each with its path below base_url; ../ leaves one of its folders",
    )
    auth: AuthSettings = Field(AuthSettings(), description="how requests are made ours")
    api_version: str | None = Field(None, pattern=r"^[0-9A-Za-z.\-]+$", description="Azure's api-version")
    prices: str | None = Field(
        None, description="provider id in the price book; default: this provider's name"
    )
    price_region: str | None = Field(
        None, description="the region its prices are for, where that has its own; default: base_url tells it"
    )
    models: Literal["priced"] | list[str] = Field(
        "priced", description="models offered without a route: all that the price book knows, or a list"
    )
    include_usage: bool = Field(True, description="the provider knows stream_options.include_usage")
    maximum_field: Literal["max_tokens", "max_completion_tokens", "auto"] = "auto"
    maximum_fields: list[Literal["max_tokens", "max_completion_tokens"]] = Field(
        ["max_tokens", "max_completion_tokens"], min_length=1, description="the fields that it obeys"
    )
    completion_only: list[str] = Field(
        [], description="beginnings of the names of models that obey max_completion_tokens alone"
    )
    dropped_fields: list[str] = Field(
        [], max_length=64, description="fields of a request that it refuses, and that are left out for it"
    )
    cancel_stops_billing: bool = True
    transport: Literal["native", "aiohttp"] = "native"
    timeouts: TimeoutSettings = TimeoutSettings()
    retries: RetrySettings = RetrySettings()
    circuit: CircuitSettings = CircuitSettings()
    max_connections: int = Field(8_192, ge=1)
    allow_private: bool | None = Field(
        None, description="may the host's name lead to private addresses; by default only if it is one itself"
    )
    ca_bundle: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None

    @field_validator("base_url")
    @classmethod
    def base_url_is_usable(cls, value: str) -> str:
        return _usable(value) if value else value

    @field_validator("paths")
    @classmethod
    def paths_are_of_known_operations(cls, value: dict[str, str]) -> dict[str, str]:
        known = operations()
        if strange := sorted(value.keys() - set(known)):
            raise ValueError(f"{', '.join(strange)}: not a surface; known: {', '.join(known)}")
        for name, path in value.items():
            if not _PATH.fullmatch(path):
                raise ValueError(f"{name}: expected a path below base_url, as /chat/completions")
        return value

    @field_validator("dropped_fields")
    @classmethod
    def what_admission_relies_on_stays(cls, value: list[str]) -> list[str]:
        kept = {"model", "messages", "input", "prompt", "stream", "max_tokens", "max_completion_tokens", "n"}
        if found := kept & set(value):
            raise ValueError(f"{', '.join(sorted(found))} cannot be left out of a request")
        return value

    @model_validator(mode="after")
    def there_is_an_address(self) -> ProviderSettings:
        if not self.base_url and not self.regions:
            raise ValueError(
                "base_url is missing; known providers have one, but some need to be told whose "
                "(AZURE_OPENAI_ENDPOINT, GOOGLE_CLOUD_PROJECT)"
            )
        return self

    @model_validator(mode="after")
    def keys_suit_how_requests_are_made_ours(self) -> ProviderSettings:
        if self.auth.is_a_header:
            return self
        named = [name for name in ("api_key", "api_key_env", "api_keys") if getattr(self, name)]
        named += [f"regions[{n}].api_key" for n, each in enumerate(self.regions) if each.has_key]
        if named:
            raise ValueError(f"{', '.join(named)}: not beside auth.kind {self.auth.kind}, which has its own")
        for url in [each.base_url for each in self.regions] or [self.base_url]:
            if self.auth.kind == "sigv4" and self.auth.region_of(url) is None:
                raise ValueError(f"auth.region: {url} does not name one; set it, as us-east-1")
        return self

    @property
    def secret(self) -> str | None:
        """The one credential in force: the literal one, else the environment's."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        return os.environ.get(self.api_key_env) if self.api_key_env else None

    def document(self) -> dict[str, Any]:
        """As JSON types, secrets readable and read from the environment: for a child's pipe only."""
        found: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True)
        found["api_key"] = self.secret
        if "auth" in found:
            found["auth"] = self.auth.document()
        for name, several in (("api_keys", self.api_keys), ("regions", self.regions)):
            if several:
                found[name] = [
                    each.model_dump(mode="json", exclude_unset=True) | {"api_key": each.secret}
                    for each in several
                ]
        return found
