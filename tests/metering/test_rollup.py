from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metering.event import Attempt, CostEvent
from metering.rollup import DAY_MS, HOUR_MS, MEASURES, ROLLUPS, measured, pieces
from tests.metering.events import NOVEMBER_MS, event

MOMENTS = st.integers(0, 5 * DAY_MS)
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
        "cost_nano": 330_000,
        "wasted_nano": 0,
        "unpriced": 0,
        "unknown_nano": 0,
        "doubted_nano": 0,
        "revenue_nano": 0,
        "revenue_known": 0,
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
    assert sum(measured(CostEvent(id="e1", cost_nano=0))) == 1


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


def test_sums_of_workspaces_answer_only_questions_that_name_one() -> None:
    (of_workspaces,) = [rollup for rollup in ROLLUPS if rollup.only == "workspace"]
    assert of_workspaces.knows(("workspace",))
    assert not of_workspaces.knows(("customer",))
    assert not of_workspaces.knows(())


def test_a_week_of_customers_is_read_from_whole_days_hours_and_two_ragged_ends() -> None:
    since, until = NOVEMBER_MS + 90 * 60_000, NOVEMBER_MS + 7 * DAY_MS + 90 * 60_000
    sizes = [part.rollup.bucket_ms if part.rollup else 0 for part in pieces(since, until, ["customer"])]
    assert sizes == [0, HOUR_MS, DAY_MS, HOUR_MS, 0]
