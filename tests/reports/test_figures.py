from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from metering.eventstore import CostRow
from reports.figures import cost_report
from reports.question import Question
from tests.reports.rows import row

QUESTION = Question(("customer",), 0)


def test_cost_of_failures_counts_for_the_successes() -> None:
    report = cost_report(QUESTION, [row("acme", events=4, successes=2, failures=2, cost_nano=1_001)])
    (acme,) = report.rows
    assert acme.success_rate == Decimal("0.5000")
    assert acme.cost_per_success_nano == 500  # 500.5, to the even neighbour
    assert acme.share == Decimal("1.0000")


def test_what_does_not_follow_is_none_and_not_zero() -> None:
    report = cost_report(QUESTION, [row("acme", events=3, unpriced=3)])
    (acme,) = report.rows
    assert (acme.cost_nano, acme.cost_per_success_nano, acme.share, acme.revenue_nano) == (None,) * 4
    empty = cost_report(QUESTION, [])
    assert (empty.rows, empty.total.cost_nano, empty.total.success_rate) == ((), 0, None)


def test_partly_unpriced_group_shows_the_cost_that_is_known() -> None:
    (acme,) = cost_report(QUESTION, [row("acme", events=3, successes=1, unpriced=1, cost_nano=7)]).rows
    assert (acme.cost_nano, acme.cost_per_success_nano) == (7, 7)


def test_known_revenue_of_zero_is_zero() -> None:
    (acme,) = cost_report(QUESTION, [row("acme", revenue_known=1)]).rows
    assert acme.revenue_nano == 0


@given(st.lists(st.tuples(st.integers(0, 2**53), st.integers(1, 10**6)), max_size=20))
def test_total_is_the_exact_sum_of_the_rows(facts: list[tuple[int, int]]) -> None:
    rows: list[CostRow] = [row(str(n), cost_nano=cost, events=count) for n, (cost, count) in enumerate(facts)]
    report = cost_report(QUESTION, rows)
    assert report.total.sums.cost_nano == sum(cost for cost, _ in facts)
    assert report.total.sums.events == sum(count for _, count in facts)
    shares = [each.share for each in report.rows if each.share is not None]
    assert all(0 <= share <= 1 for share in shares)
