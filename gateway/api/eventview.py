"""Events as the API tells them: the models of its answers, and how a recorded event becomes one. Pure.

Cost is the corrected one: the event's with what became known later. What is not known is null, and
`cost_reason` or `revenue_reason` says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from gateway.api.fields import MomentText, Nano, Told, Usd, moment_text, money
from metering.adjustment import Adjustment
from metering.event import Attempt, CostEvent

OPEN = "open"
EMBEDDINGS = "embedding"
LLM = "llm"
GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class Stored:
    """An event with the figures that may differ from its document: corrected cost, and its revenue.

    `known_nano` is the known part of the cost where `unpriced`.
    """

    event: CostEvent
    known_nano: int
    unpriced: bool
    unknown_nano: int
    doubted_nano: int
    revenue_nano: int | None
    revenue_source: str | None


class EventShown(Told):
    """One event of a list."""

    id: str
    source: str = Field(description="gateway, sdk or import")
    event_name: str | None
    idempotency_key: str | None
    status: str = Field(
        description="succeeded, failed, cancelled, cut, orphaned, drained; open while it runs"
    )
    outcome: str = Field(description="success, failure, rejected or unknown")
    outcome_reason: str | None
    timestamp: MomentText = Field(description="When it began")
    ended_at: MomentText | None
    duration_ms: int | None
    first_token_ms: int | None = Field(description="Milliseconds from the beginning to the first token")
    customer_id: str | None
    workspace: str | None
    user: str | None
    feature_key: str | None
    plan: str | None
    key_id: str | None
    task_id: str = Field(description="The task that it is part of; its own id where it is one by itself")
    trace_id: str | None
    span_id: str | None
    parent_span_id: str | None
    agent_id: str | None
    surface: str | None
    route: str | None
    route_final: str | None
    provider: str | None
    model: str | None
    provider_requested: str | None
    model_requested: str | None
    stream: bool
    http_status: int | None
    error_code: str | None
    cost_type: str
    input_tokens: int | None
    output_tokens: int | None
    usage: dict[str, int] | None = Field(description="Inclusive totals with their subsets")
    usage_source: str
    usage_units: int
    attempt_count: int
    cost: Usd | None
    cost_nano: Nano | None
    cost_status: str
    cost_reason: str | None = Field(description="Why the cost is not known; null where it is")
    cost_upper: Usd | None = Field(description="What it costs at most, where that is known and more")
    cost_upper_nano: Nano | None
    wasted: Usd
    wasted_nano: Nano
    held: Usd | None = Field(description="Of an open request: what the ledger holds for it")
    held_nano: Nano | None
    doubted: Usd
    doubted_nano: Nano
    revenue: Usd | None
    revenue_nano: Nano | None
    revenue_source: str | None
    revenue_reason: str | None
    margin: Usd | None
    margin_nano: Nano | None


class BreakdownShown(Told):
    """Units of one kind, and what they cost."""

    unit: str
    quantity: int
    price_pico: str | None = Field(description="Pico-USD (1e-12 US dollars) for one unit")
    cost: Usd | None
    cost_nano: Nano | None


class AttemptShown(Told):
    """One upstream try."""

    kind: str
    provider: str | None
    model: str | None
    status: str
    http_status: int | None
    error_class: str | None
    usage: dict[str, int] | None
    usage_source: str
    cost: Usd | None
    cost_nano: Nano | None
    cost_upper: Usd | None
    cost_upper_nano: Nano | None
    cost_status: str
    price_entries: list[str]
    breakdown: list[BreakdownShown]
    started_at: MomentText | None
    first_byte_ms: int | None
    duration_ms: int | None
    upstream_request_id: str | None


class AdjustmentShown(Told):
    """What became known of an event after its end."""

    id: str
    at: MomentText
    source: str
    reason: str
    cost_delta: Usd
    cost_delta_nano: Nano
    doubted_delta: Usd
    doubted_delta_nano: Nano
    note: str | None


class EventDetail(EventShown):
    """One event with its attempts, its bill and its corrections."""

    properties: dict[str, str]
    truncated_by: str | None
    closed_by: str
    recorded_cost: Usd | None = Field(description="As it was recorded, before its adjustments")
    recorded_cost_nano: Nano | None
    price_entries: list[str]
    breakdown: list[BreakdownShown]
    attempts: list[AttemptShown]
    adjustments: list[AdjustmentShown]


def shown(stored: Stored) -> EventShown:
    """A recorded event as a list shows it."""
    return EventShown(**_common(stored))


def shown_open(event: CostEvent, held_nano: int, known_nano: int) -> EventShown:
    """A request that still runs: what is known of it in the ledger."""
    running = Stored(event, known_nano, True, 0, 0, None, None)
    fields = _common(running)
    fields |= {"status": OPEN, "outcome": "unknown", "outcome_reason": None, "ended_at": None}
    fields |= {"duration_ms": None, "cost_reason": OPEN, "revenue_reason": OPEN, **money(held=held_nano)}
    return EventShown(**fields)


def detailed(stored: Stored, adjustments: Sequence[Adjustment]) -> EventDetail:
    """A recorded event with all that is known of it."""
    event = stored.event
    return EventDetail(
        **_common(stored),
        properties=event.properties,
        truncated_by=event.truncated_by,
        closed_by=event.closed_by,
        **money(recorded_cost=event.cost_nano),
        price_entries=event.price_entries,
        breakdown=[_row(row) for row in event.breakdown],
        attempts=[_attempt(each) for each in event.attempts],
        adjustments=[_adjustment(each) for each in adjustments],
    )


def cost_type(event: CostEvent) -> str:
    """What kind of cost it is: as told, else by what was called."""
    if event.cost_type is not None:
        return event.cost_type
    if event.surface is not None and "embed" in event.surface.lower():
        return EMBEDDINGS
    return LLM if event.model or event.model_requested else GENERIC


def _common(stored: Stored) -> dict[str, Any]:
    event, usage = stored.event, stored.event.usage
    cost = None if stored.unpriced else stored.known_nano
    upper = stored.known_nano + stored.unknown_nano if stored.unknown_nano else None
    revenue = stored.revenue_nano
    return {
        **{name: getattr(event, name) for name in _AS_IS},
        "timestamp": moment_text(event.started_ms),
        "ended_at": moment_text(event.ended_ms),
        "duration_ms": _duration(event),
        "first_token_ms": None if event.first_token_ms is None else event.first_token_ms - event.started_ms,
        "customer_id": event.customer,
        "feature_key": event.feature,
        "task_id": event.task,
        "cost_type": cost_type(event),
        "input_tokens": None if usage is None else usage.get("input_tokens", 0),
        "output_tokens": None if usage is None else usage.get("output_tokens", 0),
        "usage_units": event.units,
        "attempt_count": len(event.attempts),
        **money(cost=cost, cost_upper=upper, wasted=event.wasted_nano, doubted=stored.doubted_nano),
        "cost_reason": None if cost is not None else "unpriced",
        **money(held=None, revenue=revenue),
        "revenue_source": stored.revenue_source,
        "revenue_reason": None if revenue is not None else "no_revenue_known",
        **money(margin=None if revenue is None or cost is None else revenue - cost),
    }


def _duration(event: CostEvent) -> int | None:
    if event.duration_ms is not None:
        return event.duration_ms
    return None if event.ended_ms is None else max(0, event.ended_ms - event.started_ms)


def _attempt(attempt: Attempt) -> AttemptShown:
    begun, ended, first = attempt.started_ms, attempt.ended_ms, attempt.first_byte_ms
    return AttemptShown(
        kind=attempt.kind,
        provider=attempt.provider,
        model=attempt.model,
        status=attempt.status,
        http_status=attempt.http_status,
        error_class=attempt.error_class,
        usage=attempt.usage,
        usage_source=attempt.usage_source,
        **money(cost=attempt.cost_nano, cost_upper=attempt.cost_upper_nano),
        cost_status=attempt.cost_status,
        price_entries=attempt.price_entries,
        breakdown=[_row(row) for row in attempt.breakdown],
        started_at=moment_text(begun) if begun else None,
        first_byte_ms=None if first is None or not begun else first - begun,
        duration_ms=None if ended is None or not begun else max(0, ended - begun),
        upstream_request_id=attempt.upstream_request_id,
    )


def _row(row: dict[str, Any]) -> BreakdownShown:
    price, cost = row.get("price_pico"), row.get("cost_nano")
    return BreakdownShown(
        unit=str(row.get("unit", "")),
        quantity=int(row.get("quantity", 0)),
        price_pico=None if price is None else str(price),
        **money(cost=cost),
    )


def _adjustment(adjustment: Adjustment) -> AdjustmentShown:
    return AdjustmentShown(
        id=adjustment.id,
        at=moment_text(adjustment.at_ms) or "",
        source=adjustment.source,
        reason=adjustment.reason,
        **money(cost_delta=adjustment.cost_delta_nano, doubted_delta=adjustment.doubted_delta_nano),
        note=adjustment.note,
    )


_AS_IS = (
    *("id", "source", "event_name", "idempotency_key", "status", "outcome", "outcome_reason"),
    *("workspace", "user", "plan", "key_id", "trace_id", "span_id", "parent_span_id", "agent_id"),
    *("surface", "route", "route_final", "provider", "model", "provider_requested", "model_requested"),
    *("stream", "http_status", "error_code", "usage", "usage_source", "cost_status"),
)
