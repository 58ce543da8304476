"""Days and months as spans of time, in a time zone. Pure.

A day or month of a zone begins at its first moment there, so one may have 23 or 25 hours. The record is
summed by UTC hours: buckets of a zone are exact sums of those where each begins on a whole hour, and
`on_hours` says whether that is so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from budgets.window import midnight_ms, zone_of
from metering.rollup import HOUR_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A day (`2026-11-21`) or month (`2026-11`), from `since_ms` (inclusive) to `until_ms` (exclusive). At
    the ends of an asked span only the part of it inside the span."""

    name: str
    since_ms: int
    until_ms: int


def days_between(since_ms: int, until_ms: int, time_zone: str = "UTC") -> list[Bucket]:
    """The days that cover [since_ms, until_ms), cut at its ends. ValueError for an unknown zone."""
    zone = zone_of(time_zone)
    day = _local(since_ms, time_zone)
    starts = ((each, midnight_ms(each, zone)) for each in _days(day))
    return _cut(((f"{each:%Y-%m-%d}", start) for each, start in starts), since_ms, until_ms)


def months_between(since_ms: int, until_ms: int, time_zone: str = "UTC") -> list[Bucket]:
    """The months that cover [since_ms, until_ms), cut at its ends. ValueError for an unknown zone."""
    zone = zone_of(time_zone)
    day = _local(since_ms, time_zone)
    starts = ((each, midnight_ms(each, zone)) for each in _months(day))
    return _cut(((f"{each:%Y-%m}", start) for each, start in starts), since_ms, until_ms)


def months_back_ms(until_ms: int, months: int, time_zone: str = "UTC") -> int:
    """The first moment of the month that is `months` - 1 before the one of the last moment of a span."""
    last = _local(max(0, until_ms - 1), time_zone)
    year, number = divmod(last.year * 12 + last.month - months, 12)
    if year < 1970:
        return 0
    return max(0, midnight_ms(date(year, number + 1, 1), zone_of(time_zone)))


def on_hours(buckets: list[Bucket]) -> bool:
    """Whether each bucket begins and ends on a whole UTC hour, apart from the span's own ends."""
    return all(each.since_ms % HOUR_MS == 0 for each in buckets[1:])


def _local(moment_ms: int, time_zone: str) -> date:
    """The day of the zone that the moment is in. A clock that is put back past midnight makes two first
    moments of a day; the cut below drops the empty part."""
    return (_EPOCH + timedelta(milliseconds=moment_ms)).astimezone(zone_of(time_zone)).date()


def _days(day: date) -> Iterator[date]:
    while True:
        yield day
        day += timedelta(days=1)


def _months(day: date) -> Iterator[date]:
    day = day.replace(day=1)
    while True:
        yield day
        day = (day + timedelta(days=31)).replace(day=1)


def _cut(starts: Iterator[tuple[str, int]], since_ms: int, until_ms: int) -> list[Bucket]:
    found: list[Bucket] = []
    name, _ = next(starts)
    while since_ms < until_ms:
        following, start_ms = next(starts)
        if start_ms > since_ms:
            found.append(Bucket(name, since_ms, min(start_ms, until_ms)))
            since_ms = start_ms
        name = following
    return found
