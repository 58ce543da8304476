"""Billing periods: so many calendar months in a plan's time zone. Pure.

Periods begin at midnight of the anchor's day, or of the month's last day where it has no such day, in every
`interval_months`th month from the anchor's. So a period of one month is exactly the window that a plan's
monthly limits with the same anchor count in. Periods are half-open and leave no gap: one may be 28 to 31 days
long, an hour longer or shorter where the clock changes in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from budgets.window import anchored, midnight_ms, zone_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PeriodTerms:
    """How a subscription's periods lie. `anchor_month`: one in which a period begins, counted from January of
    the year 0."""

    time_zone: str = "UTC"
    day: int = 1
    interval_months: int = 1
    anchor_month: int = 0


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_ms` (inclusive) to `end_ms` (exclusive)."""

    start_ms: int
    end_ms: int


def period_of(terms: PeriodTerms, moment_ms: int) -> Period:
    """The period that covers the moment."""
    local = (_EPOCH + timedelta(milliseconds=moment_ms)).astimezone(zone_of(terms.time_zone))
    month = local.year * 12 + local.month - 1
    first = month - (month - terms.anchor_month) % terms.interval_months
    # In its first month the period may not have begun yet. In the last one, or where the clock was put back
    # past midnight, the next one may have.
    if _start_ms(terms, first) > moment_ms:
        first -= terms.interval_months
    elif _start_ms(terms, first + terms.interval_months) <= moment_ms:
        first += terms.interval_months
    return Period(_start_ms(terms, first), _start_ms(terms, first + terms.interval_months))


def periods_between(terms: PeriodTerms, since_ms: int, until_ms: int) -> list[Period]:
    """The periods that cover [since_ms, until_ms), in order; none for an empty span."""
    found = []
    while since_ms < until_ms:
        found.append(period_of(terms, since_ms))
        since_ms = found[-1].end_ms
    return found


def _start_ms(terms: PeriodTerms, month: int) -> int:
    return _first_moment_ms(terms.time_zone, terms.day, month)


@lru_cache(maxsize=65_536)
def _first_moment_ms(time_zone: str, day: int, month: int) -> int:
    """The first moment of the anchor's day in this month, counted from the year 0."""
    year, number = divmod(month, 12)
    return midnight_ms(anchored(year, number + 1, day), zone_of(time_zone))
