"""Settings of the process itself: where it listens, its hot state, its ledger, its recorder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from budgets.address import addresses_of
from gateway.settings.section import Section

MIB = 1024 * 1024


class ServerSettings(Section):
    """Where the gateway listens and what it accepts."""

    host: str = "127.0.0.1"
    port: int = Field(8787, ge=0, le=65535)
    workers: int = Field(0, ge=0, le=256, description="0 means one per two cores, at least one")
    data_dir: Path = Path("data")
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(9787, ge=0, le=65535)
    body_bytes_max: int = Field(32 * MIB, ge=1024, le=512 * MIB)
    head_bytes_max: int = Field(32 * 1024, ge=1024, le=MIB)
    headers_max: int = Field(100, ge=10, le=10_000)
    head_s: float = Field(10.0, gt=0, le=600, description="from a connection's or request's first moment")
    body_s: float = Field(10.0, gt=0, le=600, description="and more for a long one, see body_bytes_per_s")
    body_bytes_per_s: int = Field(1024, ge=1, description="one second more for as many bytes that came")
    keep_alive_s: float = Field(75.0, gt=0, le=3600, description="between two requests of a connection")
    reader_s: float = Field(
        30.0, gt=0, le=600, description="until a client that takes nothing counts as gone"
    )
    connections_max: int = Field(8192, ge=1, description="of one worker")
    connections_per_address: int = Field(4096, ge=1, description="of one worker; IPv6: of one /64")
    drain_s: float = Field(25.0, ge=0, le=600)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

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
    retention_days: int | None = Field(
        None, ge=45, le=36_500, description="how long single events are kept; their sums stay for good"
    )


class SimulatorSettings(Section):
    """The simulated provider that `serve` starts when no provider is configured."""

    port: int = Field(8788, ge=0, le=65535)
