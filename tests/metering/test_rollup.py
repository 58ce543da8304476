from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metering.event import Attempt, CostEvent
from metering.rollup import (
    DAY_MS,
    HOUR_MS,
    MEASURES,
    ROLLUPS,
    WEEK_MS,
    Piece,
    buckets,
    measured,
    pieces,
    signed_pieces,
)
from tests.metering.events import NOVEMBER_MS, event

MOMENTS = st.integers(0, 5 * DAY_MS)
LONG = MOMENTS | st.integers(0, 40 * DAY_MS) | st.integers(0, 960).map(lambda hours: hours * HOUR_MS)
COLUMNS = st.sampled_from(
    [
        (),
        ("customer",),
        ("provider", "route"),
        ("key_id",),
        ("customer", "model"),
        ("plan",),
        ("customer", "workspace"),
        ("trace_id",),
    ]
)


def facts(**changes: object) -> dict[str, int]:
    return dict(zip(MEASURES, measured(event(**changes)), strict=True))


def test_event_adds_one_of_itself_and_what_it_used() -> None:
    assert facts() == {
        "events": 1,
        "successes": 1,
        "failures": 0,
        "attempts": 1,
        "input_tokens": 1_200,
        "cached_tokens": 400,
        "output_tokens": 300,
        "reasoning_tokens": 100,
        "units": 1_500,
        "cost_nano": 330_000,
        "wasted_nano": 0,
        "unpriced": 0,
        "unknown_nano": 0,
        "doubted_nano": 0,
        "revenue_nano": 0,
        "revenue_known": 0,
        "tasks": 1,
        "task_successes": 1,
    }


def test_unknown_cost_is_counted_as_unpriced_with_its_bound() -> None:
    found = facts(cost_nano=None, cost_upper_nano=5_000)
    assert (found["cost_nano"], found["unpriced"], found["unknown_nano"]) == (0, 1, 5_000)
    assert facts(cost_nano=None)["unknown_nano"] == 0


def test_known_part_of_an_unknown_cost_is_counted() -> None:
    attempts = [Attempt(cost_nano=700), Attempt(), Attempt(cost_nano=30)]
    found = facts(cost_nano=None, cost_upper_nano=5_000, attempts=attempts)
    assert (found["cost_nano"], found["unpriced"], found["unknown_nano"]) == (730, 1, 4_270)
    assert facts(cost_nano=8, attempts=attempts)["cost_nano"] == 8


def test_bound_above_a_cost_is_unknown_and_one_below_is_nothing() -> None:
    assert facts(cost_nano=100, cost_upper_nano=150)["unknown_nano"] == 50
    assert facts(cost_nano=100, cost_upper_nano=90)["unknown_nano"] == 0


def test_rejected_and_unknown_outcomes_are_neither_success_nor_failure() -> None:
    for outcome, expected in {
        "success": (1, 0),
        "failure": (0, 1),
        "rejected": (0, 0),
        "unknown": (0, 0),
    }.items():
        found = facts(outcome=outcome)
        assert (found["successes"], found["failures"]) == expected


def test_known_revenue_of_zero_is_told_from_unknown_revenue() -> None:
    assert (facts(revenue_nano=0)["revenue_known"], facts()["revenue_known"]) == (1, 0)


def test_event_with_nothing_known_measures_as_one_event() -> None:
    found = dict(zip(MEASURES, measured(CostEvent(id="e1", cost_nano=0)), strict=True))
    assert {name for name, amount in found.items() if amount} == {"events", "units", "tasks"}
    assert sum(found.values()) == 3


def test_event_that_names_a_task_counts_as_none_until_tasks_are_settled() -> None:
    found = facts(task_id="t")
    assert (found["tasks"], found["task_successes"], found["successes"]) == (0, 0, 1)
    assert facts(outcome="failure")["task_successes"] == 0


@given(MOMENTS, st.none() | MOMENTS, COLUMNS)
def test_pieces_cover_the_span_without_gap_or_overlap(
    since: int, until: int | None, columns: tuple[str, ...]
) -> None:
    parts = pieces(since, until, columns)
    if until is not None and until <= since:
        assert parts == []
        return
    edges = [since, *(part.until_ms for part in parts)]
    assert edges[:-1] == [part.since_ms for part in parts]
    assert edges[-1] == until
    for part in parts:
        if part.rollup is not None:
            assert part.rollup.knows(columns)
            assert part.since_ms % part.rollup.bucket_ms == 0
            assert part.until_ms is None or part.until_ms % part.rollup.bucket_ms == 0
        elif any(rollup.knows(columns) for rollup in ROLLUPS):
            finest = min(rollup.bucket_ms for rollup in ROLLUPS if rollup.knows(columns))
            assert part.until_ms is not None
            assert part.until_ms - part.since_ms < 2 * finest


@given(LONG, st.none() | LONG, COLUMNS, st.sampled_from([HOUR_MS, DAY_MS, WEEK_MS]), st.booleans())
def test_what_is_added_and_taken_off_again_is_the_span(
    since: int, until: int | None, columns: tuple[str, ...], coarsest: int, apart: bool
) -> None:
    parts = signed_pieces(since, until, columns, coarsest, apart=apart)
    edges = {since, until or 2**60, 0}
    for part in parts:
        edges |= {part.since_ms, 2**60 if part.until_ms is None else part.until_ms}
        if part.rollup is not None:
            assert part.rollup.knows(columns)
            assert part.rollup.bucket_ms <= coarsest
            assert part.since_ms % part.rollup.bucket_ms == 0
            assert part.until_ms is None or part.until_ms % part.rollup.bucket_ms == 0
    for moment in edges:
        signs = [
            part.sign
            for part in parts
            if part.since_ms <= moment and (part.until_ms is None or moment < part.until_ms)
        ]
        assert sum(signs) == (since <= moment and (until is None or moment < until))
        assert signs == sorted(signs, reverse=True)


@given(LONG, LONG)
def test_no_end_needs_much_more_than_half_a_bucket_in_finer_ones(since: int, until: int) -> None:
    for part in signed_pieces(since, until, ("customer",)):
        coarser = {None: HOUR_MS, HOUR_MS: DAY_MS, DAY_MS: WEEK_MS}
        size = coarser.get(part.rollup and part.rollup.bucket_ms)
        if size is not None and part.until_ms is not None:
            assert part.until_ms - part.since_ms <= size * 9 // 8 + (
                part.rollup.bucket_ms if part.rollup else 0
            )


def test_each_question_is_answered_from_the_rollup_with_the_fewest_rows() -> None:
    def names(*columns: str, since: int = 0, until: int | None = None) -> list[str]:
        found = [part.rollup.table.name for part in pieces(since, until, columns) if part.rollup is not None]
        return [name.removeprefix("costs_by_") for name in found]

    assert names() == ["account_day"]
    assert names("plan") == names("feature") == ["feature_day"]
    assert names("provider") == names("route", "model") == ["route_day"]
    assert names("feature", "model") == ["model_day"]
    assert names("customer") == names("customer", "plan") == ["customer_week"]
    assert names("customer", "workspace") == ["customer_day"]
    assert names("customer", "feature", "model") == ["use_day"]
    assert names("key_id") == ["key_hour"]
    assert names("key_id", "model") == names("trace_id") == []


def test_buckets_are_no_larger_than_what_is_asked_for() -> None:
    for size in (HOUR_MS, DAY_MS):
        parts = pieces(0, None, ("customer",), size)
        assert [part.rollup.bucket_ms for part in parts if part.rollup] == [size]


def test_one_name_is_looked_up_bucket_by_bucket_and_only_where_events_can_be() -> None:
    (part,) = pieces(0, None, ("customer", "feature"))
    assert list(buckets(part, {"customer"}, 3 * DAY_MS - 1) or ()) == [0, DAY_MS, 2 * DAY_MS]
    assert buckets(part, {"feature"}, 3 * DAY_MS) is None
    assert buckets(part, {"customer"}, 5_000 * DAY_MS) is None
    assert buckets(Piece(None, 0, None), {"customer"}, 5) is None


def test_most_of_a_bucket_is_the_bucket_less_the_rest() -> None:
    def told(since: int, until: int, **more: Any) -> list[tuple[int, int, int | None, int]]:
        parts = signed_pieces(since, until, ("customer",), **more)
        return [
            (part.rollup.bucket_ms if part.rollup else 0, part.since_ms, part.until_ms, part.sign)
            for part in parts
        ]

    six_to_three = 6 * HOUR_MS, 3 * DAY_MS - 9 * HOUR_MS
    assert told(*six_to_three, coarsest_ms=DAY_MS) == [
        (DAY_MS, 0, 3 * DAY_MS, 1),
        (HOUR_MS, 0, 6 * HOUR_MS, -1),
        (HOUR_MS, 3 * DAY_MS - 9 * HOUR_MS, 3 * DAY_MS, -1),
    ]
    assert told(*six_to_three, coarsest_ms=DAY_MS, apart=True)[:3] == [
        (DAY_MS, 0, DAY_MS, 1),
        (DAY_MS, DAY_MS, 2 * DAY_MS, 1),
        (DAY_MS, 2 * DAY_MS, 3 * DAY_MS, 1),
    ]
    assert told(HOUR_MS + 60_000, 2 * HOUR_MS) == [
        (HOUR_MS, HOUR_MS, 2 * HOUR_MS, 1),
        (0, HOUR_MS, HOUR_MS + 60_000, -1),
    ]
    assert told(HOUR_MS + 60_000, HOUR_MS + 90_000) == [(0, HOUR_MS + 60_000, HOUR_MS + 90_000, 1)]


def test_a_week_of_customers_is_read_from_whole_days_hours_and_two_ragged_ends() -> None:
    since, until = NOVEMBER_MS + 90 * 60_000, NOVEMBER_MS + 7 * DAY_MS + 90 * 60_000
    sizes = [part.rollup.bucket_ms if part.rollup else 0 for part in pieces(since, until, ["customer"])]
    assert sizes == [0, HOUR_MS, DAY_MS, HOUR_MS, 0]


def test_a_quarter_of_customers_is_read_from_weeks_between_ragged_ends() -> None:
    since = NOVEMBER_MS + 90 * 60_000
    parts = pieces(since, since + 90 * DAY_MS, ["customer"])
    sizes = [part.rollup.bucket_ms if part.rollup else 0 for part in parts]
    assert sizes == [0, HOUR_MS, DAY_MS, WEEK_MS, DAY_MS, HOUR_MS, 0]
