"""Settings of how requests to one provider are made ours: a header with its key, or more than a header."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from gateway.settings.section import Section

HEADERS = ("bearer", "token", "api-key", "x-api-key", "x-goog-api-key", "none")
"""Kinds whose credential is a header with the provider's `api_key`."""
_SECRETS = ("access_key_id", "secret_access_key", "session_token")
_OF = {
    "sigv4": (
        "region",
        "service",
        "profile",
        *_SECRETS,
        *(f"{name}_env" for name in _SECRETS),
    ),
    "google": ("credentials_file",),
}
_AMAZON = re.compile(r"\.(amazonaws\.com|amazonaws\.com\.cn|api\.aws)$")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")


class AuthSettings(Section):
    """How requests to a provider are made ours."""

    kind: Literal["bearer", "token", "api-key", "x-api-key", "x-goog-api-key", "none", "sigv4", "google"] = (
        "bearer"
    )
    region: str | None = Field(
        None, pattern=rf"^{_REGION.pattern}$", description="null: the host's name says"
    )
    service: str = Field("bedrock", pattern=r"^[a-z0-9\-]+$", description="the service's name in signatures")
    profile: str | None = Field(None, description="a profile of Amazon's configuration files")
    access_key_id: SecretStr | None = None
    access_key_id_env: str | None = None
    secret_access_key: SecretStr | None = None
    secret_access_key_env: str | None = None
    session_token: SecretStr | None = None
    session_token_env: str | None = None
    credentials_file: Path | None = Field(None, description="the key file of a service account")

    @model_validator(mode="before")
    @classmethod
    def kind_is_told(cls, value: Any) -> Any:
        """A word is a kind; and fields that one kind alone has name it."""
        if isinstance(value, str):
            return {"kind": value}
        if isinstance(value, dict) and "kind" not in value:
            kinds = [kind for kind, names in _OF.items() if value.keys() & set(names)]
            if len(kinds) == 1:
                return {**value, "kind": kinds[0]}
        return value

    @model_validator(mode="after")
    def fields_are_of_this_kind(self) -> AuthSettings:
        for kind, names in _OF.items():
            strange = [name for name in names if getattr(self, name) != _DEFAULTS[name]]
            if strange and kind != self.kind:
                raise ValueError(f"{', '.join(strange)}: only for kind {kind}, and this one is {self.kind}")
        return self

    @model_validator(mode="after")
    def keys_are_whole(self) -> AuthSettings:
        named = {name for name in _SECRETS if getattr(self, name) or getattr(self, f"{name}_env")}
        if named and not {"access_key_id", "secret_access_key"} <= named:
            missing = sorted({"access_key_id", "secret_access_key"} - named)
            raise ValueError(
                f"{' and '.join(missing)} (or ..._env) is missing beside {', '.join(sorted(named))}"
            )
        if named and self.profile:
            raise ValueError(f"either profile ({self.profile!r}) or {', '.join(sorted(named))}, not both")
        return self

    @property
    def is_a_header(self) -> bool:
        """Whether the credential is the provider's `api_key` in a header."""
        return self.kind in HEADERS

    @property
    def has_keys(self) -> bool:
        """Whether Amazon's keys stand in the configuration, or the names of the variables that hold them."""
        return bool(self.access_key_id or self.access_key_id_env)

    def region_of(self, base_url: str) -> str | None:
        """The region to sign for: the one that is set, else the one that Amazon's host names."""
        if self.region is not None:
            return self.region
        host = urlsplit(base_url).hostname or ""
        if not _AMAZON.search(host):
            return None
        return next((label for label in host.split(".") if _REGION.fullmatch(label)), None)

    def secret(self, name: str) -> str | None:
        """One of `access_key_id`, `secret_access_key`, `session_token`: the literal one, else the
        environment's."""
        literal: SecretStr | None = getattr(self, name)
        if literal is not None:
            return literal.get_secret_value()
        variable: str | None = getattr(self, f"{name}_env")
        return os.environ.get(variable) if variable else None

    def unset(self) -> list[tuple[str, str]]:
        """(setting, environment variable) of each variable that is named and not set."""
        return [
            (f"{name}_env", getattr(self, f"{name}_env"))
            for name in _SECRETS
            if getattr(self, f"{name}_env") and self.secret(name) is None
        ]

    def document(self) -> dict[str, Any]:
        """As JSON types, secrets readable and read from the environment: for a child's pipe only."""
        found: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True)
        return found | {name: value for name in _SECRETS if (value := self.secret(name)) is not None}


_DEFAULTS = {name: field.default for name, field in AuthSettings.model_fields.items()}
