"""Windows of the calendar: they tile time in every zone, and are called so that none is taken for another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import budgets.window
from budgets.window import FIRST_MS, FOREVER_MS, LAST_MS, Window, check_window, window_of

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # its summer began at midnight, which the clock skipped
    "America/Havana",  # its summer ends at one o'clock: midnight comes twice
    "America/St_Johns",  # until 2011 at one past midnight, which brought the day before back
    "America/Scoresbysund",
    "Australia/Lord_Howe",  # half an hour of summer time
    "Asia/Kathmandu",  # 5:45
    "Pacific/Apia",  # 2011-12-30 did not happen
    "Pacific/Kiritimati",
    "Pacific/Chatham",
    "Africa/Casablanca",  # out of summer time for Ramadan
)


@dataclass(frozen=True)
class Terms:
    window: str = "day"
    time_zone: str = "UTC"
    anchor: int = 1


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    ("terms", "now", "window_id", "start", "end"),
    [
        (Terms("day"), "2026-11-21T00:00", "2026-11-21", "2026-11-21", "2026-11-22"),
        (Terms("day"), "2028-02-29T23:59", "2028-02-29", "2028-02-29", "2028-03-01"),
        (Terms("week"), "2026-11-21T12:00", "2026-W47", "2026-11-16", "2026-11-23"),
        (Terms("week"), "2027-01-03T23:59", "2026-W53", "2026-12-28", "2027-01-04"),
        (Terms("week", anchor=7), "2026-11-21T12:00", "2026-11-15+w7", "2026-11-15", "2026-11-22"),
        (Terms("week", anchor=6), "2026-11-21T00:00", "2026-11-21+w6", "2026-11-21", "2026-11-28"),
        (Terms("month"), "2026-12-31T23:59", "2026-12", "2026-12-01", "2027-01-01"),
        (Terms("month"), "2028-02-29T12:00", "2028-02", "2028-02-01", "2028-03-01"),
        (Terms("month", anchor=15), "2026-11-14T23:59", "2026-10-15+m15", "2026-10-15", "2026-11-15"),
        (Terms("month", anchor=15), "2026-11-15T00:00", "2026-11-15+m15", "2026-11-15", "2026-12-15"),
        (Terms("month", anchor=31), "2026-02-27T23:59", "2026-01-31+m31", "2026-01-31", "2026-02-28"),
        (Terms("month", anchor=31), "2026-02-28T00:00", "2026-02-28+m31", "2026-02-28", "2026-03-31"),
        (Terms("month", anchor=30), "2028-02-29T00:00", "2028-02-29+m30", "2028-02-29", "2028-03-30"),
        (Terms("month", anchor=29), "2027-02-28T00:00", "2027-02-28+m29", "2027-02-28", "2027-03-29"),
        (Terms("month", anchor=29), "2028-02-28T23:59", "2028-01-29+m29", "2028-01-29", "2028-02-29"),
        (Terms("month", anchor=31), "2027-01-15T00:00", "2026-12-31+m31", "2026-12-31", "2027-01-31"),
    ],
)
def test_a_window_begins_and_ends_at_the_turn_of_the_calendar(
    terms: Terms, now: str, window_id: str, start: str, end: str
) -> None:
    assert window_of(terms, ms(now)) == Window(window_id, ms(start), ms(end))


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-07-01", 24),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Asia/Kathmandu", "2026-11-21", 24),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("America/Havana", "2026-11-01", 25),
        ("Pacific/Apia", "2011-12-29", 24),
    ],
)
def test_a_day_is_as_long_as_the_clocks_there_make_it(zone: str, day: str, hours: float) -> None:
    window = window_of(Terms("day", zone), ms(f"{day}T12:00", zone))
    assert window.id == f"{day}@{zone}"
    assert window.end_ms - window.start_ms == hours * HOUR_MS


def test_a_day_that_a_zone_left_out_has_no_window() -> None:
    zone = Terms("day", "Pacific/Apia")
    before = window_of(zone, ms("2011-12-29T23:59", "Pacific/Apia"))
    after = window_of(zone, before.end_ms)
    assert (before.id, after.id) == ("2011-12-29@Pacific/Apia", "2011-12-31@Pacific/Apia")
    month = window_of(Terms("month", "Pacific/Apia"), before.start_ms)
    assert month.end_ms - month.start_ms == 30 * DAY_MS
    anchored = Terms("month", "Pacific/Apia", 30)
    assert window_of(anchored, before.end_ms).start_ms == before.end_ms


def test_a_day_once_begun_goes_on_when_the_clock_is_put_back_before_it() -> None:
    terms = Terms("day", "America/St_Johns")
    midnight = ms("2010-11-07T00:00", "America/St_Johns")
    for moment in (midnight, midnight + 30_000, midnight + 60_000, midnight + HOUR_MS + 60_000):
        assert window_of(terms, moment).id == "2010-11-07@America/St_Johns"
    assert window_of(terms, midnight - 1).end_ms == midnight
    assert window_of(terms, midnight).end_ms == midnight + 25 * HOUR_MS


def test_a_zone_has_windows_of_its_own_even_where_they_begin_at_the_same_moment() -> None:
    now_ms = ms("2026-11-21T12:00")
    same_moment = [
        window_of(Terms(kind, zone, anchor), now_ms)
        for kind, anchor in (("day", 1), ("week", 6), ("month", 21))
        for zone in ("UTC", "Africa/Abidjan")
    ]
    assert {window.start_ms for window in same_moment} == {ms("2026-11-21")}
    assert len({window.id for window in same_moment}) == 6


def test_a_lifetime_a_rate_and_what_runs_now_have_no_end() -> None:
    assert window_of(Terms("lifetime"), 1) == Window("life", 0, FOREVER_MS)
    assert window_of(Terms("minute"), 1) == Window("minute", 0, FOREVER_MS)
    assert window_of(Terms("now"), 1) == Window("now", 0, FOREVER_MS)


@pytest.mark.parametrize("kind", ["day", "week", "month"])
def test_windows_are_named_from_1970_to_9998_and_moments_beyond_are_refused(kind: str) -> None:
    assert window_of(Terms(kind), FIRST_MS).covers(FIRST_MS)
    assert window_of(Terms(kind, "Pacific/Kiritimati"), LAST_MS).covers(LAST_MS)
    for moment in (FIRST_MS - 1, LAST_MS + 1):
        with pytest.raises(ValueError, match="no moment of the years 1970 to 9998"):
            window_of(Terms(kind), moment)


@pytest.mark.parametrize(
    ("terms", "fault"),
    [
        (Terms("hour"), "window 'hour' is unknown; known: day, week, month, lifetime, minute, now"),
        (Terms("day", "Europe/Atlantis"), "'Europe/Atlantis' is unknown; write an IANA name such as Europe"),
        (Terms("day", "../../etc/passwd"), "is unknown"),
        (Terms("day", ""), "is unknown"),
        (Terms("month", anchor=0), "anchor 0: a day of the month, 1 to 31"),
        (Terms("month", anchor=32), "anchor 32"),
        (Terms("week", anchor=8), r"anchor 8: a weekday, 1 \(Monday\) to 7"),
        (Terms("day", anchor=2), "a day window has none, so 1"),
        (Terms("lifetime", anchor=2), "a lifetime window has none"),
        (Terms("month", anchor=True), "anchor True"),
        (Terms("lifetime", "Europe/Berlin"), "a lifetime window needs none"),
        (Terms("minute", "Europe/Berlin"), "a minute window needs none"),
    ],
)
def test_terms_that_make_no_window_are_refused_by_name(terms: Terms, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        check_window(terms)


def test_an_unknown_kind_of_window_is_not_computed() -> None:
    with pytest.raises(ValueError, match="window 'hour' is unknown"):
        window_of(Terms("hour"), 1)


calendars = st.one_of(
    st.builds(Terms, st.just("day"), st.sampled_from(ZONES)),
    st.builds(Terms, st.just("week"), st.sampled_from(ZONES), st.integers(1, 7)),
    st.builds(Terms, st.just("month"), st.sampled_from(ZONES), st.integers(1, 31)),
)
moments = st.integers(0, ms("2200-01-01")) | st.sampled_from(
    [
        ms("2011-12-30T10:00"),  # Apia leaves out a day
        ms("2010-11-07T02:31"),  # St John's goes back past midnight
        ms("2018-11-04T03:00"),  # São Paulo skips midnight
        ms("2026-11-01T05:00"),  # Havana has midnight twice
        ms("2026-03-29T01:00"),
        ms("2026-10-25T01:00"),
        ms("2028-02-29T00:00"),
    ]
).flatmap(lambda change: st.integers(change - 26 * HOUR_MS, change + 26 * HOUR_MS))


@given(terms=calendars, now_ms=moments)
def test_every_moment_lies_in_one_window_and_windows_meet_without_gap(terms: Terms, now_ms: int) -> None:
    window = window_of(terms, now_ms)
    assert window.covers(now_ms)
    assert window_of(terms, max(0, window.start_ms)) == window
    assert window_of(terms, window.end_ms - 1) == window
    following = window_of(terms, window.end_ms)
    assert following.start_ms == window.end_ms
    assert following.id != window.id
    if window.start_ms > 0:
        assert window_of(terms, window.start_ms - 1).end_ms == window.start_ms


@given(terms=calendars, now_ms=moments)
def test_a_window_begins_with_its_own_day(terms: Terms, now_ms: int) -> None:
    window = window_of(terms, now_ms)
    zone = ZoneInfo(terms.time_zone)
    first = datetime.fromtimestamp(window.start_ms / 1000, zone).date()
    before = datetime.fromtimestamp(window.start_ms / 1000 - 0.001, zone).date()
    assert before < first
    if terms.window == "week":
        assert first.isoweekday() == terms.anchor
    if terms.window == "month" and first.day != terms.anchor:
        # Only a month without that day begins on another: its last, or the next where that was left out.
        assert first.day < terms.anchor or first.isoformat() == "2011-12-31"
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    assert abs(moment.timestamp() * 1000 - window.start_ms) <= 32 * DAY_MS


@given(now_ms=moments, one=calendars, other=calendars)
def test_two_windows_have_the_same_id_only_if_they_are_the_same(
    now_ms: int, one: Terms, other: Terms
) -> None:
    first, second = window_of(one, now_ms), window_of(other, now_ms)
    if first.id == second.id:
        assert first == second


@given(terms=calendars, now_ms=moments, steps=st.lists(st.integers(-30, 30), max_size=5))
def test_what_was_asked_before_changes_no_answer(terms: Terms, now_ms: int, steps: list[int]) -> None:
    asked = [max(0, now_ms + step * HOUR_MS) for step in (0, *steps)]
    found = [window_of(terms, moment) for moment in asked]
    for moment, window in zip(asked, found, strict=True):
        budgets.window._known.clear()
        assert window_of(terms, moment) == window
