"""Graduated prices and packages: by hand at their thresholds, and any split of a period adds up."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.planprice import FeatureRate, Tier
from billing.charges import PERIOD, Span, charges_of, spans_wanted
from billing.tiers import cumulative_nano, part_nano
from tests.billing.made import DAY_MS, SEARCH, USD, at, cut, graduated, on, plan

TIERS = graduated((1_000, 2_000, 0), (5_000, 1_000, 500), (None, 100, 7_000))
"""2 nano-dollars each up to 1,000 units; then 1, and 500 once; above 5,000 a tenth, and 7,000 once."""
PACK = FeatureRate(SEARCH, "package", package_units=100, package_nano=9)


@pytest.mark.parametrize(
    ("units", "nano"),
    [
        (0, 0),
        (1, 2),
        (999, 1_998),
        (1_000, 2_000),
        (1_001, 2_000 + 500 + 1),
        (4_999, 2_000 + 500 + 3_999),
        (5_000, 2_000 + 500 + 4_000),
        (5_001, 2_000 + 500 + 4_000 + 7_000),  # 0.1 rounds to 0
        (5_005, 2_000 + 500 + 4_000 + 7_000),  # 0.5 rounds to the even 13,500
        (5_006, 2_000 + 500 + 4_000 + 7_000 + 1),
        (5_015, 2_000 + 500 + 4_000 + 7_000 + 2),  # 1.5 rounds to the even 13,502
        (15_000, 2_000 + 500 + 4_000 + 7_000 + 1_000),
    ],
)
def test_graduated_below_at_and_above_each_threshold(units: int, nano: int) -> None:
    assert cumulative_nano(TIERS, units) == nano


@pytest.mark.parametrize(
    ("units", "packages"), [(0, 0), (1, 1), (99, 1), (100, 1), (101, 2), (200, 2), (201, 3)]
)
def test_begun_packages_cost_as_much_as_whole_ones(units: int, packages: int) -> None:
    assert cumulative_nano(PACK, units) == 9 * packages


def test_what_is_not_charged_by_period_or_is_negative_is_refused() -> None:
    with pytest.raises(ValueError, match="not charged by period"):
        cumulative_nano(FeatureRate(SEARCH, "usage", 5), 1)
    with pytest.raises(ValueError, match="not negative"):
        cumulative_nano(PACK, -1)


@st.composite
def rates(draw: st.DrawFn) -> FeatureRate:
    if draw(st.booleans()):
        return FeatureRate(
            SEARCH, "package", package_units=draw(st.integers(1, 50)), package_nano=draw(st.integers(0, 99))
        )
    ends = list(accumulate(draw(st.lists(st.integers(1, 60), max_size=4))))
    return FeatureRate(
        SEARCH,
        "graduated",
        tiers=tuple(
            Tier(end, draw(st.integers(0, 5_000)), draw(st.integers(0, 300))) for end in [*ends, None]
        ),
    )


@given(rates(), st.lists(st.integers(0, 120), min_size=1, max_size=8))
def test_parts_of_a_period_add_up_exactly_in_any_split(rate: FeatureRate, units: list[int]) -> None:
    before = [0, *accumulate(units)]
    assert sum(part_nano(rate, *part) for part in zip(before, units, strict=False)) == cumulative_nano(
        rate, sum(units)
    )


@given(rates(), st.integers(0, 10_000))
def test_more_units_never_cost_less(rate: FeatureRate, units: int) -> None:
    assert cumulative_nano(rate, units) <= cumulative_nano(rate, units + 1)


# Over time: events as (moment, units)

PRO = plan("pro", 30, TIERS)
BEGIN, END = at("2026-01-01"), at("2026-07-01")
EVENTS = st.lists(st.tuples(st.integers(BEGIN, END), st.integers(0, 3_000)), max_size=25)


def used(spans: list[Span], events: list[tuple[int, int]]) -> dict[Span, int]:
    return {
        span: sum(units for at_ms, units in events if span.since_ms <= at_ms < span.until_ms)
        for span in spans
    }


def owed(subscribed: list, events: list[tuple[int, int]], since_ms: int, until_ms: int) -> int:  # type: ignore[type-arg]
    spans = spans_wanted(subscribed, since_ms, until_ms)
    charges = charges_of(subscribed, since_ms, until_ms, used(spans, events))
    return sum(each.nano for each in charges if each.kind == PERIOD)


def test_each_period_begins_with_the_first_tier() -> None:
    events = [(at("2026-04-10"), 1_500), (at("2026-05-10"), 1_500)]
    assert owed([on(PRO, BEGIN)], events, at("2026-04-01"), at("2026-06-01")) == 2 * (2_000 + 500 + 500)


def test_the_second_half_of_a_period_goes_on_where_the_first_ended() -> None:
    events = [(at("2026-04-10"), 900), (at("2026-04-20"), 900)]
    pro = [on(PRO, BEGIN)]
    assert owed(pro, events, at("2026-04-01"), at("2026-04-15")) == 1_800
    assert owed(pro, events, at("2026-04-15"), at("2026-05-01")) == 200 + 500 + 800


def test_another_plan_begins_anew_and_another_deal_goes_on() -> None:
    change_ms = at("2026-04-15")
    events = [(at("2026-04-10"), 900), (at("2026-04-20"), 900)]
    other = [on(PRO, BEGIN, change_ms), on(plan("pro2", 30, TIERS), change_ms)]
    assert owed(other, events, at("2026-04-01"), at("2026-05-01")) == 1_800 + 1_800
    same = cut(on(PRO, BEGIN), change_ms)
    assert owed(same, events, at("2026-04-01"), at("2026-05-01")) == 1_800 + 200 + 500 + 800


@given(EVENTS, st.lists(st.integers(BEGIN - DAY_MS, END), min_size=2, max_size=7), st.integers(1, 31))
def test_spans_add_up_exactly_whatever_the_events(
    events: list[tuple[int, int]], moments: list[int], day: int
) -> None:
    moments.sort()
    pro = [on(plan("pro", 30, TIERS, anchor=0), BEGIN, day=day)]
    parts = [owed(pro, events, *span) for span in pairwise(moments)]
    assert sum(parts) == owed(pro, events, moments[0], moments[-1])


@given(EVENTS, st.integers(BEGIN + 1, END), st.integers(BEGIN, END), st.integers(BEGIN, END), st.randoms())
def test_the_order_of_events_and_cuts_of_the_subscription_change_nothing(
    events: list[tuple[int, int]], cut_ms: int, one_ms: int, other_ms: int, random: object
) -> None:
    span = min(one_ms, other_ms), max(one_ms, other_ms)
    whole = on(PRO, BEGIN)
    expected = owed([whole], events, *span)
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert owed(cut(whole, cut_ms), shuffled, *span) == expected


def test_a_flat_plan_owes_the_same_however_many_events_there_are() -> None:
    flat = [on(plan("flat", 30), BEGIN)]
    assert spans_wanted(flat, BEGIN, END) == []
    (fee,) = charges_of(flat, at("2026-04-01"), at("2026-05-01"), {})
    assert fee.nano == 30 * USD
