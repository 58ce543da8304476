"""Which window holds at a moment: pure calendar arithmetic in UTC.

A window is part of the name of a limit's counters and fixed when a request is opened, so nothing has to
be reset and a late settlement cannot hit another period.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

WindowKind = Literal["day", "month", "lifetime"]
WINDOW_KINDS: tuple[WindowKind, ...] = ("day", "month", "lifetime")

DAY_MS = 86_400_000
FOREVER_MS = 2**53 - 1
"""The end of a lifetime: the largest integer that the ledger's arithmetic holds exactly."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """A span from `start_ms` (inclusive) to `end_ms` (exclusive), milliseconds since the epoch."""

    id: str
    start_ms: int
    end_ms: int

    def covers(self, moment_ms: int) -> bool:
        """True when the moment lies inside."""
        return self.start_ms <= moment_ms < self.end_ms


LIFETIME = Window("life", 0, FOREVER_MS)


def window_at(kind: str, now_ms: int) -> Window:
    """The window of this kind that covers `now_ms`; ids: `2026-11-21`, `2026-11`, `life`."""
    if kind == "lifetime":
        return LIFETIME
    today = _EPOCH + timedelta(milliseconds=now_ms)
    if kind == "day":
        start_ms = now_ms - now_ms % DAY_MS
        return Window(f"{today:%Y-%m-%d}", start_ms, start_ms + DAY_MS)
    if kind == "month":
        start = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = (start + timedelta(days=32)).replace(day=1)
        return Window(f"{today:%Y-%m}", _milliseconds(start), _milliseconds(end))
    raise ValueError(f"unknown window {kind!r}; known: {', '.join(WINDOW_KINDS)}")


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
