"""Prices of plans as values: documents, and what cannot be charged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from accounts.customer import going_on, month_of
from accounts.plan import PlanVersion, check_plan
from accounts.planprice import FeatureRate, PlanPrice, Tier
from accounts.subscription import Deal, Subscription, check_deal
from budgets.limit import check_terms
from tests.billing.made import at

TIERS = (Tier(1_000, 2_000), Tier(5_000, 1_000, 500), Tier(None, 100))
PRICE = PlanPrice(
    29 * 10**9,
    12,
    "in_arrears",
    rates=(
        FeatureRate("notes"),
        FeatureRate("search", "usage", 2_500),
        FeatureRate("write", "graduated", tiers=TIERS),
        FeatureRate("read", "package", package_units=1_000, package_nano=5 * 10**9),
    ),
)
PRO = PlanVersion("pro", 3, ("notes", "search", "write", "read"), False, name="Pro", price=PRICE)


def test_a_document_gives_the_price_back_and_one_without_a_price_none() -> None:
    assert PlanVersion.from_document(PRO.to_document()) == PRO
    unpriced = replace(PRO, price=None, _terms={})
    assert b"price" not in unpriced.to_document()
    assert PlanVersion.from_document(unpriced.to_document()) == unpriced
    broken = orjson.loads(PRO.to_document()) | {"price": {"flat_nano": 1}}
    with pytest.raises(ValueError, match="not a plan's document"):
        PlanVersion.from_document(orjson.dumps(broken))


def test_a_price_of_0_is_another_content_than_none() -> None:
    free, unpriced = replace(PRO, price=PlanPrice()), replace(PRO, price=None)
    assert free.content() != unpriced.content() != PRO.content()


def test_what_can_be_charged_is_accepted() -> None:
    check_plan(PRO, check_terms)
    assert PRO.interval_months == 12
    assert replace(PRO, price=None).interval_months == 1
    assert PRICE.rate_of("search") == PRICE.rates[1]
    assert PRICE.rate_of("other") is None
    assert [rate.by_period for rate in PRICE.rates] == [False, False, True, True]


def tiers(*given: Tier) -> dict[str, Any]:
    return {"rates": (FeatureRate("search", "graduated", tiers=given),)}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"flat_nano": -1}, "the price is -1"),
        ({"flat_nano": 2**53}, "the price is"),
        ({"interval_months": 0}, "interval_months 0"),
        ({"interval_months": 121}, "interval_months 121"),
        ({"timing": "sometimes"}, "known: in_advance, in_arrears"),
        ({"currency": "EUR"}, "only USD"),
        ({"rates": (FeatureRate("search"), FeatureRate("search"))}, "'search' is charged twice"),
        ({"rates": (FeatureRate("other"),)}, "'other', which it does not grant"),
        ({"rates": (FeatureRate("search", "barter"),)}, "known: included, usage, graduated, package"),
        ({"rates": (FeatureRate("search", "included", 5),)}, "goes with the model usage"),
        ({"rates": (FeatureRate("search", "usage", -5),)}, "the price of a unit is -5"),
        ({"rates": (FeatureRate("search", "package"),)}, "one unit at least"),
        ({"rates": (FeatureRate("search", package_units=5),)}, "goes with the model package"),
        ({"rates": (FeatureRate("search", "usage", 5, TIERS),)}, "tiers go with the model graduated"),
        (tiers(), "needs one at least"),
        (tiers(Tier(10, 1)), "last tier has no upper end"),
        (tiers(Tier(None, 1), Tier(None, 2)), "only the last is open"),
        (tiers(Tier(10, 1), Tier(10, 2), Tier(None)), "tier 2 ends at 10: tiers rise"),
        (tiers(Tier(0, 1), Tier(None)), "tier 1 ends at 0"),
        (tiers(Tier(None, -1)), "tier 1: the price of a unit"),
        (tiers(Tier(None, 1, 2**53)), "tier 1: the flat fee"),
        (tiers(*(Tier(n, 1) for n in range(1, 101)), Tier(None)), "101 tiers are too many"),
    ],
)
def test_what_cannot_be_charged_is_told(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"plan pro: .*{complaint}"):
        check_plan(replace(PRO, price=replace(PlanPrice(), **fields), _terms={}))


@pytest.mark.parametrize(
    ("deal", "complaint"),
    [
        (Deal(price_nano=-1), "the price is -1"),
        (Deal(quantity=0), "quantity 0"),
        (Deal(quantity=1_000_001), "quantity 1000001"),
        (Deal(discount_ppm=-1), "from 0 to 100"),
        (Deal(discount_ppm=1_000_001), "from 0 to 100"),
    ],
)
def test_what_cannot_be_a_deal_is_told(deal: Deal, complaint: str) -> None:
    check_deal(Deal(0, 1_000_000, 1_000_000))
    with pytest.raises(ValueError, match=complaint):
        check_deal(deal)


def test_what_goes_on_keeps_its_deal_and_its_periods() -> None:
    present = Subscription("sub_1", "pro", 3, 0, None, 15, deal=Deal(5), anchor_month=24_321)
    later = going_on(present, 99, version=4)
    assert (later.starts_ms, later.version, later.anchor) == (99, 4, 15)
    assert (later.deal, later.anchor_month) == (Deal(5), 24_321)
    assert going_on(present, 99, deal=Deal(6)).deal == Deal(6)


@pytest.mark.parametrize(
    ("moment", "first_day", "month"),
    [
        ("2026-03-15", 15, 2),
        ("2026-03-15", 1, 2),
        ("2026-03-15", 16, 1),
        ("2026-01-15", 16, -1),
        ("2026-02-28", 31, 1),
        ("2026-02-27", 31, 0),
    ],
)
def test_the_month_in_which_a_period_began(moment: str, first_day: int, month: int) -> None:
    assert month_of(at(moment), "UTC", first_day) == 2026 * 12 + month


def test_the_month_is_that_of_the_plans_zone() -> None:
    assert month_of(at("2026-02-28T23:30"), "Europe/Berlin", 1) == 2026 * 12 + 2
