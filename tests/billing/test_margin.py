"""Margin: totals are the exact sums of their rows, the same in every view; unknown is None with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.charges import PERIOD, PLAN_FEES, Charge
from billing.margin import EVENTS, MarginRow, margin_view
from billing.pnl import profit_and_loss
from metering.costsums import CostRow
from tests.billing.made import USD

NAMES = ("customer", "feature", "model", "plan", "workspace")


def cost_row(*key: str | None, **measures: int) -> CostRow:
    """A row of summed events; measures that are not named are 0."""
    zero = dict.fromkeys((name for name in CostRow._fields if name != "key"), 0)
    return CostRow(key, **(zero | {"events": 1, "revenue_known": 1} | measures))


def only(rows: Sequence[CostRow], *charges: Charge, by: str = "customer") -> MarginRow:
    (row,) = margin_view((by,), rows, charges).rows
    return row


def test_margin_is_revenue_less_cost_and_its_part_of_the_revenue() -> None:
    row = only([cost_row("acme", revenue_nano=30, cost_nano=20)])
    assert (row.revenue_nano, row.cost_nano, row.margin_nano, row.margin_pct) == (
        30,
        20,
        10,
        Decimal("33.3333"),
    )
    assert row.reason is None
    loss = only([cost_row("acme", revenue_nano=30, cost_nano=90)])
    assert (loss.margin_nano, loss.margin_pct) == (-60, Decimal("-200.0000"))


def test_d12_margin_without_a_source_of_revenue_is_none_and_not_0_or_minus_100() -> None:
    row = only([cost_row("acme", cost_nano=20, revenue_known=0)])
    assert (row.revenue_nano, row.margin_nano, row.margin_pct) == (None, None, None)
    assert row.reason == "no_revenue_source"


def test_margin_in_a_revenue_of_0_is_an_amount_but_no_ratio() -> None:
    row = only([cost_row("acme", cost_nano=20)])
    assert (row.revenue_nano, row.margin_nano, row.margin_pct, row.reason) == (
        0,
        -20,
        None,
        "revenue_is_zero",
    )


def test_margin_of_what_has_no_known_cost_is_none() -> None:
    row = only([cost_row("acme", events=2, unpriced=2, revenue_known=2, revenue_nano=5)])
    assert (row.revenue_nano, row.cost_nano, row.margin_nano, row.reason) == (5, None, None, "no_cost_known")


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        ({"events": 2, "revenue_known": 2, "unpriced": 1}, "cost_partly_known"),
        ({"events": 2, "revenue_known": 1}, "revenue_partly_known"),
    ],
)
def test_margin_of_a_part_says_so(measures: dict[str, int], reason: str) -> None:
    row = only([cost_row("acme", cost_nano=20, revenue_nano=50, **measures)])
    assert (row.margin_nano, row.reason) == (30, reason)


def test_customers_of_the_operators_own_have_a_reason_of_their_own() -> None:
    row = only([cost_row("_internal_ci", cost_nano=20, revenue_known=0)])
    assert (row.margin_nano, row.reason) == (None, "internal_customer")


@pytest.mark.parametrize("events", [0, 1, 7, 10_000])
def test_d7_revenue_of_a_flat_plan_does_not_depend_on_the_number_of_events(events: int) -> None:
    fee = Charge(PLAN_FEES, "acme", "pro", None, 30 * USD)
    rows = [cost_row("acme", events=events, revenue_known=events, cost_nano=events * 1_000)] if events else []
    row = only(rows, fee)
    assert row.revenue_nano == 30 * USD
    assert row.margin_nano == 30 * USD - events * 1_000


def test_d13_a_customer_that_overruns_its_plan_keeps_its_cost_and_goes_negative() -> None:
    fee = Charge(PLAN_FEES, "acme", "pro", None, 10 * USD)
    row = only([cost_row("acme", events=500, revenue_known=500, cost_nano=25 * USD)], fee)
    assert (row.margin_nano, row.margin_pct) == (-15 * USD, Decimal("-150.0000"))


def test_charges_stand_where_they_belong_and_else_on_a_row_of_their_own() -> None:
    charges = [Charge(PLAN_FEES, "acme", "pro", None, 30), Charge(PERIOD, "acme", "pro", "search", 7)]
    by_model = margin_view(("model",), [cost_row("gpt", cost_nano=5)], charges)
    assert [(row.kind, row.key, row.revenue_nano) for row in by_model.rows] == [
        (EVENTS, ("gpt",), 0),
        (PERIOD, (None,), 7),
        (PLAN_FEES, (None,), 30),
    ]
    by_feature = margin_view(("feature",), [cost_row("search", cost_nano=5)], charges)
    assert [(row.kind, row.key, row.revenue_nano) for row in by_feature.rows] == [
        (EVENTS, ("search",), 7),
        (PLAN_FEES, (None,), 30),
    ]
    by_plan = margin_view(
        ("plan",), [cost_row("pro@1+7", cost_nano=5), cost_row("pro@2", cost_nano=1)], charges
    )
    assert [(row.key, row.revenue_nano, row.cost_nano) for row in by_plan.rows] == [(("pro",), 37, 6)]
    assert by_model.total == by_feature.total


def test_events_without_a_feature_are_not_mixed_with_a_plans_fee() -> None:
    fee = Charge(PLAN_FEES, "acme", "pro", None, 30)
    view = margin_view(("customer", "feature"), [cost_row("acme", None, cost_nano=5)], [fee])
    assert [(row.kind, row.key, row.cost_nano) for row in view.rows] == [
        (EVENTS, ("acme", None), 5),
        (PLAN_FEES, ("acme", None), 0),
    ]


def test_rows_come_with_the_smallest_margin_first() -> None:
    rows = [
        cost_row("fine", revenue_nano=9),
        cost_row("unknown", cost_nano=99, revenue_known=0),
        cost_row("loss", cost_nano=5, revenue_nano=1),
    ]
    assert [row.key[0] for row in margin_view(("customer",), rows, []).rows] == ["loss", "fine", "unknown"]


def test_profit_and_loss_of_one_customer() -> None:
    rows = [
        cost_row("acme", "search", events=3, revenue_known=3, revenue_nano=12, cost_nano=4),
        cost_row("acme", None, cost_nano=2),
        cost_row("globex", "search", revenue_nano=1_000, cost_nano=900),
    ]
    charges = [
        Charge(PLAN_FEES, "acme", "pro", None, 30),
        Charge(PERIOD, "acme", "pro", "search", 7),
        Charge(PLAN_FEES, "globex", "pro", None, 30),
    ]
    found = profit_and_loss("acme", rows, charges)
    assert found.plans == ("pro",)
    assert [(each.kind, each.feature, each.nano) for each in found.revenue] == [
        (PLAN_FEES, None, 30),
        (PERIOD, "search", 7),
        ("usage", None, 0),
        ("usage", "search", 12),
    ]
    assert (found.total.revenue_nano, found.total.cost_nano, found.total.margin_nano) == (49, 6, 43)
    assert sum(each.nano for each in found.revenue) == found.total.revenue_nano
    assert sum(row.known_cost_nano for row in found.by_feature.rows) == found.total.cost_nano


def test_profit_and_loss_of_a_customer_that_used_nothing_is_its_fee() -> None:
    found = profit_and_loss("acme", [], [Charge(PLAN_FEES, "acme", "pro", None, 30)])
    assert (found.total.margin_nano, found.total.reason) == (30, None)
    nothing = profit_and_loss("acme", [], [])
    assert (nothing.total.margin_nano, nothing.total.reason) == (None, "no_revenue_source")


# Whatever was used: one sum of events for each combination of names, asked by any of them

WORDS = st.sampled_from([None, "a", "b"])
CELLS = st.dictionaries(
    st.tuples(WORDS, WORDS, WORDS, st.sampled_from([None, "pro@1", "pro@2+3", "max@1"]), WORDS),
    st.fixed_dictionaries(
        {
            "events": st.integers(1, 9),
            "cost_nano": st.integers(0, 1_000),
            "wasted_nano": st.integers(0, 1_000),
            "revenue_nano": st.integers(-100, 1_000),
            "unpriced": st.integers(0, 9),
            "revenue_known": st.integers(0, 9),
        }
    ),
    max_size=12,
)
CHARGES = st.lists(
    st.builds(
        lambda kind, customer, plan, feature, nano: Charge(
            kind, customer, plan, None if kind == PLAN_FEES else feature, nano
        ),
        st.sampled_from([PLAN_FEES, PERIOD]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["pro", "max"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 1_000),
    ),
    max_size=8,
)
SUMMED = ("events", "known_cost_nano", "wasted_nano", "unpriced", "event_nano", "revenue_known")
CHARGED = ("fees_nano", "period_nano", "known_revenue_nano")


@given(CELLS, CHARGES)
def test_every_total_is_the_sum_of_its_rows_and_the_same_in_every_view(
    cells: dict[tuple[str | None, ...], dict[str, int]], charges: list[Charge]
) -> None:
    totals = set()
    for count in range(len(NAMES) + 1):
        for chosen in combinations(range(len(NAMES)), count):
            rows = [cost_row(*(key[n] for n in chosen), **measures) for key, measures in cells.items()]
            view = margin_view([NAMES[n] for n in chosen], rows, charges)
            for name in (*SUMMED, *CHARGED):
                assert getattr(view.total, name) == sum(getattr(row, name) for row in view.rows), name
            places = [(row.kind, row.key) for row in view.rows]
            assert len(set(places)) == len(places)
            totals.add(view.total)
    assert len(totals) == 1
