"""Units: how much of its feature an event is, for prices per unit. Pure.

What was reported with the event (`usage_units`) counts. Else its input and output tokens together; else,
where no tokens were counted, one unit for a request that was served. One that failed served nobody: none.
"""

from __future__ import annotations

from metering.event import CostEvent

FAILED = "failed"


def units_of(event: CostEvent) -> int:
    """The event's units, 0 or more."""
    if event.usage_units is not None:
        return max(0, event.usage_units)
    if event.status == FAILED:
        return 0
    usage = event.usage or {}
    tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    return tokens if tokens > 0 else 1
