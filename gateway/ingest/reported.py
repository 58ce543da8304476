"""What was reported of one event, typed; the same whichever endpoint and spelling it came by. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(slots=True)
class Reported:
    """One event as it was reported. None and empty: not said.

    digest: of what was said, in hexadecimal: equal for two reports exactly when they say the same, whatever
    their order of fields, spelling of numbers, and fields that are null. key: the idempotency key, which is
    no part of it. usage: counts by the names of metering.usage, inclusive totals with their parts; empty
    where no tokens were reported. cost_nano, revenue_nano: amounts that the caller gives itself. at_ms: when
    it happened.
    """

    digest: str
    event_name: str
    customer: str
    feature: str
    key: str | None = None
    model: str | None = None
    provider: str | None = None
    service_tier: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
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
    properties: dict[str, str] = field(default_factory=dict)


def reported_as(said: dict[str, Any], key: str | None) -> Reported:
    """The report that says this: fields of Reported by their names, nothing for what was not said."""
    digest = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return Reported(digest=digest, key=key, **said)
