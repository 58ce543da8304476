"""What reported usage teaches of a tokenizer, and what no report can do to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.calibration import (
    EACH,
    FIRST,
    LEAST_PPM,
    MODELS_MAX,
    MOST_PPM,
    OBSERVED_MIN,
    PPM,
    WEIGHT_MAX,
    Calibration,
    Factor,
    ModelFactors,
    estimated,
)
from metering.usage.reading import COUNT_MAX


def taught(*observations: tuple[int, int]) -> Factor:
    factor = Factor()
    for counted, reported in observations:
        factor.observe(counted, reported)
    return factor


def test_a_factor_is_what_was_reported_by_what_was_counted() -> None:
    assert taught(*[(100, 137)] * 5).ppm == 1_370_000
    # By length: 100 tokens at 1, 300 at 2.
    assert taught((100, 100), (300, 600)).ppm == 1_750_000


def test_nothing_is_known_before_several_were_observed() -> None:
    factor = taught(*[(100, 200)] * (OBSERVED_MIN - 1))
    assert not factor.known
    factor.observe(100, 200)
    assert factor.known


@pytest.mark.parametrize(("counted", "reported"), [(0, 50), (15, 50), (100, 0), (100, -3)])
def test_what_tells_nothing_is_passed_over(counted: int, reported: int) -> None:
    factor = taught(*[(counted, reported)] * 9)
    assert (factor.ppm, factor.observed) == (PPM, 0)


def test_a_model_that_changes_is_followed() -> None:
    factor = taught(*[(WEIGHT_MAX, 2 * WEIGHT_MAX)] * 100)
    for _ in range(100):
        factor.observe(WEIGHT_MAX, WEIGHT_MAX)
    assert factor.ppm == pytest.approx(PPM, rel=0.01)


def test_one_wrong_report_moves_a_settled_factor_by_a_seventeenth_of_the_way_at_most() -> None:
    factor = taught(*[(WEIGHT_MAX, WEIGHT_MAX)] * 50)
    factor.observe(100_000, COUNT_MAX)
    assert PPM < factor.ppm <= PPM + (MOST_PPM - PPM) // 17 + 1


@pytest.mark.parametrize(("reported", "end"), [(1, LEAST_PPM), (COUNT_MAX, MOST_PPM)])
def test_wrong_reports_for_ever_lead_to_the_bound_and_no_further(reported: int, end: int) -> None:
    factor = taught(*[(1_000, reported)] * 2_000)
    assert factor.ppm == pytest.approx(end, abs=64)
    assert LEAST_PPM <= factor.ppm <= MOST_PPM


@given(st.lists(st.tuples(st.integers(0, COUNT_MAX), st.integers(-1, COUNT_MAX)), max_size=60))
def test_no_reports_bring_a_factor_out_of_its_bounds(observations: list[tuple[int, int]]) -> None:
    factor = taught(*observations)
    assert LEAST_PPM <= factor.ppm <= MOST_PPM
    assert all(isinstance(figure, int) for figure in (factor.ppm, factor.weight))


@given(st.integers(0, 10**7), st.integers(LEAST_PPM, MOST_PPM))
def test_an_estimate_is_the_product_rounded_up(counted: int, ppm: int) -> None:
    found = estimated(counted, ppm)
    assert (found - 1) * PPM < counted * ppm <= found * PPM


def test_the_first_answers_are_looked_at_and_then_few() -> None:
    model = ModelFactors(learns=True)
    looked = []
    for number in range(1, 1_001):
        if model.due():
            model.looked()
            looked.append(number)
    assert looked[:FIRST] == list(range(1, FIRST + 1))
    assert looked[FIRST:] == [number for number in range(FIRST + 1, 1_001) if number % EACH == 0]


def test_a_published_tokenizer_leaves_nothing_to_learn() -> None:
    model = ModelFactors(learns=False)
    assert not any(model.due() for _ in range(1_000))


def test_the_other_directions_factor_stands_in_where_only_that_is_known() -> None:
    model = ModelFactors(learns=True)
    assert model.ppm("input") is model.ppm("output") is None
    for _ in range(OBSERVED_MIN):
        model.input.observe(100, 150)
    assert (model.ppm("input"), model.ppm("output")) == (1_500_000, 1_500_000)
    for _ in range(OBSERVED_MIN):
        model.output.observe(100, 120)
    assert (model.ppm("input"), model.ppm("output")) == (1_500_000, 1_200_000)


def test_thoughts_that_are_not_shown_are_learnt_as_what_is_beyond_the_text() -> None:
    model = ModelFactors(learns=True)
    model.observe_output(100, 400, 250)
    assert model.beyond.observed == 0, "without a factor nothing says what the text was billed as"
    for _ in range(OBSERVED_MIN):
        model.input.observe(100, 150)
    assert model.beyond.tokens == 0
    for thoughts in (200, 220, 240, 260, 280):
        model.observe_output(100, 150 + thoughts, thoughts)
    assert model.beyond.tokens == 240
    assert not model.output.known


def test_thoughts_that_are_shown_are_not_beyond_the_text() -> None:
    model = ModelFactors(learns=True)
    for _ in range(2 * OBSERVED_MIN):
        model.input.observe(100, 100)
        model.observe_output(500, 500, 300)
    assert model.beyond.tokens == 0


def test_no_report_of_thoughts_makes_more_of_them_than_were_billed() -> None:
    model = ModelFactors(learns=True)
    for _ in range(2 * OBSERVED_MIN):
        model.input.observe(100, 100)
        model.observe_output(500, 900, 10**9)
    assert model.beyond.tokens == 400


def test_a_model_that_no_longer_thinks_is_followed() -> None:
    model = ModelFactors(learns=True)
    for _ in range(OBSERVED_MIN):
        model.input.observe(100, 100)
    for _ in range(40):
        model.observe_output(100, 1_100, 1_000)
    assert model.beyond.tokens == 1_000
    for _ in range(150):
        model.observe_output(100, 100, 0)
    assert model.beyond.tokens == 0


def test_names_without_end_take_no_memory_and_those_in_use_stay() -> None:
    calibration = Calibration()
    kept = calibration.begin("p", "in use", learns=True)
    for number in range(20 * MODELS_MAX):
        calibration.begin("p", f"model {number}", learns=True)
        calibration.observed("p", "in use")
    assert len(calibration) == MODELS_MAX
    assert calibration.find("p", "in use") is kept
    assert calibration.find("p", "model 0") is None
    calibration.observed("p", "model 0")
    assert calibration.find("p", "model 0") is None
