from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.adjustment import (
    AdjustmentError,
    Corrected,
    corrected,
    correction,
    decode_adjustment,
    encode_adjustment,
)
from metering.event import AMOUNT_MAX, Attempt, CostEvent
from tests.metering.events import adjustment, any_adjustments, any_events, event


@given(any_adjustments())
def test_any_adjustment_comes_back_from_its_bytes(made: object) -> None:
    assert decode_adjustment(encode_adjustment(made)) == made  # type: ignore[arg-type]


def test_fields_of_a_later_version_are_kept_and_written_again() -> None:
    made = adjustment(event(id="e1"), note="line 7", unknown={"invoice": [1, 2]})
    assert decode_adjustment(encode_adjustment(made)) == made


def test_what_changes_nothing_is_left_out() -> None:
    text = encode_adjustment(adjustment(event(), cost_delta_nano=-5))
    assert b'"cost_delta_nano":-5' in text
    assert b"doubted" not in text
    assert b"note" not in text


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "adjustment: expected an object, found list"),
        (b"{}", "adjustment.id: missing"),
        (b'{"id":"a","event_id":""}', "adjustment.event_id: missing"),
        (b'{"id":"a","cost_delta_nano":1.5}', "adjustment.cost_delta_nano: expected int, found 1.5"),
        (b'{"id":"a","cost_delta_nano":true}', "adjustment.cost_delta_nano: expected int, found True"),
        (b'{"id":7}', "adjustment.id: expected str, found 7"),
        (b'{"id":"a","doubted_delta_nano":-9007199254740992}', "beyond what can be held"),
    ],
)
def test_what_is_no_adjustment_is_told_with_the_field(source: bytes, complaint: str) -> None:
    with pytest.raises(AdjustmentError) as raised:
        decode_adjustment(source)
    assert complaint in str(raised.value)


def test_the_largest_amounts_pass() -> None:
    made = adjustment(event(), cost_delta_nano=AMOUNT_MAX, doubted_delta_nano=-AMOUNT_MAX)
    assert decode_adjustment(encode_adjustment(made)) == made


@given(any_events(), st.lists(any_adjustments(), max_size=5), st.integers(0, 10**12), st.booleans())
def test_a_correction_brings_the_cost_to_what_is_given_and_leaves_no_doubt(
    made: CostEvent, earlier: list[object], cost_nano: int, again: bool
) -> None:
    first = correction(
        made,
        earlier,  # type: ignore[arg-type]
        cost_nano=cost_nano,
        source="operator",
        reason="r",
        at_ms=1,
    )
    every = [*earlier, first] if first is not None else earlier
    assert corrected(made, every) == Corrected(cost_nano, 0, 0, 0)  # type: ignore[arg-type]
    twice = correction(
        made,
        every,  # type: ignore[arg-type]
        cost_nano=cost_nano if again else None,
        source="operator",
        reason="r",
        at_ms=2,
    )
    assert twice is None


def test_doubt_is_ended_with_the_cost_as_it_stands() -> None:
    estimated = event(cost_nano=100, cost_upper_nano=900, doubted_nano=800)
    made = correction(estimated, [], cost_nano=None, source="provider", reason="r", at_ms=1)
    assert made is not None
    assert corrected(estimated, [made]) == Corrected(100, 0, 0, 0)


def test_doubt_that_ends_does_not_make_an_unknown_cost_known() -> None:
    unpriced = event(cost_nano=None, cost_upper_nano=900, doubted_nano=800, attempts=[Attempt(cost_nano=30)])
    made = correction(unpriced, [], cost_nano=None, source="operator", reason="r", at_ms=1)
    assert made is not None
    after = corrected(unpriced, [made])
    assert after == Corrected(30, 0, 870, 1)
    assert after.cost_nano is None
