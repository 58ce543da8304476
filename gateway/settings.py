"""What an operator may set, read once from YAML, environment and flags into typed settings.

Order of precedence: flags, environment (`TOLLKEEPER_SERVER__PORT=8080`), the YAML file, defaults. Every
complaint names the file, the path inside it, the value found and what would be right, and all complaints
are told at once (`ConfigError`).
"""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from budgets.address import addresses_of

DEFAULT_CONFIG = Path("config.yaml")
ENV_PREFIX = "TOLLKEEPER_"
SECRET = re.compile(r"api_key$|redis\.url$")  # a complaint about these does not repeat what was found
MIB = 1024 * 1024
DATABASE = "tollkeeper.db"
"""The file in the data directory that holds keys, limits and events."""


class ConfigError(Exception):
    """The configuration cannot be used. `complaints` holds one sentence for each fault."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


class Section(BaseModel):
    """A part of the settings: unknown names are complaints, not silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class ServerSettings(Section):
    """Where the gateway listens and what it accepts."""

    host: str = "127.0.0.1"
    port: int = Field(8787, ge=0, le=65535)
    workers: int = Field(0, ge=0, le=256, description="0 means one per two cores, at least one")
    data_dir: Path = Path("data")
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(9787, ge=0, le=65535)
    body_bytes_max: int = Field(32 * MIB, ge=1024, le=512 * MIB)
    drain_s: float = Field(25.0, ge=0, le=600)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def database(self) -> Path:
        """The record of keys, limits and events."""
        return self.data_dir / DATABASE

    @property
    def worker_count(self) -> int:
        """The configured number, or one worker for each two cores."""
        return self.workers or max(1, (os.cpu_count() or 2) // 2)


class RedisSettings(Section):
    """The hot state. Without a URL, `serve` starts and supervises its own server in the data directory."""

    url: str | None = Field(
        None,
        description="redis://host:6379/0, rediss://... or unix:///path; several hosts with commas: of a "
        "primary and its replicas, or some of a cluster's",
    )
    appendfsync: Literal["everysec", "always"] = Field(
        "everysec", description="of the embedded server: what a power cut may lose (a second, or nothing)"
    )

    @field_validator("url")
    @classmethod
    def url_is_usable(cls, value: str | None) -> str | None:
        if value is not None:
            addresses_of(value)
        return value


class LedgerSettings(Section):
    """Leases and patience of the ledger; milliseconds."""

    lease_ms: int = Field(30_000, ge=200)
    heartbeat_ms: int = Field(10_000, ge=50)
    reap_every_ms: int = Field(5_000, ge=50)
    timeout_ms: int = Field(1_000, ge=10, description="patience with one round trip")
    close_patience_ms: int = Field(60_000, ge=1_000, description="how long a close is retried")
    nodes: int = Field(
        1, ge=1, le=10_000, description="gateway nodes on this Redis: an allowance is shared among them"
    )

    @model_validator(mode="after")
    def leases_outlive_heartbeats(self) -> LedgerSettings:
        if self.lease_ms < 2 * self.heartbeat_ms:
            raise ValueError(f"lease_ms must be at least twice heartbeat_ms ({self.heartbeat_ms})")
        return self


class RecorderSettings(Section):
    """How closed requests' events leave Redis."""

    high_water: int = Field(
        50_000, ge=100, description="events in Redis from which on, without a database, files take them"
    )
    claim_idle_ms: int = Field(
        60_000, ge=100, description="how long a recorder may hold events before another one takes them"
    )


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


class TargetSettings(Section):
    """One candidate of a route."""

    provider: str
    model: str


class RouteSettings(Section):
    """A model alias and the targets behind it, tried in order."""

    targets: list[TargetSettings] = Field(min_length=1, max_length=8)
    assumed_max_output: int | None = Field(None, ge=1, le=10_000_000)
    minimum_output: int | None = Field(None, ge=1, le=1_000_000)


class PriceOverride(Section):
    """A negotiated or missing price: dollars per million units, laid over the price book from a date on."""

    provider: str
    model: str
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


class SimulatorSettings(Section):
    """The simulated provider that `serve` starts when no provider is configured."""

    port: int = Field(8788, ge=0, le=65535)


def _environment_providers() -> dict[str, ProviderSettings]:
    """Providers that a bare environment already names: OPENAI_API_KEY (and OPENAI_BASE_URL)."""
    if not os.environ.get("OPENAI_API_KEY"):
        return {}
    base = os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    return {"openai": ProviderSettings(base_url=base, api_key_env="OPENAI_API_KEY")}


class Settings(BaseSettings):
    """Everything that can be configured; see config.example.yaml."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    server: ServerSettings = ServerSettings()
    redis: RedisSettings = RedisSettings()
    ledger: LedgerSettings = LedgerSettings()
    recorder: RecorderSettings = RecorderSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    providers: dict[str, ProviderSettings] = Field(default_factory=_environment_providers)
    routes: dict[str, RouteSettings] = {}
    prices: list[PriceOverride] = []

    @model_validator(mode="after")
    def routes_name_known_providers(self) -> Settings:
        known = ", ".join(sorted(self.providers)) or "none"
        faults = [
            f"routes.{alias}.targets[{n}].provider: {target.provider!r} is not configured; known: {known}"
            for alias, route in self.routes.items()
            for n, target in enumerate(route.targets)
            if self.providers and target.provider not in self.providers
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The YAML document arrives as init arguments (already merged with flags), so the environment
        # must be asked first; flags are laid over both in load_settings.
        return env_settings, init_settings

    @property
    def simulated(self) -> bool:
        """True when nothing real is configured, so that the simulated provider serves."""
        return not self.providers


def load_settings(path: Path | None = None, flags: dict[str, Any] | None = None) -> Settings:
    """Read settings from `path` (default: ./config.yaml where it exists) under environment and flags.

    `flags` maps dotted paths (`server.port`) to values; None values are not set.
    Raises ConfigError with every complaint at once.
    """
    if path is None and DEFAULT_CONFIG.is_file():
        path = DEFAULT_CONFIG
    document = _read_yaml(path) if path else {}
    label = str(path) if path else "settings"
    chosen = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        settings = Settings(**document)
    except ValidationError as error:
        raise ConfigError([_complaint(label, fault) for fault in error.errors()]) from None
    except SettingsError as error:
        raise ConfigError([f"environment: {error}"]) from None
    return _laid_over(settings, chosen) if chosen else settings


def settings_document(settings: Settings) -> dict[str, Any]:
    """The settings as JSON types, secrets readable and read from the environment: for a child's pipe only."""
    document: dict[str, Any] = settings.model_dump(mode="json", exclude_unset=True)
    document["providers"] = {
        name: provider.model_dump(mode="json", exclude_unset=True) | {"api_key": provider.secret}
        for name, provider in settings.providers.items()
    }
    return document


def settings_from_document(document: dict[str, Any]) -> Settings:
    """The same settings again, without asking this process' environment."""
    sections: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        if name in document:
            kind: Any = field.annotation
            sections[name] = TypeAdapter(kind).validate_python(document[name])
    return Settings.model_construct(**sections)


def _laid_over(settings: Settings, flags: dict[str, Any]) -> Settings:
    updates: dict[str, dict[str, Any]] = {}
    for dotted, value in flags.items():
        section, _, name = dotted.partition(".")
        updates.setdefault(section, {})[name] = value
    sections: dict[str, Any] = {}
    complaints: list[str] = []
    for section, values in updates.items():
        former = getattr(settings, section)
        try:
            sections[section] = type(former).model_validate(
                {**former.model_dump(exclude_unset=True), **values}
            )
        except ValidationError as error:
            complaints += [_complaint("command line", fault, section) for fault in error.errors()]
    if complaints:
        raise ConfigError(complaints)
    return settings.model_copy(update=sections)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not valid YAML: {' '.join(str(error).split())}"]) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError([f"{path}: expected a mapping of sections, found {type(document).__name__}"])
    faults = [
        f"{path}: {name!r}: expected the name of a section" for name in document if not isinstance(name, str)
    ]
    if faults:
        raise ConfigError(faults)
    return document


def _complaint(label: str, fault: Any, section: str = "") -> str:
    path = section
    for part in fault["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    variable = ENV_PREFIX + "__".join(map(str, fault["loc"])).upper()
    if not section and variable in {name.upper() for name in os.environ}:
        label = f"environment variable {variable}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"{label}: {path}: unknown name; see config.example.yaml for the known ones"
    value = fault.get("input")
    shown = "" if isinstance(value, (dict, Section)) or SECRET.search(path) else f" (found {value!r})"
    return f"{label}: {path or '(whole file)'}: {message}{shown}"
