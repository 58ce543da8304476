"""Rows grouped anew: nothing is lost but what is left out."""

from __future__ import annotations

from reports.regroup import added, nothing, regrouped
from tests.reports.rows import row


def test_rows_under_fewer_names() -> None:
    rows = [row("a", "x", cost_nano=1), row("b", "x", cost_nano=2), row("a", "y", cost_nano=4)]
    found = regrouped(rows, lambda key: key[:1])
    assert [(each.key, each.cost_nano, each.events) for each in found] == [(("a",), 5, 2), (("b",), 2, 1)]
    assert added(found).cost_nano == added(rows).cost_nano == 7
    some = regrouped(rows, lambda key: None if key[1] == "y" else ())
    assert [(each.key, each.cost_nano) for each in some] == [((), 3)]


def test_the_sums_of_nothing() -> None:
    assert added([]) == nothing()
    assert nothing(("a",)).events == 0
