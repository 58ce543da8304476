"""Surface: a place where clients speak a dialect: its paths, the scope that it needs, its readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

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
    streams are asked as, where they have a path of their own. `stream_paths`: where clients find those;
    `read_call` is then given `stream=True`. `query`: what it reads from a request's query, which is given to
    `read_call` too; nothing of a query ever goes to a provider. `key_in_query`: it may also hold the key.
    """

    name: str
    dialect: Dialect
    paths: tuple[str, ...]
    read_call: Callable[..., Exchange]
    read: Reader
    method: str = "POST"
    scope: str = PROXY
    stream_operation: str | None = None
    stream_paths: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    key_in_query: bool = False

    @property
    def operations(self) -> tuple[str, ...]:
        """What a provider must have a path for, that serves this surface in full."""
        return (self.name,) if self.stream_operation is None else (self.name, self.stream_operation)

    def asked(self, place: Mapping[str, Any], query: bytes) -> Mapping[str, Any]:
        """What its path says, and what it reads from the query; of several values the last one."""
        told = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        return {**place, **{name: told[name] for name in self.query if name in told}}

    def call(self, body: dict[str, Any], **place: Any) -> Exchange:
        """What the gateway understands of one request."""
        return self.read_call(body, **place)
