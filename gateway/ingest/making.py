"""The cost event that a report becomes. Pure."""

from __future__ import annotations

from typing import NamedTuple

from gateway.ingest.pricing import Priced, Pricer
from gateway.ingest.reported import Reported
from metering.event import Attempt, CostEvent, encode
from metering.usage import Usage

SOURCE = "sdk"
EXPLICIT = "explicit"
"""The source of a revenue that was reported with the event."""


class Report(NamedTuple):
    """A report that can be stored: its event, as an object and encoded, its key, and the digest of what it
    says."""

    event: CostEvent
    document: bytes
    key: str | None
    digest: str


def make_report(
    reported: Reported, pricer: Pricer, *, event_id: str, account_id: str, key_id: str, now_ms: int
) -> Report:
    """The report of this account, told with this key. Raises Refused where it costs more than can be counted.

    The event has one attempt where a model is named, and none where not. Fields are set one by one: forty
    arguments by name would take three times as long.
    """
    at_ms = now_ms if reported.at_ms is None else reported.at_ms
    usage = Usage(**reported.usage) if reported.usage else None  # type: ignore[arg-type]  # counts, no extra
    priced = pricer.price(reported, usage, at_ms, account_id)
    event = CostEvent(event_id, account_id)
    event.task_id = reported.task
    event.trace_id = reported.trace
    event.customer = reported.customer
    event.workspace = reported.workspace
    event.user = reported.user
    event.feature = reported.feature
    event.properties = _properties(reported)
    event.provider_requested = reported.provider
    event.provider = priced.provider
    event.model_requested = event.model = reported.model
    event.outcome = reported.outcome or "success"
    event.outcome_reason = reported.outcome_reason
    if usage is not None:
        event.usage = usage.document()
        event.usage_source = "client"
    event.cost_nano = priced.nano
    event.cost_upper_nano = _upper(priced)
    event.cost_status = priced.status
    event.breakdown = [
        {"unit": unit, "quantity": quantity, "price_pico": price, "cost_nano": cost}
        for unit, quantity, price, cost in priced.lines
    ]
    event.price_entries = list(priced.entry_ids)
    if reported.revenue_nano is not None:
        event.revenue_nano = reported.revenue_nano
        event.revenue_source = EXPLICIT
    event.usage_units = reported.usage_units
    event.started_ms = at_ms
    event.duration_ms = reported.duration_ms
    event.ended_ms = None if reported.duration_ms is None else at_ms + reported.duration_ms
    event.source = SOURCE
    event.event_name = reported.event_name
    event.idempotency_key = reported.key
    event.reported_by = key_id
    event.span_id = reported.span
    event.parent_span_id = reported.parent_span
    event.agent_id = reported.agent
    event.cost_type = reported.cost_type or ("generic" if reported.model is None else "llm")
    if reported.model is not None:
        event.attempts.append(_attempt(event))
    return Report(event, encode(event), reported.key, reported.digest)


def _attempt(event: CostEvent) -> Attempt:
    """The one try of which is told."""
    attempt = Attempt("primary", event.provider, event.model, "succeeded")
    attempt.usage = event.usage
    attempt.usage_source = event.usage_source
    attempt.cost_nano = event.cost_nano
    attempt.cost_upper_nano = event.cost_upper_nano
    attempt.cost_status = event.cost_status
    attempt.breakdown = event.breakdown
    attempt.price_entries = event.price_entries
    attempt.started_ms = event.started_ms
    attempt.ended_ms = event.ended_ms
    return attempt


def _upper(priced: Priced) -> int | None:
    """Where the price leaves room: how much it can be at most, as far as that is known."""
    return priced.upper_nano if priced.nano is not None and priced.upper_nano != priced.nano else None


def _properties(reported: Reported) -> dict[str, str]:
    if reported.flow is None:
        return reported.properties
    return reported.properties | {"flowId": reported.flow}
