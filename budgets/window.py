"""Which window holds at a moment: pure calendar arithmetic.

A window is part of the place of a limit's counters and fixed when a request is opened, so nothing has to be
reset and a late settlement cannot hit another period. Windows begin at midnight of their time zone (a day
of the change to or from summer time has 23 or 25 hours there); where the clock skips midnight, at the first
moment of that day.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

CALENDAR_WINDOWS = ("day", "week", "month", "lifetime")
RATE_WINDOW = "minute"
CONCURRENCY_WINDOW = "now"
WINDOW_KINDS = (*CALENDAR_WINDOWS, RATE_WINDOW, CONCURRENCY_WINDOW)

FOREVER_MS = 2**53 - 1
"""The end of a lifetime: the largest integer that the ledger's arithmetic holds exactly."""
FIRST_MS, LAST_MS = 0, 253_370_764_799_999
"""The moments whose windows a calendar can name: from 1970 to the end of the year 9998."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_DAY_MS = 86_400_000
KNOWN_MAX = 4_096
_known: dict[tuple[str, str, int, int], Window] = {}
"""By terms and UTC day the window that was last asked for: windows of the same terms do not overlap, so one
that covers a moment is its window. Calendars and zones take thirty times as long."""


class WindowTerms(Protocol):
    """What of a limit decides its windows."""

    @property
    def window(self) -> str: ...
    @property
    def time_zone(self) -> str: ...
    @property
    def anchor(self) -> int: ...


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
_ENDLESS = {
    "lifetime": LIFETIME,
    RATE_WINDOW: Window(RATE_WINDOW, 0, FOREVER_MS),
    CONCURRENCY_WINDOW: Window(CONCURRENCY_WINDOW, 0, FOREVER_MS),
}


def window_of(terms: WindowTerms, now_ms: int) -> Window:
    """The limit's window that covers `now_ms`.

    Ids: `2026-11-21`, `2026-W47`, `2026-11`, `life`; in another zone or with an anchor the first day tells
    it: `2026-11-15@Europe/Berlin+m15`. ValueError for an unknown kind, zone or anchor.
    """
    endless = _ENDLESS.get(terms.window)
    if endless is not None:
        return endless
    if not FIRST_MS <= now_ms <= LAST_MS:
        raise ValueError(f"{now_ms} ms since the epoch is no moment of the years 1970 to 9998")
    place = (terms.window, terms.time_zone, terms.anchor, now_ms // _DAY_MS)
    known = _known.get(place)
    if known is not None and known.covers(now_ms):
        return known
    made = _calculated(terms, now_ms)
    if len(_known) >= KNOWN_MAX:
        _known.clear()
    _known[place] = made
    return made


def _calculated(terms: WindowTerms, now_ms: int) -> Window:
    zone = zone_of(terms.time_zone)
    today = (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone).date()
    first, after = _span(terms.window, terms.anchor, today)
    if midnight_ms(after, zone) <= now_ms:  # the clock was put back past midnight: the day had begun already
        first, after = _span(terms.window, terms.anchor, after)
    return Window(_name(terms, first), midnight_ms(first, zone), midnight_ms(after, zone))


@lru_cache(maxsize=1_024)
def zone_of(name: str) -> tzinfo:
    """The zone of an IANA name (`Europe/Berlin`); ValueError for an unknown one."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"time zone {name!r} is unknown; write an IANA name such as Europe/Berlin") from None


def check_window(terms: WindowTerms) -> None:
    """Raise ValueError, naming what is wrong, when these terms make no window."""
    if terms.window not in WINDOW_KINDS:
        raise ValueError(f"window {terms.window!r} is unknown; known: {', '.join(WINDOW_KINDS)}")
    zone_of(terms.time_zone)
    most = {"month": 31, "week": 7}.get(terms.window, 1)
    if type(terms.anchor) is not int or not 1 <= terms.anchor <= most:
        what = {"month": "a day of the month, 1 to 31", "week": "a weekday, 1 (Monday) to 7"}
        raise ValueError(
            f"anchor {terms.anchor!r}: {what.get(terms.window, f'a {terms.window} window has none, so 1')}"
        )
    if terms.time_zone != "UTC" and terms.window in _ENDLESS:
        raise ValueError(f"time zone {terms.time_zone!r}: a {terms.window} window needs none")


def _span(kind: str, anchor: int, today: date) -> tuple[date, date]:
    """First day of the window and of the next one."""
    if kind == "day":
        return today, today + _DAY
    if kind == "week":
        first = today - timedelta(days=(today.isoweekday() - anchor) % 7)
        return first, first + timedelta(days=7)
    if kind == "month":
        first = anchored(today.year, today.month, anchor)
        if today < first:
            return anchored(*_month_after(first, -1), anchor), first
        return first, anchored(*_month_after(first, 1), anchor)
    raise ValueError(f"window {kind!r} is unknown; known: {', '.join(WINDOW_KINDS)}")


def anchored(year: int, month: int, anchor: int) -> date:
    """The anchor's day of this month, or its last day where it has no such day."""
    return date(year, month, min(anchor, monthrange(year, month)[1]))


def _month_after(day: date, months: int) -> tuple[int, int]:
    years, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return years, month + 1


def _name(terms: WindowTerms, first: date) -> str:
    plain = terms.time_zone == "UTC" and terms.anchor == 1
    if plain and terms.window == "month":
        return f"{first:%Y-%m}"
    if plain and terms.window == "week":
        return f"{first:%G-W%V}"
    zone = "" if terms.time_zone == "UTC" else f"@{terms.time_zone}"
    # A week or month that begins on a day has another length than the day, so another name.
    mark = {"day": "", "week": "w", "month": "m"}[terms.window]
    return f"{first.isoformat()}{zone}{mark and f'+{mark}{terms.anchor}'}"


def midnight_ms(day: date, zone: tzinfo) -> int:
    """The first moment of the day in the zone."""
    # Where midnight comes twice this is the first one. Where it is skipped, the offset of before is taken, so
    # that it names the moment of the change.
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    return (midnight - _EPOCH) // timedelta(milliseconds=1)
