"""Rows of the event store for reports, with only what a test is about."""

from __future__ import annotations

from typing import Any

from metering.eventstore import CostRow
from metering.rollup import MEASURES


def row(*key: str | None, **measures: Any) -> CostRow:
    """A row of one event per default."""
    return CostRow(key, **(dict.fromkeys(MEASURES, 0) | {"events": 1} | measures))
