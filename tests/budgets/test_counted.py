"""Which events count on the same rows, told without working these out."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import product

import pytest

from budgets.counted import Counted, LimitIndex
from budgets.limit import PART_SEPARATOR, Attribution, Limit
from budgets.meter import Meter
from budgets.rowset import Row

ACCOUNT = "default"
MOMENTS = (1, 86_400_001)
EVENTS = [
    Counted(
        f"e{n}",
        Attribution(ACCOUNT, "", customer, workspace, feature, trace_id=trace, label=label),
        started_ms,
        spent_nano=n,
        doubted_nano=0,
    )
    for n, (customer, workspace, feature, trace, label, started_ms) in enumerate(
        product(
            (None, "a", "b"), (None, "w"), (None, "x", "y"), (None, "t"), (None, "pro@1"), (1, 86_400_001)
        )
    )
]


def limit(number: int, scope: str, scope_id: str, created_ms: int = 0) -> Limit:
    window = "lifetime" if scope == "trace" else "day"
    return Limit(f"lim_{number}", scope, scope_id, window, "money", "hard", 1_000, created_ms=created_ms)


LIMITS = [
    limit(number, scope, scope_id, created_ms)
    for number, (scope, scope_id, created_ms) in enumerate(
        [
            ("account", ACCOUNT, 0),
            ("key", "*", 0),
            ("customer", "*", 0),
            ("customer", "a", 2),
            ("feature", "x", 0),
            ("workspace", f"*{PART_SEPARATOR}w", 0),
            ("customer_feature", f"a{PART_SEPARATOR}*", 0),
            ("trace", "*", 0),
        ]
    )
]
METERS = [
    Meter(f"met_{feature}", feature, "requests", "day", "UTC", 1, frozenset({"pro@1"}))
    for feature in (None, "y")
]
INDEXES = [
    LimitIndex(ACCOUNT, []),
    *(LimitIndex(ACCOUNT, [each]) for each in LIMITS),
    *(LimitIndex(ACCOUNT, [], [each]) for each in METERS),
    LimitIndex(ACCOUNT, LIMITS, METERS),
]


@pytest.mark.parametrize("index", INDEXES, ids=lambda index: "-".join(each.id for each in index.limits))
def test_events_of_one_concern_count_on_the_same_rows(index: LimitIndex) -> None:
    rows: dict[Hashable, list[Row]] = {}
    for event in EVENTS:
        assert index.rows(event) == rows.setdefault(index.concern(event), index.rows(event))


def test_what_no_limit_is_on_makes_no_other_concern() -> None:
    of_customers = LimitIndex(ACCOUNT, [LIMITS[2]])
    told = {of_customers.concern(event) for event in EVENTS}
    assert len(told) == len({(each.of.customer, each.of.label, each.started_ms) for each in EVENTS})
