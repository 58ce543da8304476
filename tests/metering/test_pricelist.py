from __future__ import annotations

from typing import Any

import pytest

from metering.pricelist import Entry, PriceList, day_ms
from tests.metering.conftest import moment


def price_list(*models: tuple[str, dict[str, Any]]) -> PriceList:
    rows = [
        {"id": name, "match": rule, "prices": [{"id": f"p/{name}/initial#default", "rates": {}}]}
        for name, rule in models
    ]
    return PriceList(
        {"provider": "p", "name": "P", "source": "https://p", "checked": "2026-01-01", "models": rows}
    )


def found(listed: PriceList, name: str) -> str | None:
    model = listed.find(name)
    return model.id if model else None


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ({"equals": "a-1"}, "A-1", "a-12"),
        ({"prefix": "a-"}, "a-12", "b-a-"),
        ({"suffix": ":free"}, "x:FREE", "x:free2"),
        ({"contains": "mid"}, "amidst", "mi-d"),
        ({"regex": r"^a-\d+$"}, "A-12", "a-x"),
        ({"or": [{"equals": "x"}, {"prefix": "y"}]}, "yy", "xx"),
        ({"and": [{"prefix": "a"}, {"suffix": "z"}]}, "a-z", "a-y"),
    ],
)
def test_each_kind_of_rule_matches_whatever_the_case(rule: dict[str, Any], yes: str, no: str) -> None:
    listed = price_list(("m", rule))
    assert found(listed, yes) == "m"
    assert found(listed, no) is None


def test_the_first_model_that_matches_wins_whether_by_name_or_by_rule() -> None:
    listed = price_list(
        ("exact", {"equals": "gpt-x"}), ("family", {"prefix": "gpt-"}), ("late", {"equals": "gpt-y"})
    )
    assert [found(listed, name) for name in ("gpt-x", "gpt-y", "gpt-z")] == ["exact", "family", "family"]


def test_a_compact_date_is_tried_as_a_dashed_one() -> None:
    listed = price_list(("m", {"equals": "m-2026-01-31"}))
    assert [found(listed, name) for name in ("m-20260131", "m-20261331", "m-20260131x")] == ["m", None, None]


def test_an_unknown_rule_is_refused_when_the_list_is_read() -> None:
    with pytest.raises(ValueError, match="unknown match rule 'glob'"):
        price_list(("m", {"glob": "*"}))


def entry(start: str | None = None, end: str | None = None, hours: tuple[int, int] | None = None) -> Entry:
    return Entry(
        "id", None, day_ms(start) if start else None, day_ms(end) if end else None, hours, {}, {}, "s", "c"
    )


def test_an_entry_is_active_from_its_first_day_until_the_start_of_its_last() -> None:
    dated = entry("2026-02-01", "2026-03-01")
    times = ("2026-01-31T23:59:59.999", "2026-02-01", "2026-02-28T23:59:59.999", "2026-03-01")
    assert [dated.active(moment(at)) for at in times] == [False, True, True, False]


def test_a_window_may_cross_midnight() -> None:
    hour = 3_600_000
    night = entry(hours=(22 * hour, 2 * hour))
    times = ("2026-02-01T21:59", "2026-02-01T22:00", "2026-02-02T01:59", "2026-02-02T02:00")
    assert [night.active(moment(at)) for at in times] == [False, True, True, False]
