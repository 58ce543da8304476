"""Cost by what was counted: tokens of each kind, searches, images, and what a bill does not itemize. Pure.

Every row of every attempt's breakdown counts where its unit is. What the rows of an event do not add up to
(costs that were reported without a breakdown) is one row, and what became known later (corrections) another,
so that all rows together are the corrected cost of the events, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from metering.event import CostEvent

NOT_ITEMIZED = "not_itemized"
CORRECTIONS = "corrections"


@dataclass(slots=True)
class Item:
    """A unit: how much of it, and what it cost in nano-USD. `quantity` None: not a count."""

    unit: str
    quantity: int | None
    events: int
    nano: int


def itemized(events: Iterable[tuple[CostEvent, int]]) -> list[Item]:
    """`events`: each with the known part of its corrected cost. The dearest unit first."""
    items: dict[str, Item] = {}
    for event, corrected_nano in events:
        seen: dict[str, tuple[int, int]] = {}
        for row in _rows(event):
            unit = str(row.get("unit", NOT_ITEMIZED))
            quantity, nano = seen.get(unit, (0, 0))
            seen[unit] = (quantity + int(row.get("quantity") or 0), nano + int(row.get("cost_nano") or 0))
        for unit, (quantity, nano) in seen.items():
            item = items.setdefault(unit, Item(unit, 0, 0, 0))
            item.quantity = (item.quantity or 0) + quantity
            item.events += 1
            item.nano += nano
        told = sum(nano for _, nano in seen.values())
        rests = ((NOT_ITEMIZED, event.known_nano - told), (CORRECTIONS, corrected_nano - event.known_nano))
        for unit, nano in rests:
            if nano:
                item = items.setdefault(unit, Item(unit, None, 0, 0))
                item.events += 1
                item.nano += nano
    return sorted(items.values(), key=lambda item: (-item.nano, item.unit))


def _rows(event: CostEvent) -> list[dict[str, Any]]:
    rows = [row for attempt in event.attempts for row in attempt.breakdown]
    return rows or event.breakdown
