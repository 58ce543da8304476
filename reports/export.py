"""What an export's rows say: of events, of their attempts, and of the lines of their bills. Pure.

Every amount stands twice: in dollars, exact, and as whole nano-USD. A cost that is not known is an empty cell
and never 0; the known part of it has a column of its own, and its sum is that of every report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from metering.event import Attempt, CostEvent
from metering.eventexport import Told
from reports.columns import Column, Line

_Value = Callable[[Told], Any]


def _of_event(name: str) -> _Value:
    return lambda told: getattr(told.event, name)


def _usage(name: str) -> _Value:
    return lambda told: None if told.event.usage is None else told.event.usage.get(name, 0)


def _money(name: str, value: _Value) -> list[tuple[Column, _Value]]:
    return [(Column(f"{name}_usd", "nano"), value), (Column(f"{name}_nano", "whole"), value)]


_EVENTS: list[tuple[Column, _Value]] = [
    (Column("id"), _of_event("id")),
    (Column("started_at", "moment"), _of_event("started_ms")),
    (Column("first_token_at", "moment"), _of_event("first_token_ms")),
    (Column("ended_at", "moment"), _of_event("ended_ms")),
    (Column("account_id"), _of_event("account_id")),
    (Column("task_id"), lambda told: told.event.task),
    *(
        (Column(name), _of_event(name))
        for name in (
            *("trace_id", "span_id", "parent_span_id", "agent_id"),
            *("source", "event_name", "idempotency_key", "reported_by", "cost_type"),
            *("key_id", "customer", "workspace", "user", "feature", "plan"),
            *("surface", "route", "route_final", "provider", "model_requested", "model"),
        )
    ),
    (Column("stream", "truth"), _of_event("stream")),
    *((Column(name), _of_event(name)) for name in ("status", "outcome", "outcome_reason")),
    (Column("http_status", "whole"), _of_event("http_status")),
    (Column("error_code"), _of_event("error_code")),
    (Column("attempts", "whole"), lambda told: len(told.event.attempts)),
    *(
        (Column(name, "whole"), _usage(name))
        for name in (
            *("input_tokens", "cache_read_input_tokens", "output_tokens", "reasoning_output_tokens"),
            *("input_audio_tokens", "output_audio_tokens"),
        )
    ),
    (Column("usage_units", "whole"), lambda told: told.event.units),
    (Column("usage_source"), _of_event("usage_source")),
    (Column("cost_status"), _of_event("cost_status")),
    *_money("cost", lambda told: told.now.cost_nano),
    *_money("known_cost", lambda told: told.now.known_nano),
    *_money("unknown_cost_up_to", lambda told: told.now.unknown_nano),
    *_money("doubted", lambda told: told.now.doubted_nano),
    *_money("wasted", _of_event("wasted_nano")),
    *_money("revenue", lambda told: told.revenue_nano),
    (Column("revenue_source"), lambda told: told.revenue_source),
    (Column("adjustments", "whole"), lambda told: len(told.adjustments)),
    (Column("properties", "json"), _of_event("properties")),
]
EVENT_COLUMNS = [column for column, _ in _EVENTS]
_EVENT_VALUES = [value for _, value in _EVENTS]

ATTEMPT_COLUMNS = [
    Column("event_id"),
    Column("attempt", "whole"),
    Column("started_at", "moment"),
    Column("first_byte_at", "moment"),
    Column("ended_at", "moment"),
    *map(Column, ("customer", "feature", "kind", "provider", "model", "status")),
    Column("http_status", "whole"),
    Column("error_class"),
    *(
        Column(name, "whole")
        for name in ("input_tokens", "cache_read_input_tokens", "output_tokens", "reasoning_output_tokens")
    ),
    *map(Column, ("usage_source", "cost_status")),
    Column("cost_usd", "nano"),
    Column("cost_nano", "whole"),
    Column("cost_upper_nano", "whole"),
    Column("upstream_request_id"),
]
BREAKDOWN_COLUMNS = [
    Column("event_id"),
    Column("attempt", "whole"),
    Column("started_at", "moment"),
    *map(Column, ("customer", "feature", "provider", "model", "unit")),
    Column("quantity", "whole"),
    Column("price_usd", "pico"),
    Column("price_pico", "whole"),
    Column("cost_usd", "nano"),
    Column("cost_nano", "whole"),
]


def event_lines(told: Told) -> Iterator[Line]:
    """The event's one row of EVENT_COLUMNS."""
    yield [value(told) for value in _EVENT_VALUES]


def attempt_lines(told: Told) -> Iterator[Line]:
    """A row of ATTEMPT_COLUMNS for each upstream try; what was corrected later is not in them."""
    event = told.event
    for number, attempt in enumerate(event.attempts, 1):
        usage = attempt.usage
        counts = ATTEMPT_COLUMNS[13:17]
        yield [
            event.id,
            number,
            *(attempt.started_ms or event.started_ms, attempt.first_byte_ms, attempt.ended_ms),
            *(event.customer, event.feature),
            *(attempt.kind, attempt.provider, attempt.model, attempt.status),
            *(attempt.http_status, attempt.error_class),
            *(None if usage is None else usage.get(column.name, 0) for column in counts),
            *(attempt.usage_source, attempt.cost_status),
            *(attempt.cost_nano, attempt.cost_nano, attempt.cost_upper_nano),
            attempt.upstream_request_id,
        ]


def breakdown_lines(told: Told) -> Iterator[Line]:
    """A row of BREAKDOWN_COLUMNS for each unit that an attempt was charged for."""
    event = told.event
    for number, provider, model, row in charged(event):
        yield [
            *(event.id, number, event.started_ms),
            *(event.customer, event.feature, provider, model, row.get("unit")),
            row.get("quantity"),
            *(row.get("price_pico"), row.get("price_pico")),
            *(row.get("cost_nano"), row.get("cost_nano")),
        ]


def charged(event: CostEvent) -> Iterator[tuple[int, str | None, str | None, dict[str, Any]]]:
    """(attempt from 1, provider, model, breakdown row): those of its attempts, or its own where it has none,
    as attempt 0."""
    if not event.attempts:
        for row in event.breakdown:
            yield 0, event.provider, event.model, row
    for number, attempt in enumerate(event.attempts, 1):
        for row in attempt.breakdown:
            yield number, attempt.provider or event.provider, _model(event, attempt), row


def _model(event: CostEvent, attempt: Attempt) -> str | None:
    return attempt.model or event.model
