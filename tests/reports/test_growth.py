"""Whose spending runs away: the order is exact, whatever is shown is rounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reports.growth import Growth, runaways

COSTS = st.dictionaries(st.tuples(st.sampled_from("abcdef")), st.integers(0, 10**12))


def test_growth_against_the_own_average() -> None:
    grown = Growth(("a",), 1_000, 2_001, 7)
    assert (grown.exact, grown.growth_nano, grown.average_nano) == (4_999, 714, 286)
    assert grown.times_ppm == 3_498_251
    assert Growth(("new",), 5, 0, 7).times_ppm is None


def test_the_order_is_of_exact_growth_and_only_of_those_that_grow() -> None:
    recent = {("a",): 100, ("b",): 100, ("c",): 10, ("d",): 5, ("e",): 100}
    earlier = {("a",): 299, ("b",): 300, ("c",): 30, ("e",): 299, ("gone",): 900}
    found = runaways(recent, earlier, 3)
    # By 5 nano and by a third of one; two alike stand by their names; no growth is left out.
    assert [each.key for each in found] == [("d",), ("a",), ("e",)]


@given(COSTS, COSTS, st.integers(1, 31))
def test_in_any_order_of_the_record(
    recent: dict[tuple[str | None, ...], int], earlier: dict[tuple[str | None, ...], int], before: int
) -> None:
    found = runaways(recent, earlier, before)
    assert found == runaways(dict(reversed(recent.items())), dict(reversed(earlier.items())), before)
    exact = [each.exact for each in found]
    assert exact == sorted(exact, reverse=True)
    grown = [key for key, nano in recent.items() if nano * before > earlier.get(key, 0)]
    assert {each.key for each in found} == set(grown)
    assert all(2 * abs(each.growth_nano * before - each.exact) <= before for each in found)
