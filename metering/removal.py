"""Until when events have been removed for their age, and who must not ask for single ones before that.

Sums of whole hours and days remain in the rollups for good. A question that needs single events of a time
from which they were removed is refused, because an answer without them would look like the truth.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Table

from metering.rollup import DAY_MS, metadata

removals = Table("removals", metadata, Column("before_ms", BigInteger, primary_key=True, autoincrement=False))
kept_days = Table("kept_days", metadata, Column("day_ms", BigInteger, primary_key=True, autoincrement=False))


class EventsRemoved(Exception):
    """Single events of the span were removed for their age; whole UTC hours and days can be asked for by the
    names that rollups know. `complete_since_ms`: from here on all events are there."""

    def __init__(self, complete_since_ms: int) -> None:
        super().__init__(
            "single events of this span were removed for their age; ask for whole hours or days, or for a "
            "later span"
        )
        self.complete_since_ms = complete_since_ms


def complete_since(connection: Connection) -> int:
    """The moment from which all events are there, ms; 0 where none was ever removed."""
    return connection.scalar(sa.select(sa.func.max(removals.c.before_ms))) or 0


def check_complete(
    connection: Connection, since_ms: int, until_ms: int | None, *, documents: bool = False
) -> None:
    """Raise EventsRemoved where rows of events in [since_ms, until_ms) were removed. `documents`: or the
    documents of events, which go also on the days of which the rows are kept."""
    before_ms = complete_since(connection)
    if since_ms >= before_ms:
        return
    if documents:
        raise EventsRemoved(before_ms)
    first_day = since_ms // DAY_MS * DAY_MS
    end_ms = before_ms if until_ms is None else min(until_ms, before_ms)
    needed = -(-(end_ms - first_day) // DAY_MS)
    kept = connection.scalar(
        sa.select(sa.func.count()).where(kept_days.c.day_ms >= first_day, kept_days.c.day_ms < end_ms)
    )
    if kept != needed:
        raise EventsRemoved(before_ms)
