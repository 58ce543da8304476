"""One event of `POST /api/v1/client/events`, the platform's EventRequest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.ingest.fields import (
    Reader,
    Refused,
    flow_field,
    id_field,
    key_field,
    name_field,
    properties_field,
    read_fields,
    units_field,
    usd_field,
)
from gateway.ingest.observe import EXTRAS, finish, whole
from gateway.ingest.reported import Reported, reported_as
from gateway.ingest.tokens import TOKEN_READERS
from metering.money import nano_to_usd

CUSTOMERS = ("customerReferenceId", "customerId")
STRIPE = "stripeCustomerId"
FEATURES = ("featureKey", "featureId")
LINKS = ("subscriptionId", "entitlementId", "invoiceId")
"""Ids of the caller's own books, kept with the event; and so are the deprecated `costUnits`, which are no
part of the cost: tokens and amounts are."""
UNITS = 1
"""What an event is of its feature, unless it says more."""


def no_stripe(name: str, value: Any) -> None:
    """A customer by its id at Stripe stands in place of another name; who knows it has written that."""
    if id_field(name, value) is not None:
        raise Refused(f"{name} says what another field says, too; send one of them", field=name)


READERS: dict[str, tuple[str, Reader]] = {
    "eventName": ("event_name", name_field),
    "eventIdempotencyKey": ("key", key_field),
    "featureKey": ("feature", id_field),
    "featureId": ("feature", id_field),
    "customerReferenceId": ("customer", id_field),
    "customerId": ("customer", id_field),
    STRIPE: ("", no_stripe),
    "occurredAt": ("at_ms", whole),
    "usageUnits": ("usage_units", units_field),
    "costAmount": ("cost_nano", usd_field),
    "revenueAmount": ("revenue_nano", usd_field),
    "costInput": ("cost_input", whole),
    "flowId": ("flow", flow_field),
    **{name: (name, id_field) for name in LINKS},
    "meta": ("properties", properties_field),
    **EXTRAS,
}
COST_READERS: dict[str, tuple[str, Reader]] = {
    "model": ("model", name_field),
    "modelProvider": ("provider", name_field),
    "costUnits": ("costUnits", usd_field),
    **TOKEN_READERS,
}


def read_platform(
    item: Mapping[str, Any], now_ms: int, *, header_key: str | None = None, backfill: bool = False
) -> Reported:
    """The reported event. `header_key`: of the header X-Idempotency-Key, which wins. Raises Refused."""
    said: dict[str, Any] = {}
    read_fields(item, READERS, said)
    cost = said.pop("cost_input", None)
    if cost is not None:
        if type(cost) is not dict:
            raise Refused("costInput: expected an object", field="costInput")
        read_fields(cost, COST_READERS, said, "costInput.")
    key = said.pop("key", None)
    key = header_key or key
    if key is None:
        raise Refused(
            "eventIdempotencyKey is required: a key of your own by which a repeated report is recognised",
            field="eventIdempotencyKey",
        )
    for known, names in (("event_name", ("eventName",)), ("customer", CUSTOMERS), ("feature", FEATURES)):
        if known not in said:
            raise Refused(f"{' or '.join(names)} is required", field=names[0])
    said.setdefault("usage_units", UNITS)
    links = {name: said.pop(name) for name in LINKS if name in said}
    if "costUnits" in said:
        links["costUnits"] = nano_to_usd(said.pop("costUnits"))
    finish(said, "occurredAt", now_ms, backfill=backfill)
    if links:
        said["properties"] = said.get("properties", {}) | links
    return reported_as(said, key)
