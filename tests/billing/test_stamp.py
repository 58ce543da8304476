"""The revenue of one event: which source decides, how it is rounded, and what is not known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.featureprices import FeaturePrice, FeaturePrices, check_feature_price
from accounts.plan import PlanVersion, version_of
from accounts.planprice import FeatureRate
from billing.stamp import Revenue, revenue_of
from metering.event import AMOUNT_MAX, CostEvent
from tests.billing.made import SEARCH, graduated, plan

PRICE = FeaturePrice(SEARCH, 0, 2_500)
USAGE = plan("usage", 10, FeatureRate(SEARCH, "usage", 4_000))


def event(**fields: Any) -> CostEvent:
    usage = {"input_tokens": 700, "cache_read_input_tokens": 600, "output_tokens": 301}
    return CostEvent(**{"id": "e", "customer": "acme", "feature": SEARCH, "usage": usage, **fields})


def revenue(
    of: CostEvent, price: FeaturePrice | None = None, version: PlanVersion | None = None, granted: bool = True
) -> Revenue | None:
    return revenue_of(of, price, version, granted=granted)


def test_the_first_source_that_there_is_decides() -> None:
    assert revenue(event(revenue_nano=5), PRICE, USAGE) == (5, "explicit")
    assert revenue(event(), PRICE, USAGE) == (2_502, "feature_price")  # 1,001 x 2.5 = 2,502.5
    assert revenue(event(), None, USAGE) == (4_004, "plan_usage")
    assert revenue(event()) is None


def test_an_amount_of_0_counts_and_so_does_a_price_of_0() -> None:
    assert revenue(event(revenue_nano=0), PRICE) == (0, "explicit")
    assert revenue(event(revenue_nano=-7), PRICE) == (-7, "explicit")
    assert revenue(event(), FeaturePrice(SEARCH, 0, 0), USAGE) == (0, "feature_price")
    assert revenue(event(), PRICE, plan("tiers", 30, graduated((None, 1, 0)))) == (0, "plan_period")
    assert revenue(event(revenue_nano=5), PRICE, plan("tiers", 30, graduated((None, 1, 0)))) == (
        5,
        "explicit",
    )
    assert revenue(event(), FeaturePrice(SEARCH, 0, None), USAGE) == (4_004, "plan_usage")


@pytest.mark.parametrize(
    ("version", "granted", "expected"),
    [
        (plan("flat", 30), True, (0, "plan_included")),
        (plan("free", 0), True, (0, "plan_included")),
        (plan("said", 30, FeatureRate(SEARCH)), True, (0, "plan_included")),
        (plan("tiers", 30, graduated((None, 1, 0))), True, (0, "plan_period")),
        (plan("packs", 30, FeatureRate(SEARCH, "package", package_units=1)), True, (0, "plan_period")),
        (plan("flat", 30), False, None),
        (plan("unpriced", None), True, None),
        (None, False, None),
    ],
)
def test_what_a_plan_makes_of_an_event(
    version: PlanVersion | None, granted: bool, expected: Revenue | None
) -> None:
    assert revenue(event(), None, version, granted) == expected


def test_a_request_that_names_no_feature_is_paid_by_a_plan_that_grants_those() -> None:
    assert revenue(event(feature=None), None, USAGE) == (0, "plan_included")
    assert revenue(event(feature=None), None, USAGE, granted=False) is None


def test_customers_of_the_operators_own_have_no_revenue_and_nobody_owes_only_what_was_told() -> None:
    for who in ("_internal", "_internal_tests"):
        assert revenue(event(customer=who, revenue_nano=5), PRICE, USAGE) is None
    assert revenue(event(customer=None), PRICE, USAGE) is None
    assert revenue(event(customer=None, revenue_nano=5)) == (5, "explicit")
    assert revenue(event(customer="internal"), PRICE) == (2_502, "feature_price")


@pytest.mark.parametrize(
    ("fields", "units"),
    [
        ({}, 1_001),  # cached tokens are input tokens already
        ({"usage_units": 3}, 3),
        ({"usage_units": 0}, 0),
        ({"usage": None}, 1),
        ({"usage": {"characters": 80}}, 1),
        ({"usage": None, "status": "failed"}, 0),
        ({"status": "failed"}, 0),
        ({"status": "failed", "usage_units": 2}, 2),
        ({"status": "cancelled"}, 1_001),
    ],
)
def test_units_of_an_event(fields: dict[str, Any], units: int) -> None:
    assert event(**fields).units == units


def test_an_amount_beyond_what_can_be_held_is_not_known() -> None:
    price = FeaturePrice(SEARCH, 0, 1_000)
    assert revenue(event(usage_units=AMOUNT_MAX), price) == (AMOUNT_MAX, "feature_price")
    assert revenue(event(usage_units=AMOUNT_MAX), FeaturePrice(SEARCH, 0, 1_001)) is None


def test_the_price_is_that_of_the_moment_at_which_the_event_began() -> None:
    prices = FeaturePrices(
        [
            FeaturePrice(SEARCH, 2_000, 20),
            FeaturePrice(SEARCH, 1_000, 10),
            FeaturePrice(SEARCH, 3_000, None),
            FeaturePrice(SEARCH, 4_000, 40),
            FeaturePrice(SEARCH, 4_000, 41),  # recorded later, so it counts
            FeaturePrice("other", 0, 1),
        ]
    )

    def at(moment_ms: int) -> int | None:
        found = prices.at(SEARCH, moment_ms)
        return None if found is None else found.price_pico

    assert [at(n) for n in (999, 1_000, 1_999, 2_000, 2_999, 3_000, 3_999, 4_000, 9_999)] == [
        *(None, 10, 10, 20, 20, None, None, 41, 41)
    ]
    assert prices.at("unknown", 5_000) is None
    assert len(prices.entries()) == 6


@pytest.mark.parametrize(
    ("price", "complaint"),
    [
        (FeaturePrice("a/b", 0, 1), "without `/`"),
        (FeaturePrice("a", 0, -1), "not an amount"),
        (FeaturePrice("a", 0, 2**53), "not an amount"),
        (FeaturePrice("a", 0, 1, ""), "a unit's name"),
        (FeaturePrice("a", 0, 1, "tok\nen"), "a unit's name"),
        (FeaturePrice("a", -1, 1), "1970"),
    ],
)
def test_what_cannot_be_a_price_is_told(price: FeaturePrice, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_feature_price(price)


def test_the_version_in_a_label() -> None:
    assert version_of("pro@3") == version_of("pro@3+15") == ("pro", 3)
    assert [version_of(each) for each in ("pro", "pro@", "@3", "pro@x", "pro@" + "9" * 5_000)] == [None] * 5


@given(st.lists(st.integers(0, 10**6), max_size=20), st.integers(0, 10**7), st.randoms())
def test_any_order_and_batches_of_events_give_the_same_revenue(
    units: list[int], price_pico: int, random: Any
) -> None:
    price = FeaturePrice(SEARCH, 0, price_pico)

    def total(some: list[int]) -> int:
        found = [revenue(event(usage_units=each), price) for each in some]
        return sum(each[0] for each in found if each is not None)

    shuffled = list(units)
    random.shuffle(shuffled)
    place = random.randint(0, len(units))
    assert total(shuffled[:place]) + total(shuffled[place:]) == total(units)
    assert abs(total(units) * 1_000 - sum(units) * price_pico) <= 500 * len(units)
