"""What was reported of one event, typed; the same whichever endpoint and spelling it came by. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

import orjson

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NO_USAGE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Reported:
    """One event as it was reported. None and empty: not said.

    key: the idempotency key. usage: counts by the names of metering.usage, inclusive totals with their
    subsets; empty where no tokens were reported. cost_nano, revenue_nano: amounts that the caller gives
    itself. at_ms: when it happened.
    """

    event_name: str
    customer: str
    feature: str
    key: str | None = None
    model: str | None = None
    provider: str | None = None
    service_tier: str | None = None
    usage: Mapping[str, int] = field(default_factory=lambda: _NO_USAGE)
    cost_nano: int | None = None
    revenue_nano: int | None = None
    usage_units: int | None = None
    at_ms: int | None = None
    duration_ms: int | None = None
    task: str | None = None
    workspace: str | None = None
    user: str | None = None
    trace: str | None = None
    span: str | None = None
    parent_span: str | None = None
    agent: str | None = None
    flow: str | None = None
    cost_type: str | None = None
    outcome: str | None = None
    outcome_reason: str | None = None
    properties: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    def digest(self) -> str:
        """SHA-256 of what was said, in hexadecimal: equal for two reports exactly when they say the same,
        whatever their order of fields, spelling of numbers, and fields that are null."""
        said = {}
        for name in _SAID:
            value = getattr(self, name)
            if value is not None and value != {}:
                said[name] = dict(value) if name in _MAPPINGS else value
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


_MAPPINGS = frozenset({"usage", "properties"})
_SAID = tuple(each.name for each in fields(Reported) if each.name != "key")
