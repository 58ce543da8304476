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

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import orjson

SCHEMA_VERSION = 1
DEFAULT_ACCOUNT = "default"
GATEWAY = "gateway"
"""The source of events that the gateway itself made, which do not say so."""
AMOUNT_MAX = 2**53 - 1
"""Largest magnitude of any integer in an event: what the ledger can count, about $9.0 M in nano-USD."""


class EventError(ValueError):
    """The document is not a cost event; the text says which field and what was found."""


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
    known, unknown = _checked(document, _EVENT_TYPES, "event")
    if not known.get("id"):
        raise EventError("event.id: missing; every cost event has one")
    attempts = [_attempt(item, n) for n, item in enumerate(known.pop("attempts", ()))]
    return CostEvent(**known, attempts=attempts, unknown=unknown)


def _attempt(document: Any, number: int) -> Attempt:
    known, unknown = _checked(document, _ATTEMPT_TYPES, f"event.attempts[{number}]")
    return Attempt(**known, unknown=unknown)


def _checked(
    document: Any, types: dict[str, tuple[str, type]], where: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document's known fields, proved to have their types, and its unknown ones; None is absence."""
    if type(document) is not dict:
        raise EventError(f"{where}: expected an object, found {type(document).__name__}")
    known: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in document.items():
        own_name, expected = types.get(name, _ABSENT)
        kind = type(value)
        if kind is expected:
            if kind is int and not -AMOUNT_MAX <= value <= AMOUNT_MAX:
                raise EventError(f"{where}.{name}: {value} is beyond what an event can hold ({AMOUNT_MAX})")
            known[own_name] = value
        elif not own_name:
            unknown[name] = value
        elif value is not None:
            raise EventError(f"{where}.{name}: expected {expected.__name__}, found {value!r:.80}")
    usage = known.get("usage")
    if usage:
        for unit, quantity in usage.items():
            if type(quantity) is not int or not -AMOUNT_MAX <= quantity <= AMOUNT_MAX:
                raise EventError(f"{where}.usage.{unit}: expected a whole number, found {quantity!r:.80}")
    return known, unknown


def _field_types(kind: type[CostEvent] | type[Attempt]) -> dict[str, tuple[str, type]]:
    """Field name -> (itself, the type of its values, None apart): `dict[str, int] | None` gives dict.

    The name is repeated so that `known` holds our interned string and not the parser's equal one: keyword
    arguments are matched by identity first, and construction from foreign strings takes twice as long.
    """
    hints = get_type_hints(kind)
    hints.pop("unknown")
    return {
        name: (name, get_origin(part) or part)
        for name, hint in hints.items()
        for part in (get_args(hint) if isinstance(hint, UnionType) else (hint,))
        if part is not type(None)
    }


def _document_of(kind: type[CostEvent] | type[Attempt]) -> Callable[[Any], dict[str, Any]]:
    """A function from an instance to its document, with one line of code for each field.

    Written out like dataclasses write `__init__`: a loop over names costs three times as much, on the hot
    path. Fields whose default is None are kept when they are not None, all others when they are not empty;
    no default other than None differs from empty but for words and the version, which are never empty. Of the
    words only the source goes without saying.
    """
    lines = ["def document(item):", " made = dict(item.unknown)"]
    for each in fields(kind):
        if each.name not in ("attempts", "unknown"):
            condition = "value is not None" if each.default is None else "value"
            if each.name == "source":
                condition = f"value != {GATEWAY!r}"
            lines += [f" value = item.{each.name}", f" if {condition}: made[{each.name!r}] = value"]
    namespace: dict[str, Any] = {}
    exec("\n".join([*lines, " return made"]), namespace)  # noqa: S102 - text made of our own field names
    function: Callable[[Any], dict[str, Any]] = namespace["document"]
    return function


_ABSENT: tuple[str, type] = ("", object)
_EVENT_TYPES = _field_types(CostEvent)
_ATTEMPT_TYPES = _field_types(Attempt)
_event_document = _document_of(CostEvent)
_attempt_document = _document_of(Attempt)
