"""One event of `POST /api/events/ingest`, as Observe's clients send it. Pure.

Beside Observe's own fields: parts of the token totals (`cacheReadInputTokens` ...), and what the gateway's
headers say of a request (`taskId`, `workspaceId`, `userId`), so that a report can tell as much as a call.
"""

from __future__ import annotations

from typing import Any

from gateway.ingest.fields import (
    Reader,
    Refused,
    currency_field,
    duration_field,
    id_field,
    key_field,
    moment_field,
    name_field,
    outcome_field,
    properties_field,
    read_fields,
    units_field,
    usd_field,
)
from gateway.ingest.reported import Reported, reported_as
from gateway.ingest.tokens import TOKEN_READERS, take_usage

REQUIRED = {"eventName": "event_name", "customerReferenceId": "customer", "featureKey": "feature"}
_KNOWN = frozenset(REQUIRED.values())


def whole(_name: str, value: Any) -> Any:
    """A field that is read later, or not at all."""
    return value


def unkept(_name: str, _value: Any) -> None:
    """A field that is taken and not kept: no prompts and no answers are stored."""


EXTRAS: dict[str, tuple[str, Reader]] = {
    "taskId": ("task", id_field),
    "workspaceId": ("workspace", id_field),
    "userId": ("user", id_field),
    "serviceTier": ("service_tier", id_field),
    "outcome": ("outcome", outcome_field),
    "outcomeReason": ("outcome_reason", id_field),
}
"""Fields of ours, at both endpoints."""
READERS: dict[str, tuple[str, Reader]] = {
    "eventName": ("event_name", name_field),
    "customerReferenceId": ("customer", id_field),
    "featureKey": ("feature", id_field),
    "model": ("model", name_field),
    "modelProvider": ("provider", name_field),
    "costAmount": ("cost_nano", usd_field),
    "costUnit": ("", currency_field),
    "revenueAmount": ("revenue_nano", usd_field),
    "usageUnits": ("usage_units", units_field),
    "durationMs": ("duration_ms", duration_field),
    "traceId": ("trace", id_field),
    "spanId": ("span", id_field),
    "parentSpanId": ("parent_span", id_field),
    "agentId": ("agent", id_field),
    "costType": ("cost_type", id_field),
    "timestamp": ("at_ms", whole),
    "idempotencyKey": ("key", key_field),
    "properties": ("properties", properties_field),
    "meta": ("meta", whole),
    "requestBody": ("", unkept),
    "responseBody": ("", unkept),
    **TOKEN_READERS,
    **EXTRAS,
}


def read_observe(item: Any, now_ms: int, *, backfill: bool = False) -> Reported:
    """The reported event. Raises Refused."""
    if type(item) is not dict:
        raise Refused("an event is a JSON object")
    said: dict[str, Any] = {}
    read_fields(item, READERS, said)
    if not said.keys() >= _KNOWN:
        absent = [name for name, known in REQUIRED.items() if known not in said]
        raise Refused(f"Missing required fields: {', '.join(absent)}", field=absent[0])
    finish(said, "timestamp", now_ms, backfill=backfill)
    return reported_as(said, said.pop("key", None))


def finish(said: dict[str, Any], moment: str, now_ms: int, *, backfill: bool) -> None:
    """What is read of several fields together, or against the clock."""
    if "at_ms" in said:
        at_ms = moment_field(moment, said.pop("at_ms"), now_ms, backfill=backfill)
        if at_ms is not None:
            said["at_ms"] = at_ms
    usage = take_usage(said)
    if usage:
        said["usage"] = usage
    if "meta" in said:
        said["properties"] = said.get("properties", {}) | properties_field("meta", said.pop("meta"), "meta.")
    if "properties" in said and not said["properties"]:
        del said["properties"]
