"""Hold and Settled: the amounts of each meter."""

from __future__ import annotations

import pytest

from budgets.hold import Extra, Hold, Settled
from budgets.limit import AMOUNT_MAX

HOLD = Hold(900, 500, 100, input_tokens=70, output_tokens=(90, 50, 10), likely_tokens=33)


@pytest.mark.parametrize(
    ("meter", "amounts"),
    [
        ("m", (900, 500, 100)),
        ("r", (1, 1, 1)),
        ("c", (1, 1, 1)),
        ("q", (1, 1, 1)),
        ("i", (70, 70, 70)),
        ("o", (90, 50, 10)),
        ("t", (160, 120, 80)),
        ("k", (33, 33, 33)),
    ],
)
def test_a_hold_has_three_amounts_for_each_meter(meter: str, amounts: tuple[int, int, int]) -> None:
    assert HOLD.of(meter) == amounts


def test_the_scantiest_meter_says_which_grant_it_was() -> None:
    assert HOLD.step_of({"m": 900, "o": 90, "r": 1, "k": 33}) == "full"
    assert HOLD.step_of({"m": 900, "o": 50}) == "assumed"
    assert HOLD.step_of({"m": 500, "o": 49}) == "clamped"
    assert HOLD.step_of({"m": 499, "o": 50}) == "clamped"
    assert Hold(5, 5, 5).step_of({"m": 5, "t": 0}) == "full"


def test_what_a_request_came_to_is_told_for_each_meter() -> None:
    settled = Settled(
        120, 30, input_tokens=7, output_tokens=5, doubted_input_tokens=3, doubted_output_tokens=2
    )
    assert {meter: settled.of(meter) for meter in "mriotkcq"} == {
        "m": (120, 30),
        "r": (1, 0),
        "i": (7, 3),
        "o": (5, 2),
        "t": (12, 5),
        "k": (12, 5),
        "c": (0, 0),
        "q": (0, 0),
    }
    assert Settled(0, requests=0).of("r") == (0, 0)


def test_what_is_held_more_counts_on_money_and_tokens_and_is_no_request_more() -> None:
    extra = Extra(50, input_tokens=7, output_tokens=3)
    assert {meter: extra.of(meter) for meter in "mriotkcq"} == {
        "m": 50,
        "r": 0,
        "i": 7,
        "o": 3,
        "t": 10,
        "k": 0,
        "c": 0,
        "q": 0,
    }


def test_amounts_beyond_exact_arithmetic_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="hold's full amount must be an integer from 0 to 9007199254740991"):
        Hold(AMOUNT_MAX + 1, 1, 1)
    with pytest.raises(ValueError, match="least <= assumed <= full"):
        Hold(1, 2, 3)
    with pytest.raises(ValueError, match="spent amount"):
        Settled(-1)
    with pytest.raises(ValueError, match="doubted amount"):
        Settled(1, AMOUNT_MAX + 1)
    with pytest.raises(ValueError, match="output tokens"):
        Settled(1, output_tokens=-1)
    with pytest.raises(ValueError, match="input tokens"):
        Settled(1, input_tokens=AMOUNT_MAX + 1)
