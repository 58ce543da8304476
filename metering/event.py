"""The cost event: what one accepted request used and cost, with every upstream attempt inside it.

It is written once, when the request closes, travels as JSON through the ledger's outbox and rests in the
event store. Amounts are whole nano-USD, prices whole pico-USD per unit, moments whole milliseconds since
the epoch (UTC). `None` means "not known" or "does not apply", never zero: a cost of 0 is a cost.

Words of the fields that name a kind (plain strings, so that a reader accepts words of a later version):

    status        succeeded failed cancelled cut orphaned drained
    outcome       success failure rejected unknown
    usage_source  provider estimated client none
    cost_status   priced unpriced provider_reported override estimated free
    closed_by     worker reaper journal
    source        gateway sdk import
    revenue_source  explicit plan_period feature_price plan_usage plan_included
    Attempt.kind    primary retry fallback reconnect
    Attempt.status  succeeded failed cancelled cut unknown

Events are built on the hot path: classes are plain slotted dataclasses and nothing is validated on the way
out. `decode` validates, because what it reads may come from another version or a damaged store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from metering.eventdocument import AMOUNT_MAX, GATEWAY, EventError, document_of, reader_of

__all__ = [
    "AMOUNT_MAX",
    "DEFAULT_ACCOUNT",
    "GATEWAY",
    "SCHEMA_VERSION",
    "Attempt",
    "CostEvent",
    "EventError",
    "decode",
    "encode",
]

SCHEMA_VERSION = 1
DEFAULT_ACCOUNT = "default"


@dataclass(slots=True)
class Attempt:
    """One upstream try. Its cost is part of the event's cost whether or not it produced the answer.

    `cost_upper_nano` is set where a price leaves room: a service tier that the price list does not know.
    """

    kind: str = "primary"
    provider: str | None = None
    model: str | None = None
    status: str = "unknown"
    http_status: int | None = None
    error_class: str | None = None
    usage: dict[str, int] | None = None
    usage_source: str = "none"
    cost_nano: int | None = None
    cost_upper_nano: int | None = None
    cost_status: str = "unpriced"
    breakdown: list[dict[str, Any]] = field(default_factory=list)
    price_entries: list[str] = field(default_factory=list)
    started_ms: int = 0
    first_byte_ms: int | None = None
    ended_ms: int | None = None
    upstream_request_id: str | None = None
    unknown: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class CostEvent:
    """One accepted request.

    `task_id` None means that the request is its own task. `usage` holds inclusive totals with their
    subsets (metering.usage). `usage_units`: how much of its feature it was, where whoever reported it said
    so. `breakdown` rows are {unit, quantity, price_pico, cost_nano}. `cost_upper_nano` bounds a cost that is
    not exactly known. `wasted_nano` is the cost of attempts that did not produce the answer. `held_nano` and
    `doubted_nano` are what the ledger held, and still holds in doubt. `unknown` keeps fields of a later
    version, so that rewriting an event loses nothing.

    Calls that did not pass the gateway are told afterwards: `source` says by whom, `idempotency_key` under
    which name, `reported_by` with which key (`key_id` is None: no key of the gateway's spent it), and
    `event_name`, `cost_type`, `agent_id` and the spans are the teller's words. `revenue_source` says where
    `revenue_nano` comes from; what prices and plans make of an event is added when it is stored and is not
    part of it.

    What becomes known after the close is an adjustment (metering.adjustment); the event stays as it is.
    """

    id: str
    account_id: str = DEFAULT_ACCOUNT
    task_id: str | None = None
    trace_id: str | None = None
    key_id: str | None = None
    customer: str | None = None
    workspace: str | None = None
    user: str | None = None
    feature: str | None = None
    plan: str | None = None
    properties: dict[str, str] = field(default_factory=dict)
    surface: str | None = None
    route: str | None = None
    route_final: str | None = None
    provider_requested: str | None = None
    provider: str | None = None
    model_requested: str | None = None
    model: str | None = None
    stream: bool = False
    status: str = "succeeded"
    outcome: str = "unknown"
    outcome_reason: str | None = None
    http_status: int | None = None
    error_code: str | None = None
    usage: dict[str, int] | None = None
    usage_source: str = "none"
    cost_nano: int | None = None
    cost_upper_nano: int | None = None
    cost_status: str = "unpriced"
    wasted_nano: int = 0
    breakdown: list[dict[str, Any]] = field(default_factory=list)
    price_entries: list[str] = field(default_factory=list)
    revenue_nano: int | None = None
    usage_units: int | None = None
    started_ms: int = 0
    first_token_ms: int | None = None
    ended_ms: int | None = None
    truncated_by: str | None = None
    max_output_written: int | None = None
    held_nano: int = 0
    doubted_nano: int = 0
    closed_by: str = "worker"
    source: str = GATEWAY
    event_name: str | None = None
    idempotency_key: str | None = None
    reported_by: str | None = None
    revenue_source: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    agent_id: str | None = None
    cost_type: str | None = None
    duration_ms: int | None = None
    attempts: list[Attempt] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION
    unknown: dict[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """The task this event belongs to: the one named by the client, else the request itself."""
        return self.task_id or self.id

    @property
    def units(self) -> int:
        """How many units a price per unit counts, 0 or more: those that were told, else input and output
        tokens, else one for a request that was served."""
        if self.usage_units is not None:
            return max(0, self.usage_units)
        if self.status == "failed":
            return 0
        usage = self.usage or {}
        return usage.get("input_tokens", 0) + usage.get("output_tokens", 0) or 1

    @property
    def known_nano(self) -> int:
        """The known part of the cost, which is what limits count: where the whole is not known, that of the
        attempts whose cost is."""
        if self.cost_nano is not None:
            return self.cost_nano
        return sum(attempt.cost_nano or 0 for attempt in self.attempts)

    @property
    def unknown_nano(self) -> int:
        """How much above the known part the true cost may be, where that is bounded."""
        bound = self.cost_upper_nano
        return 0 if bound is None else max(0, bound - self.known_nano)


def encode(event: CostEvent) -> bytes:
    """The event as JSON. Fields that are None, empty, or zero where zero is the default are left out."""
    document = _event_document(event)
    if event.attempts:
        document["attempts"] = [_attempt_document(attempt) for attempt in event.attempts]
    return orjson.dumps(document)


def decode(source: bytes | bytearray | memoryview | str | dict[str, Any]) -> CostEvent:
    """The event in a JSON document, of this schema version or any other.

    Absent fields take their defaults and unknown ones are kept in `.unknown`. Raises EventError for what
    cannot be stored truthfully: no JSON object, no id, or a field of the wrong type.
    """
    if isinstance(source, dict):
        document = source
    else:
        try:
            document = orjson.loads(source)
        except orjson.JSONDecodeError as error:
            raise EventError(f"not valid JSON: {error}") from None
    event: CostEvent = _read_event(document, "event")
    if not event.id:
        raise EventError("event.id: missing; every cost event has one")
    if event.attempts:
        found: list[Any] = event.attempts
        event.attempts = [_read_attempt(each, "event.attempts", n) for n, each in enumerate(found)]
    return event


_read_event = reader_of(CostEvent)
_read_attempt = reader_of(Attempt)
_event_document = document_of(CostEvent)
_attempt_document = document_of(Attempt)
