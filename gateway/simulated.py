"""The simulated provider as settings: configured like any other, where no other is."""

from __future__ import annotations

from gateway.settings import ProviderSettings, Settings
from gateway.settings.provider import DEFAULT_PATHS

NAME = "simulated"


def with_simulated(settings: Settings, url: str | None = None) -> Settings:
    """The settings as `serve` uses them: with the simulated provider where no provider is configured.

    `url`: where it listens; by default on its configured port of this machine.
    """
    if not settings.simulated:
        return settings
    from simulator.models import MODELS

    base = url or f"http://127.0.0.1:{settings.simulator.port}"
    provider = ProviderSettings.model_validate(
        {
            "base_url": f"{base}/v1",
            "api_key": NAME,
            "prices": "openai",
            "models": list(MODELS),
            "paths": DEFAULT_PATHS | {"responses": "/responses"},
        }
    )
    return settings.model_copy(update={"providers": {NAME: provider}})
