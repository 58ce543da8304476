"""The cost events beside the provider's bill, request by request. Pure.

What must hold for each request, in nano-USD: a known cost is the billed amount; an estimated one is an
estimate, and the billed amount is at most spent + doubted. Every entry of the bill has exactly one event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metering.event import CostEvent

KNOWN, FREE, ESTIMATED, UNKNOWN = "known", "free", "estimated", "unknown"
_CERTAINTY = {
    "priced": KNOWN,
    "override": KNOWN,
    "provider_reported": KNOWN,
    "free": FREE,
    "estimated": ESTIMATED,
}


@dataclass(slots=True)
class Sums:
    """Of some requests: their number, and what was recorded, doubted and billed. Nano-USD."""

    requests: int = 0
    recorded_nano: int = 0
    doubted_nano: int = 0
    billed_nano: int = 0

    @property
    def difference_nano(self) -> int:
        """Recorded less billed: 0 for what is known, below 0 where an estimate fell short."""
        return self.recorded_nano - self.billed_nano

    def add(self, event: CostEvent, billed_nano: int) -> None:
        """Count one request."""
        self.requests += 1
        self.recorded_nano += event.cost_nano or 0
        self.doubted_nano += event.doubted_nano
        self.billed_nano += billed_nano


Group = tuple[str | None, str | None]


@dataclass(slots=True)
class Audit:
    """The comparison. Lists hold request ids.

    `kinds` sums by (certainty, status); `groups` by (customer, feature); `keys` by key id. `mispriced`: a
    known cost that is not the billed amount; `unbounded`: a bill above spent + doubted; `without_event` and
    `repeated`: entries of the bill with no event, and with more than one.
    """

    entries: int = 0
    billed_nano: int = 0
    events: int = 0
    kinds: dict[tuple[str, str], Sums] = field(default_factory=dict)
    groups: dict[Group, Sums] = field(default_factory=dict)
    keys: dict[str, Sums] = field(default_factory=dict)
    total: Sums = field(default_factory=Sums)
    mispriced: list[str] = field(default_factory=list)
    unbounded: list[str] = field(default_factory=list)
    without_event: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    def sums_of(self, certainty: str) -> Sums:
        """The sums of all requests whose cost is that certain."""
        found = Sums()
        for (kind, _), sums in self.kinds.items():
            if kind == certainty:
                found.requests += sums.requests
                found.recorded_nano += sums.recorded_nano
                found.doubted_nano += sums.doubted_nano
                found.billed_nano += sums.billed_nano
        return found


def bill_of(document: Mapping[str, Any]) -> dict[str, int]:
    """Request id -> billed nano-USD, from the provider's bill."""
    return {entry["id"]: entry["nano"] for entry in document["requests"]}


def audit(events: Sequence[CostEvent], bill: Mapping[str, int]) -> Audit:
    """Compare. A request that the provider has no entry for was billed nothing."""
    found = Audit(entries=len(bill), billed_nano=sum(bill.values()), events=len(events))
    counted = Counter(event.id for event in events)
    found.repeated = [event_id for event_id, count in counted.items() if count > 1]
    found.without_event = [event_id for event_id in bill if event_id not in counted]
    for event in events:
        billed_nano = bill.get(event.id, 0)
        certainty = _CERTAINTY.get(event.cost_status, UNKNOWN)
        if certainty in (KNOWN, FREE):
            if event.cost_nano != billed_nano:
                found.mispriced.append(event.id)
        elif billed_nano > (event.cost_nano or 0) + event.doubted_nano:
            found.unbounded.append(event.id)
        for sums in (
            found.kinds.setdefault((certainty, event.status), Sums()),
            found.groups.setdefault((event.customer, event.feature), Sums()),
            found.keys.setdefault(event.key_id or "", Sums()),
            found.total,
        ):
            sums.add(event, billed_nano)
    return found


def misattributed(events: Iterable[CostEvent], asked: Mapping[str, Group]) -> list[str]:
    """Ids of events that are not on the customer and feature that asked; `asked` by request id."""
    return [
        event.id
        for event in events
        if event.id in asked and asked[event.id] != (event.customer, event.feature)
    ]
