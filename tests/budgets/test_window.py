"""Windows of the calendar, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.window import FOREVER_MS, Window, window_at


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("kind", "now", "window_id", "start", "end"),
    [
        ("day", "2026-11-21T00:00", "2026-11-21", "2026-11-21", "2026-11-22"),
        ("day", "2028-02-29T23:59", "2028-02-29", "2028-02-29", "2028-03-01"),
        ("month", "2026-12-31T23:59", "2026-12", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T12:00", "2028-02", "2028-02-01", "2028-03-01"),
        ("month", "2026-03-29T02:30", "2026-03", "2026-03-01", "2026-04-01"),
    ],
)
def test_a_window_begins_and_ends_at_the_turn_of_the_calendar(
    kind: str, now: str, window_id: str, start: str, end: str
) -> None:
    assert window_at(kind, ms(now)) == Window(window_id, ms(start), ms(end))


def test_a_lifetime_has_no_end() -> None:
    assert window_at("lifetime", 1) == Window("life", 0, FOREVER_MS)


def test_an_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown window 'week'; known: day"):
        window_at("week", 1)


@given(st.integers(min_value=0, max_value=ms("2200-01-01")), st.sampled_from(["day", "month", "lifetime"]))
def test_every_moment_lies_in_its_window_and_windows_meet_without_gap(now_ms: int, kind: str) -> None:
    window = window_at(kind, now_ms)
    assert window.covers(now_ms)
    assert window_at(kind, window.start_ms) == window
    if window.end_ms != FOREVER_MS:
        assert window_at(kind, window.end_ms - 1) == window
        following = window_at(kind, window.end_ms)
        assert following.start_ms == window.end_ms
        assert following.id != window.id
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now_ms)
        assert moment.isoformat().startswith(window.id)
