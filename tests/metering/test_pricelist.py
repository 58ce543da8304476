from __future__ import annotations

from typing import Any

import pytest

from metering.pricebook import PriceBook
from metering.pricelist import Entry, PriceList, day_ms
from metering.usage import Usage
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


HOUR = 3_600_000


@pytest.mark.parametrize(
    ("at", "active"),
    [
        # 2026-11-20 is a Friday.
        ("2026-11-20T21:59:59.999", False),
        ("2026-11-20T22:00", True),
        ("2026-11-21T01:59:59.999", True),  # still Friday's window
        ("2026-11-21T02:00", False),
        ("2026-11-21T22:00", False),  # Saturday has none
        ("2026-11-20T01:00", False),  # Thursday's would have been, had it one
        ("2026-11-22T22:00", True),
        ("2026-11-23T01:00", True),
    ],
)
def test_a_window_across_midnight_belongs_to_the_weekday_it_starts_on(at: str, active: bool) -> None:
    nights = Entry("id", None, None, None, (22 * HOUR, 2 * HOUR), {}, {}, "s", "c", frozenset({4, 6}))
    assert nights.active(moment(at)) is active


def weekend_list() -> PriceList:
    """A model at half price on weekends, at a tenth from a moment in the middle of a day."""
    prices = [
        {"id": "p/m/initial#default", "rates": {"input_tokens": 1_000_000}},
        {"id": "p/m/initial#weekend", "weekdays": ["sat", "sun"], "rates": {"input_tokens": 500_000}},
        {
            "id": "p/m/2026-11-25T16:00#default",
            "effective_from": "2026-11-25T16:00",
            "rates": {"input_tokens": 100_000},
        },
    ]
    return PriceList(
        {
            "provider": "p",
            "name": "P",
            "source": "https://p",
            "checked": "2026-01-01",
            "models": [{"id": "m", "match": {"equals": "m"}, "prices": prices}],
        }
    )


@pytest.mark.parametrize(
    ("at", "rate"),
    [
        ("2026-11-20T23:59:59.999", 1_000),
        ("2026-11-21T00:00", 500),
        ("2026-11-22T23:59:59.999", 500),
        ("2026-11-23T00:00", 1_000),
        ("2026-11-25T15:59:59.999", 1_000),
        ("2026-11-25T16:00", 100),
        ("2026-11-28T12:00", 100),
    ],
)
def test_weekdays_and_moments_change_the_price_in_a_book_that_remembers(at: str, rate: int) -> None:
    book = PriceBook()
    book._lists["p"] = weekend_list()
    for asked in ("2026-11-20T12:00", "2026-11-22T12:00", at, "2026-11-24T12:00", at):
        price = book.find("p", "m", moment(asked))
        assert price is not None
    assert price.cost_of(Usage(input_tokens=1)).nano == rate


def test_the_ceiling_of_a_sunday_night_bounds_monday() -> None:
    book = PriceBook()
    book._lists["p"] = weekend_list()
    ceilings = [
        price.ceiling_rates().input_pico
        for at in ("2026-11-22T22:59", "2026-11-22T23:01")
        if (price := book.find("p", "m", moment(at))) is not None
    ]
    assert ceilings == [500_000, 1_000_000]


def test_graduated_tiers_are_read_from_a_list() -> None:
    row = {
        "id": "p/m/initial#default",
        "graduated": True,
        "rates": {"input_tokens": 1_000, "input_characters": 3_000},
        "context_tiers": [{"above": 10, "rates": {"input_characters": 1_000}}],
    }
    document = {"provider": "p", "name": "P", "source": "https://p", "checked": "2026-01-01"}
    model = {"id": "m", "match": {"equals": "m"}, "prices": [row]}
    book = PriceBook()
    book._lists["p"] = PriceList(document | {"models": [model]})
    price = book.find("p", "m", 0)
    assert price is not None
    assert price.cost_of(Usage(input_tokens=50, extra=(("input_characters", 12),))).nano == 50 + 30 + 2
    assert price.ceiling_of("input_characters") == 3_000
