"""What an operator may set, read once from YAML, environment and flags into typed settings.

Order of precedence: flags, environment (`TOLLKEEPER_SERVER__PORT=8080`), the YAML file, defaults. Every
complaint names the file, the path inside it, the value found and what would be right, and all complaints
are told at once (`ConfigError`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from gateway.settings.api import ApiSettings
from gateway.settings.attribution import AttributionSettings
from gateway.settings.database import DatabaseSettings
from gateway.settings.plans import CustomerSettings, FeatureSettings, PlanSettings, plan_faults
from gateway.settings.price import PriceOverride
from gateway.settings.provider import ProviderSettings
from gateway.settings.route import RouteSettings
from gateway.settings.section import ConfigError, Section
from gateway.settings.server import (
    LedgerSettings,
    RecorderSettings,
    RedisSettings,
    ServerSettings,
    SimulatorSettings,
)
from gateway.settings.signup import SignupSettings
from routing.presets import filled, from_environment, known, preset

if TYPE_CHECKING:
    from metering.database import Where

DEFAULT_CONFIG = Path("config.yaml")
ENV_PREFIX = "TOLLKEEPER_"
# A complaint about these does not repeat what was found.
SECRET = re.compile(r"api_key$|access_key_id$|access_key$|session_token$|(redis|database)\.url$")


def _environment_providers() -> dict[str, ProviderSettings]:
    """Providers that a bare environment already names: OPENAI_API_KEY (and OPENAI_BASE_URL), GROQ_API_KEY,
    ..."""
    return {name: ProviderSettings(**found) for name, found in from_environment().items()}


class Settings(BaseSettings):
    """Everything that can be configured; see config.example.yaml."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    server: ServerSettings = ServerSettings()
    redis: RedisSettings = RedisSettings()
    database: DatabaseSettings = DatabaseSettings()
    ledger: LedgerSettings = LedgerSettings()
    recorder: RecorderSettings = RecorderSettings()
    api: ApiSettings = ApiSettings()
    signup: SignupSettings = SignupSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    providers: dict[str, ProviderSettings] = Field(default_factory=_environment_providers)
    routes: dict[str, RouteSettings] = {}
    prices: list[PriceOverride] = []
    attribution: AttributionSettings = AttributionSettings()
    features: dict[str, FeatureSettings] = {}
    plans: dict[str, PlanSettings] = {}
    customers: CustomerSettings = CustomerSettings()

    @model_validator(mode="after")
    def plans_can_be_kept(self) -> Settings:
        faults = plan_faults(self.features, self.plans, self.customers)
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @field_validator("providers", mode="before")
    @classmethod
    def known_providers_are_filled(cls, value: Any) -> Any:
        """`groq: {}` is enough: what is known of a provider by its name stands where nothing was set."""
        if not isinstance(value, dict):
            return value
        faults = []
        for name, given in value.items():
            chosen = given.get("preset") if isinstance(given, dict) else None
            if chosen is not None and (not isinstance(chosen, str) or preset(chosen) is None):
                faults.append(f"{name}.preset: no provider {chosen!r} is known; known: {', '.join(known())}")
        if faults:
            raise ValueError("; ".join(faults))
        return {
            name: filled(str(name), given or {}) if given is None or isinstance(given, dict) else given
            for name, given in value.items()
        }

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
    def record(self) -> Where:
        """The database of keys, limits, plans, customers and events."""
        return self.database.at(self.server.data_dir)

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
    document["providers"] = {name: provider.document() for name, provider in settings.providers.items()}
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
