"""Kinds of waste: they add up to what was wasted, whatever became of a request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metering.event import Attempt, CostEvent
from reports.waste import Waste, waste_of

KINDS = ("primary", "retry", "fallback", "reconnect")


def event(status: str, *attempts: tuple[str, int | None], wasted: int | None = None) -> CostEvent:
    """A request whose last attempt produced the answer, unless it failed."""
    tries = [Attempt(kind=kind, cost_nano=nano) for kind, nano in attempts]
    lost = tries if status == "failed" else tries[:-1]
    nano = sum(each.cost_nano or 0 for each in lost) if wasted is None else wasted
    return CostEvent("e", status=status, attempts=tries, wasted_nano=nano)


def test_what_was_lost_counts_by_what_came_after_it() -> None:
    served = event("succeeded", ("primary", 5), ("retry", 7), ("fallback", 11))
    assert waste_of([served]) == Waste(retried=5, fallback=7)
    assert waste_of([event("succeeded", ("primary", 5), ("reconnect", 1))]) == Waste(retried=5)
    assert waste_of([event("failed", ("primary", 5), ("retry", 7))]) == Waste(failed=12)
    assert waste_of([event("succeeded", ("primary", 5))]) == Waste()


def test_what_a_report_says_without_its_attempts() -> None:
    assert waste_of([event("succeeded", wasted=9)]) == Waste(other=9)
    assert waste_of([event("failed", wasted=9)]) == Waste(failed=9)
    assert waste_of([event("cut", ("primary", 4), ("retry", 5), wasted=9)]) == Waste(failed=9)


def test_estimated_cost() -> None:
    told = CostEvent("e", attempts=[Attempt(cost_nano=3, cost_status="estimated"), Attempt(cost_nano=4)])
    assert waste_of([told, CostEvent("f", cost_nano=5, cost_status="estimated")]).estimated_nano == 8


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["succeeded", "failed", "cut", "cancelled"]),
            st.lists(st.tuples(st.sampled_from(KINDS), st.none() | st.integers(0, 10**12)), max_size=4),
            st.none() | st.integers(0, 10**12),
        )
    )
)
def test_the_parts_are_the_whole(
    drawn: list[tuple[str, list[tuple[str, int | None]], int | None]],
) -> None:
    events = [event(status, *attempts, wasted=wasted) for status, attempts, wasted in drawn]
    assert waste_of(events).total == sum(each.wasted_nano for each in events)
