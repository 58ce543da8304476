from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.money import (
    half_even,
    nano_to_usd,
    pico_to_nano_half_even,
    pico_to_nano_up,
    pico_to_usd,
    usd_to_nano,
    usd_to_pico,
)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("1", 10**9),
        ("0.000150", 150_000),
        ("0.000000001", 1),
        ("-2.5", -2_500_000_000),
        ("1e-9", 1),
        (" 3 ", 3 * 10**9),
        (7, 7 * 10**9),
        (Decimal("0.15"), 150_000_000),
        ("0", 0),
        ("1.000000000000", 10**9),
    ],
)
def test_dollars_become_nano_dollars_exactly(text: str | int | Decimal, nano: int) -> None:
    assert usd_to_nano(text) == nano


@pytest.mark.parametrize(
    "text",
    ["0.0000000001", "", "abc", "NaN", "Infinity", "1,5", "1e999999999", "0." + "1" * 50, 0.1, True, None],
)
def test_what_is_no_exact_amount_is_refused(text: Any) -> None:
    with pytest.raises(ValueError):
        usd_to_nano(text)


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (150_000, "0.00015"),
        (10**9, "1.00"),
        (1_500_000_000, "1.50"),
        (-150_000_000, "-0.15"),
        (9_007_199_254_740_991, "9007199.254740991"),
    ],
)
def test_amounts_are_written_plainly_with_two_places_at_least(nano: int, text: str) -> None:
    assert nano_to_usd(nano) == text


@given(st.integers(-(2**60), 2**60))
def test_what_is_written_reads_back(nano: int) -> None:
    assert usd_to_nano(nano_to_usd(nano)) == nano
    assert usd_to_pico(pico_to_usd(nano)) == nano


@pytest.mark.parametrize(
    ("pico", "nano"), [(499, 0), (500, 0), (501, 1), (1_500, 2), (2_500, 2), (-500, 0), (-1_500, -2), (0, 0)]
)
def test_a_cost_rounds_half_to_even(pico: int, nano: int) -> None:
    assert pico_to_nano_half_even(pico) == nano


@pytest.mark.parametrize(("pico", "nano"), [(0, 0), (1, 1), (1_000, 1), (1_001, 2)])
def test_a_ceiling_rounds_up(pico: int, nano: int) -> None:
    assert pico_to_nano_up(pico) == nano


@given(st.integers(-(2**70), 2**70), st.integers(1, 2**40))
def test_half_even_is_what_fractions_round_to(numerator: int, denominator: int) -> None:
    assert half_even(numerator, denominator) == round(Fraction(numerator, denominator))
