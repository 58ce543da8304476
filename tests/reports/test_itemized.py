"""Cost by what was counted: all rows together are the corrected cost of the requests."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metering.event import Attempt, CostEvent
from reports.itemized import CORRECTIONS, NOT_ITEMIZED, Item, itemized


def line(unit: str, quantity: int, nano: int) -> dict[str, Any]:
    return {"unit": unit, "quantity": quantity, "price_pico": 1, "cost_nano": nano}


def test_rows_of_every_attempt_count() -> None:
    first = Attempt(cost_nano=10, breakdown=[line("input_tokens", 4, 10)])
    second = Attempt(cost_nano=25, breakdown=[line("input_tokens", 4, 10), line("output_tokens", 2, 15)])
    event = CostEvent("e", cost_nano=35, attempts=[first, second], breakdown=[line("other", 1, 1)])
    assert itemized([(event, 35)]) == [Item("input_tokens", 8, 1, 20), Item("output_tokens", 2, 1, 15)]


def test_what_has_no_bill_and_what_became_known_later() -> None:
    told = CostEvent("e", cost_nano=50)
    billed = CostEvent("f", cost_nano=9, breakdown=[line("requests", 1, 9)])
    assert itemized([(told, 50), (billed, 7)]) == [
        Item(NOT_ITEMIZED, None, 1, 50),
        Item("requests", 1, 1, 9),
        Item(CORRECTIONS, None, 1, -2),
    ]


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 10**12),
            st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99), st.integers(0, 10**12))),
            st.integers(-(10**6), 10**6),
        )
    )
)
def test_the_rows_are_the_whole(
    drawn: list[tuple[int | None, list[tuple[str, int, int]], int]],
) -> None:
    events = [
        (CostEvent("e", cost_nano=nano, breakdown=[line(*each) for each in lines]), more)
        for nano, lines, more in drawn
    ]
    given_events = [(event, event.known_nano + more) for event, more in events]
    assert sum(item.nano for item in itemized(given_events)) == sum(nano for _, nano in given_events)
