"""What an operator may set: a file for each part, and `whole` that joins and loads them."""

from gateway.settings.api import ApiSettings
from gateway.settings.auth import AuthSettings
from gateway.settings.database import DATABASE, DatabaseSettings
from gateway.settings.plans import CustomerSettings, FeatureSettings, PlanLimitSettings, PlanSettings
from gateway.settings.price import PriceOverride
from gateway.settings.provider import (
    CircuitSettings,
    KeySettings,
    ProviderSettings,
    RegionSettings,
    RetrySettings,
    TimeoutSettings,
)
from gateway.settings.route import RouteSettings, TargetSettings
from gateway.settings.section import ConfigError, Section
from gateway.settings.server import LedgerSettings, RecorderSettings, ServerSettings
from gateway.settings.signup import SignupSettings
from gateway.settings.whole import Settings, load_settings, settings_document, settings_from_document

__all__ = [
    "DATABASE",
    "ApiSettings",
    "AuthSettings",
    "CircuitSettings",
    "ConfigError",
    "CustomerSettings",
    "DatabaseSettings",
    "FeatureSettings",
    "KeySettings",
    "LedgerSettings",
    "PlanLimitSettings",
    "PlanSettings",
    "PriceOverride",
    "ProviderSettings",
    "RecorderSettings",
    "RegionSettings",
    "RetrySettings",
    "RouteSettings",
    "Section",
    "ServerSettings",
    "Settings",
    "SignupSettings",
    "TargetSettings",
    "TimeoutSettings",
    "load_settings",
    "settings_document",
    "settings_from_document",
]
