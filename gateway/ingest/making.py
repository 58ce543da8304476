"""The cost event that a report becomes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.ingest.pricing import Priced, Pricer
from gateway.ingest.reported import Reported
from metering.event import Attempt, CostEvent
from metering.ids import new_id
from metering.usage import Usage

SOURCE = "sdk"
EXPLICIT = "explicit"
"""The source of a revenue that was reported with the event."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report that can be stored: its event, its key, and the digest of what it says."""

    event: CostEvent
    key: str | None
    digest: str


def make_report(reported: Reported, pricer: Pricer, *, account_id: str, key_id: str, now_ms: int) -> Report:
    """The report of this account, told with this key. Raises Refused where it costs more than can be counted.

    The event has one attempt where a model is named, and none where not.
    """
    at_ms = now_ms if reported.at_ms is None else reported.at_ms
    counted = Usage(**_counts(reported)) if reported.usage else None
    priced = pricer.price(reported, counted, at_ms, account_id)
    usage = counted.document() if counted is not None else None
    breakdown = [
        {"unit": unit, "quantity": quantity, "price_pico": price, "cost_nano": cost}
        for unit, quantity, price, cost in priced.lines
    ]
    ended_ms = None if reported.duration_ms is None else at_ms + reported.duration_ms
    event = CostEvent(
        id=new_id(),
        account_id=account_id,
        task_id=reported.task,
        trace_id=reported.trace,
        customer=reported.customer,
        workspace=reported.workspace,
        user=reported.user,
        feature=reported.feature,
        properties=_properties(reported),
        provider_requested=reported.provider,
        provider=priced.provider,
        model_requested=reported.model,
        model=reported.model,
        outcome=reported.outcome or "success",
        outcome_reason=reported.outcome_reason,
        usage=usage,
        usage_source="client" if usage is not None else "none",
        cost_nano=priced.nano,
        cost_upper_nano=_upper(priced),
        cost_status=priced.status,
        breakdown=breakdown,
        price_entries=list(priced.entry_ids),
        revenue_nano=reported.revenue_nano,
        revenue_source=EXPLICIT if reported.revenue_nano is not None else None,
        usage_units=reported.usage_units,
        started_ms=at_ms,
        ended_ms=ended_ms,
        source=SOURCE,
        event_name=reported.event_name,
        idempotency_key=reported.key,
        reported_by=key_id,
        span_id=reported.span,
        parent_span_id=reported.parent_span,
        agent_id=reported.agent,
        cost_type=reported.cost_type or ("generic" if reported.model is None else "llm"),
        duration_ms=reported.duration_ms,
    )
    if reported.model is not None:
        event.attempts.append(_attempt(event))
    return Report(event, reported.key, reported.digest)


def _attempt(event: CostEvent) -> Attempt:
    """The one try of which is told."""
    return Attempt(
        kind="primary",
        provider=event.provider,
        model=event.model,
        status="succeeded",
        usage=event.usage,
        usage_source=event.usage_source,
        cost_nano=event.cost_nano,
        cost_upper_nano=event.cost_upper_nano,
        cost_status=event.cost_status,
        breakdown=event.breakdown,
        price_entries=event.price_entries,
        started_ms=event.started_ms,
        ended_ms=event.ended_ms,
    )


def _counts(reported: Reported) -> dict[str, Any]:
    return dict(reported.usage)


def _upper(priced: Priced) -> int | None:
    """Where the price leaves room: how much it can be at most, as far as that is known."""
    return priced.upper_nano if priced.nano is not None and priced.upper_nano != priced.nano else None


def _properties(reported: Reported) -> dict[str, str]:
    properties = dict(reported.properties)
    if reported.flow is not None:
        properties["flowId"] = reported.flow
    return properties
