"""Days and months as spans: they cover the asked span without gap or overlap, and are the zone's own."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.calendar import days_between, months_back_ms, months_between, on_hours
from tests.billing.made import DAY_MS, HOUR_MS, at

ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia", "America/Havana")


def test_days_of_utc() -> None:
    days = days_between(at("2026-03-01T12:00"), at("2026-03-03T01:00"))
    assert [day.name for day in days] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert days[0].since_ms == at("2026-03-01T12:00")
    assert days[1].since_ms, days[1].until_ms == (at("2026-03-02"), at("2026-03-03"))
    assert days[2].until_ms == at("2026-03-03T01:00")
    assert days_between(5, 5) == []


def test_a_day_on_which_the_clock_is_changed() -> None:
    zone = "Europe/Berlin"
    days = days_between(at("2026-03-28", zone), at("2026-03-31", zone), zone)
    assert [(day.until_ms - day.since_ms) // HOUR_MS for day in days] == [24, 23, 24]
    assert on_hours(days)
    assert not on_hours(days_between(at("2026-03-28"), at("2026-03-31"), "Asia/Kolkata"))


def test_a_day_that_a_zone_skipped() -> None:
    """Samoa had no 30 December 2011."""
    days = days_between(at("2011-12-29T10:00"), at("2012-01-01"), "Pacific/Apia")
    assert [day.name for day in days] == ["2011-12-29", "2011-12-31", "2012-01-01"]


def test_months() -> None:
    months = months_between(at("2026-01-31"), at("2026-04-01"))
    assert [month.name for month in months] == ["2026-01", "2026-02", "2026-03"]
    assert months_back_ms(at("2026-04-01"), 1) == at("2026-03-01")
    assert months_back_ms(at("2026-04-01T00:01"), 1) == at("2026-04-01")
    assert months_back_ms(at("2026-01-15"), 14) == at("2024-12-01")
    assert months_back_ms(at("1970-03-01"), 36) == 0


def test_an_unknown_zone() -> None:
    with pytest.raises(ValueError, match="Mars"):
        days_between(0, DAY_MS, "Mars/Base")


@given(
    st.integers(min_value=0, max_value=at("2040-01-01")),
    st.integers(min_value=1, max_value=70 * DAY_MS),
    st.sampled_from(ZONES),
    st.booleans(),
)
def test_buckets_cover_the_span(since_ms: int, length_ms: int, zone: str, by_month: bool) -> None:
    between = months_between if by_month else days_between
    found = between(since_ms, since_ms + length_ms, zone)
    assert found[0].since_ms == since_ms
    assert found[-1].until_ms == since_ms + length_ms
    assert all(first.until_ms == second.since_ms for first, second in itertools.pairwise(found))
    assert all(each.since_ms < each.until_ms for each in found)
    names = [each.name for each in found]
    assert names == sorted(set(names))
