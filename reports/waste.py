"""Waste: what was paid for attempts that did not produce the answer, by what came of them. Pure, exact.

    failed    of requests that were not served at all
    retried   of attempts after which the same target was tried again
    fallback  of attempts after which another target was tried
    other     what the event tells as wasted beyond its attempts (calls that were reported without them)

The parts add up to the event's `wasted_nano`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from metering.event import CostEvent

FAILED = "failed"
_KINDS = {"retry": "retried", "reconnect": "retried", "fallback": "fallback"}


@dataclass(slots=True)
class Waste:
    """Nano-USD of each kind, and `estimated_nano`: how much of all cost was estimated."""

    failed: int = 0
    retried: int = 0
    fallback: int = 0
    other: int = 0
    estimated_nano: int = 0

    @property
    def total(self) -> int:
        """All that was wasted."""
        return self.failed + self.retried + self.fallback + self.other


def waste_of(events: Iterable[CostEvent]) -> Waste:
    """Of all these events."""
    found = Waste()
    for event in events:
        one = _of_event(event)
        for each in fields(Waste):
            setattr(found, each.name, getattr(found, each.name) + getattr(one, each.name))
    return found


def _of_event(event: CostEvent) -> Waste:
    found = Waste()
    if event.attempts:
        estimated = [each.cost_nano or 0 for each in event.attempts if each.cost_status == "estimated"]
        found.estimated_nano = sum(estimated)
    elif event.cost_status == "estimated":
        found.estimated_nano = event.cost_nano or 0
    if not event.wasted_nano:
        return found
    lost = event.attempts[:-1]
    costs = [each.cost_nano or 0 for each in lost]
    if event.status == FAILED or sum(costs) != event.wasted_nano:
        whole = sum(each.cost_nano or 0 for each in event.attempts)
        if event.status == FAILED or whole == event.wasted_nano:
            found.failed = event.wasted_nano
        else:
            found.other = event.wasted_nano
        return found
    for place, nano in enumerate(costs):
        name = _KINDS.get(event.attempts[place + 1].kind, "other")
        setattr(found, name, getattr(found, name) + nano)
    return found
