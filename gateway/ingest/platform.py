"""One event of `POST /api/v1/client/events`, the platform's EventRequest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.ingest.fields import (
    Refused,
    check_known,
    count_field,
    id_field,
    key_field,
    moment_field,
    name_field,
    properties_field,
    usd_field,
)
from gateway.ingest.observe import EXTRAS, read_extras
from gateway.ingest.reported import Reported
from gateway.ingest.tokens import TOKEN_FIELDS, read_usage
from metering.event import AMOUNT_MAX
from metering.money import nano_to_usd

CUSTOMERS = ("customerReferenceId", "customerId", "stripeCustomerId")
FEATURES = ("featureKey", "featureId")
LINKS = ("subscriptionId", "entitlementId", "invoiceId")
"""Ids of the caller's own books, kept with the event; and so are the deprecated `costUnits`, which are no
part of the cost: tokens and amounts are."""
FLOW_MAX = 64
KNOWN = frozenset(
    (
        *("eventName", "eventIdempotencyKey", "occurredAt", "usageUnits", "costAmount", "revenueAmount"),
        *("costInput", "flowId", "meta"),
        *CUSTOMERS,
        *FEATURES,
        *LINKS,
        *EXTRAS,
    )
)
COST_INPUT = frozenset(("model", "modelProvider", "costUnits", *TOKEN_FIELDS))


def read_platform(
    item: Mapping[str, Any], now_ms: int, *, header_key: str | None = None, backfill: bool = False
) -> Reported:
    """The reported event. `header_key`: of the header X-Idempotency-Key, which wins. Raises Refused."""
    check_known(item, KNOWN)
    event_name = name_field(item, "eventName")
    if event_name is None:
        raise Refused("eventName is required", field="eventName")
    key = header_key or key_field(item, "eventIdempotencyKey")
    if key is None:
        raise Refused(
            "eventIdempotencyKey is required: a key of your own by which a repeated report is recognised",
            field="eventIdempotencyKey",
        )
    cost = _cost_input(item)
    properties = properties_field(item, "meta")
    for name in LINKS:
        value = id_field(item, name)
        if value is not None:
            properties[name] = value
    units = count_field(item, "usageUnits", AMOUNT_MAX)
    cost_units = usd_field(cost, "costUnits")
    if cost_units is not None:
        properties["costUnits"] = nano_to_usd(cost_units)
    return Reported(
        event_name=event_name,
        customer=_customer(item),
        feature=_one_of(item, FEATURES),
        key=key,
        model=name_field(cost, "model"),
        provider=name_field(cost, "modelProvider"),
        usage=read_usage(cost),
        cost_nano=usd_field(item, "costAmount"),
        revenue_nano=usd_field(item, "revenueAmount"),
        usage_units=1 if units is None else units,
        at_ms=moment_field(item, "occurredAt", now_ms, backfill=backfill),
        flow=_flow(item),
        properties=properties,
        **read_extras(item),
    )


def _flow(item: Mapping[str, Any]) -> str | None:
    flow = id_field(item, "flowId")
    if flow is not None and len(flow) > FLOW_MAX:
        raise Refused(f"flowId: expected at most {FLOW_MAX} characters", field="flowId")
    return flow


def _cost_input(item: Mapping[str, Any]) -> Mapping[str, Any]:
    cost = item.get("costInput")
    if cost is None:
        return {}
    if type(cost) is not dict:
        raise Refused("costInput: expected an object", field="costInput")
    check_known(cost, COST_INPUT, "costInput.")
    return cost


def _customer(item: Mapping[str, Any]) -> str:
    if id_field(item, "stripeCustomerId") is not None:
        raise Refused(
            "stripeCustomerId: no customer is linked with Stripe here; send customerReferenceId",
            code="not_found",
            field="stripeCustomerId",
        )
    return _one_of(item, CUSTOMERS[:2])


def _one_of(item: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Exactly one of two names for one thing; both are its reference here."""
    given = [(name, value) for name in names if (value := id_field(item, name)) is not None]
    if not given:
        raise Refused(f"{' or '.join(names)} is required", field=names[0])
    if len(given) > 1:
        raise Refused(f"send one of {', '.join(names)}, not several", field=given[1][0])
    return given[0][1]
