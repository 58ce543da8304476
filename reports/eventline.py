"""One cost event as a line that a person reads. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from metering.event import CostEvent
from metering.money import nano_to_usd
from reports.layout import NOBODY, UNKNOWN, printable


def event_line(event: CostEvent) -> tuple[str, ...]:
    """Its parts: time (UTC), status, customer / feature, model, tokens, cost, attempts."""
    time = datetime.fromtimestamp(event.started_ms // 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    customer, feature = event.customer or NOBODY, event.feature or NOBODY
    count = len(event.attempts)
    return (
        time,
        event.status,
        printable(f"{customer} / {feature}"),
        printable(event.model or event.model_requested or NOBODY),
        tokens(event),
        cost(event),
        "1 attempt" if count == 1 else f"{count} attempts",
    )


def tokens(event: CostEvent) -> str:
    """`1,200 in (400 cached), 300 out`; unknown where no usage is known."""
    if event.usage is None:
        return f"tokens {UNKNOWN}"
    cached = event.usage.get("cache_read_input_tokens", 0)
    shown = f"{event.usage.get('input_tokens', 0):,} in"
    if cached:
        shown += f" ({cached:,} cached)"
    return f"{shown}, {event.usage.get('output_tokens', 0):,} out"


def cost(event: CostEvent) -> str:
    """`$0.00033`; an unknown cost is said to be unknown, an estimated one to be estimated, with its bound."""
    bound = event.cost_upper_nano
    if event.cost_nano is None:
        return UNKNOWN if bound is None else f"{UNKNOWN}, at most ${nano_to_usd(bound)}"
    shown = f"${nano_to_usd(event.cost_nano)}"
    if event.cost_status == "estimated":
        shown += " estimated"
    if bound is not None and bound > event.cost_nano:
        shown += f", at most ${nano_to_usd(bound)}"
    return shown
