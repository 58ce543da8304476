"""Surface: a place where clients speak a dialect: its paths, the scope that it needs, its readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accounts.scope import PROXY
from gateway.dialects.dialect import Dialect
from gateway.dialects.exchange import Exchange
from metering.usage.reading import Reader


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """One proxied surface.

    `name`: what events, metrics and providers' settings call it. `paths`: where clients find it; `{model}`
    and the like stand for what is then given to `read_call` by name. `read_call(body, **place)` understands a
    parsed body, or raises BadRequest; `read` reads usage from its answers. `stream_operation`: what its
    streams are asked as, where they have a path of their own.
    """

    name: str
    dialect: Dialect
    paths: tuple[str, ...]
    read_call: Callable[..., Exchange]
    read: Reader
    method: str = "POST"
    scope: str = PROXY
    stream_operation: str | None = None

    @property
    def operations(self) -> tuple[str, ...]:
        """What a provider must have a path for, that serves this surface in full."""
        return (self.name,) if self.stream_operation is None else (self.name, self.stream_operation)

    def call(self, body: dict[str, Any], **place: str) -> Exchange:
        """What the gateway understands of one request."""
        return self.read_call(body, **place)
