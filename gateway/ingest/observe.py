"""One event of `POST /api/events/ingest`, as Observe's clients send it. Pure.

Beside Observe's own fields: parts of the token totals (`cacheReadInputTokens` ...), and what the gateway's
headers say of a request (`taskId`, `workspaceId`, `userId`), so that a report can tell as much as a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.ingest.fields import (
    Refused,
    check_known,
    choice_field,
    count_field,
    id_field,
    key_field,
    moment_field,
    name_field,
    properties_field,
    usd_field,
)
from gateway.ingest.reported import Reported
from gateway.ingest.tokens import TOKEN_FIELDS, read_usage
from metering.event import AMOUNT_MAX

REQUIRED = ("eventName", "customerReferenceId", "featureKey")
OUTCOMES = ("success", "failure", "rejected", "unknown")
DAY_MS = 86_400_000
EXTRAS = ("taskId", "workspaceId", "userId", "serviceTier", "outcome", "outcomeReason")
"""Fields of ours, at both endpoints."""
KNOWN = frozenset(
    (
        *REQUIRED,
        *("model", "modelProvider", "costAmount", "costUnit", "revenueAmount", "usageUnits", "durationMs"),
        *("traceId", "spanId", "parentSpanId", "agentId", "costType", "timestamp", "idempotencyKey"),
        *("properties", "meta", "requestBody", "responseBody"),
        *EXTRAS,
        *TOKEN_FIELDS,
    )
)


def read_observe(item: Any, now_ms: int, *, backfill: bool = False) -> Reported:
    """The reported event. Raises Refused.

    `requestBody` and `responseBody` are taken and not kept: no prompts are stored.
    """
    if type(item) is not dict:
        raise Refused("an event is a JSON object")
    check_known(item, KNOWN)
    event_name = name_field(item, "eventName")
    customer, feature = id_field(item, "customerReferenceId"), id_field(item, "featureKey")
    if event_name is None or customer is None or feature is None:
        given = (event_name, customer, feature)
        absent = [name for name, value in zip(REQUIRED, given, strict=True) if value is None]
        raise Refused(f"Missing required fields: {', '.join(absent)}", field=absent[0])
    if "meta" in item:
        properties = properties_field(item, "properties") | properties_field(item, "meta", "meta.")
    else:
        properties = properties_field(item, "properties")
    check_currency(item, "costUnit")
    return Reported(
        event_name=event_name,
        customer=customer,
        feature=feature,
        key=key_field(item, "idempotencyKey"),
        model=name_field(item, "model"),
        provider=name_field(item, "modelProvider"),
        usage=read_usage(item),
        cost_nano=usd_field(item, "costAmount"),
        revenue_nano=usd_field(item, "revenueAmount"),
        usage_units=count_field(item, "usageUnits", AMOUNT_MAX),
        at_ms=moment_field(item, "timestamp", now_ms, backfill=backfill),
        duration_ms=count_field(item, "durationMs", DAY_MS * 35),
        trace=id_field(item, "traceId"),
        span=id_field(item, "spanId"),
        parent_span=id_field(item, "parentSpanId"),
        agent=id_field(item, "agentId"),
        cost_type=id_field(item, "costType"),
        properties=properties,
        **read_extras(item),
    )


def read_extras(item: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ours that both endpoints take."""
    return {
        "task": id_field(item, "taskId"),
        "workspace": id_field(item, "workspaceId"),
        "user": id_field(item, "userId"),
        "service_tier": id_field(item, "serviceTier"),
        "outcome": choice_field(item, "outcome", OUTCOMES),
        "outcome_reason": id_field(item, "outcomeReason"),
    }


def check_currency(item: Mapping[str, Any], name: str) -> None:
    """Amounts are US dollars: whoever says another unit would be understood wrongly."""
    unit = name_field(item, name)
    if unit is not None and unit.lower() != "usd":
        raise Refused(f'{name}: expected "usd", found {unit!r}; amounts are US dollars', field=name)
