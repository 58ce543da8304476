"""The circuit, moment by moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.circuit import TRIAL_MS, WARMING_MS, WINDOW_MS, Circuit, CircuitTerms, State

TERMS = CircuitTerms(failures=5, percent=50, open_ms=5_000, open_max_ms=20_000)
START = 1_000_000


def fail(circuit: Circuit, times: int, at: int = START) -> bool:
    opened = [circuit.failed_once(at, TERMS, 1.0) for _ in range(times)]
    return True in opened


def opened(at: int = START) -> Circuit:
    circuit = Circuit()
    assert fail(circuit, 5, at)
    return circuit


def test_it_opens_at_its_threshold_and_not_before() -> None:
    circuit = Circuit()
    assert not fail(circuit, 4)
    assert circuit.quiet
    assert fail(circuit, 1)
    assert circuit.state(START, 0.0) is State.ASIDE
    assert circuit.word(START) == "open"


def test_it_stays_closed_while_most_attempts_succeed() -> None:
    circuit = Circuit()
    circuit.succeeded(START, 100)
    assert not fail(circuit, 99)
    assert fail(circuit, 1)


@pytest.mark.parametrize(("later", "opens"), [(WINDOW_MS, True), (2 * WINDOW_MS + 1, False)])
def test_failures_are_forgotten_with_their_window(later: int, opens: bool) -> None:
    circuit = Circuit(window_ms=START)
    fail(circuit, 4)
    assert fail(circuit, 1, START + later) is opens


def test_one_request_at_a_time_may_try_when_its_time_is_over() -> None:
    circuit = opened()
    over = START + 5_000
    assert circuit.state(over - 1, 0.0) is State.ASIDE
    assert circuit.state(over, 0.0) is State.TRIAL
    assert circuit.try_it(over)
    assert not circuit.try_it(over)
    assert circuit.state(over, 0.0) is State.ASIDE
    # A trial that hangs does not keep others out for ever.
    assert circuit.try_it(over + TRIAL_MS)


def test_a_trial_that_fails_opens_it_for_longer_up_to_a_bound() -> None:
    circuit, at, lengths = opened(), START, []
    for _ in range(6):
        at = circuit.open_until_ms
        assert circuit.try_it(at)
        assert circuit.failed_once(at, TERMS, 1.0)
        lengths.append(circuit.open_until_ms - at)
    assert lengths == [10_000, 20_000, 20_000, 20_000, 20_000, 20_000]


def test_a_success_brings_requests_back_bit_by_bit_and_then_closes_it() -> None:
    circuit = opened()
    back = START + 6_000
    assert circuit.try_it(back)
    circuit.succeeded(back)
    assert circuit.word(back) == "warming"
    assert circuit.state(back, 0.09) is State.FREE
    assert circuit.state(back, 0.11) is State.ASIDE
    assert circuit.state(back + WARMING_MS // 2, 0.5) is State.FREE
    assert circuit.state(back + WARMING_MS, 0.999) is State.FREE
    assert circuit.word(back + WARMING_MS) == "closed"
    circuit.tidy(back + WARMING_MS)
    assert circuit.quiet
    assert circuit.opened == 0


def test_a_failure_while_it_warms_opens_it_again_at_once() -> None:
    circuit = opened()
    circuit.succeeded(START + 6_000)
    assert circuit.failed_once(START + 6_500, TERMS, 1.0)
    assert circuit.open_until_ms == START + 6_500 + 10_000


def test_a_success_of_a_request_that_had_no_other_target_counts_too() -> None:
    circuit = opened()
    circuit.succeeded(START + 100)
    assert circuit.word(START + 100) == "warming"


def test_failures_of_requests_that_had_no_other_target_do_not_prolong_it() -> None:
    circuit = opened()
    until = circuit.open_until_ms
    assert not fail(circuit, 50, START + 100)
    assert circuit.open_until_ms == until


def test_it_is_closed_within_35_s_of_recovery_however_long_it_was_open() -> None:
    """A request each 100 ms; the provider recovers at the worst moment: just after a trial failed."""
    for draw in (0.0, 0.5, 1.0):
        circuit, at = opened(), START
        for _ in range(10):
            at = circuit.open_until_ms
            circuit.try_it(at)
            circuit.failed_once(at, TERMS, draw)
        recovered = at
        while circuit.word(at) != "closed":
            at += 100
            if circuit.try_it(at) or circuit.state(at, 0.0) is State.FREE:
                circuit.succeeded(at)
        assert at - recovered <= 35_000


def test_it_is_left_alone_as_long_as_its_provider_asks() -> None:
    circuit = Circuit()
    circuit.set_aside(START + 500)
    circuit.set_aside(START + 100)
    assert circuit.state(START + 499, 0.0) is State.ASIDE
    assert circuit.word(START) == "closed"
    circuit.tidy(START + 500)
    assert circuit.quiet


@given(
    st.lists(
        st.tuples(st.integers(0, 8_000), st.sampled_from(["fail", "pass", "try"]), st.floats(0, 1)),
        max_size=80,
    )
)
def test_it_never_stays_open_longer_than_its_bound(steps: list[tuple[int, str, float]]) -> None:
    circuit, at = Circuit(), START
    for gone, what, draw in steps:
        at += gone
        if what == "fail":
            circuit.failed_once(at, TERMS, draw)
        elif what == "pass":
            circuit.succeeded(at)
        else:
            circuit.try_it(at)
        assert circuit.open_until_ms <= at + TERMS.open_max_ms
        assert not (circuit.open_until_ms and circuit.warming_since_ms)
        numbers = (getattr(circuit, name) for name in Circuit.__slots__)
        assert all(0 <= number < 2**53 for number in numbers)
