"""What a running installation takes from a configuration that is read again, and what waits for a start."""

from __future__ import annotations

from typing import Any

from gateway.settings import Settings

FIXED_SERVER = ("host", "port", "workers", "data_dir", "metrics_host", "metrics_port")
FIXED_SECTIONS = ("redis", "database", "simulator")


def fixed_changes(former: Settings, fresh: Settings) -> list[str]:
    """The settings that differ and that a reload does not touch."""
    before, after = former.server, fresh.server
    names = [f"server.{name}" for name in FIXED_SERVER if getattr(before, name) != getattr(after, name)]
    return names + [name for name in FIXED_SECTIONS if getattr(former, name) != getattr(fresh, name)]


def with_fixed(former: Settings, fresh: Settings) -> Settings:
    """The fresh settings, with what only a start reads as it was."""
    server = fresh.server.model_copy(update={name: getattr(former.server, name) for name in FIXED_SERVER})
    kept: dict[str, Any] = {name: getattr(former, name) for name in FIXED_SECTIONS}
    return fresh.model_copy(update={"server": server, **kept})
