"""The rate book over a real record: what is in force when an event began, however late it comes."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from accounts.customerbook import CustomerBook
from accounts.featureprices import FeaturePrice
from accounts.planbook import PlanBook
from accounts.planprice import FeatureRate
from accounts.profile import Profile
from accounts.profilebook import ProfileBook
from accounts.subscription import Overrides
from billing.ratebook import RateBook
from billing.stamp import Revenue
from budgets.limit import check_terms
from metering.event import DEFAULT_ACCOUNT, CostEvent
from tests.billing.made import SEARCH, at, plan

BEGIN = at("2026-03-01")


def event(at_ms: int, **fields: Any) -> CostEvent:
    known = {"id": "e", "customer": "acme", "feature": SEARCH, "usage_units": 10, "started_ms": at_ms}
    return CostEvent(**{**known, **fields})


def revenues(rates: RateBook, *events: CostEvent) -> list[Revenue | None]:
    revenue = rates.for_batch(events)
    return [revenue(each) for each in events]


def test_an_event_has_the_price_of_the_moment_at_which_it_began(plans: PlanBook, rates: RateBook) -> None:
    plans.put_feature_price(FeaturePrice(SEARCH, BEGIN, 1_000))
    assert revenues(rates, event(BEGIN - 1), event(BEGIN), event(BEGIN + 9)) == [
        None,
        (10, "feature_price"),
        (10, "feature_price"),
    ]
    plans.put_feature_price(FeaturePrice(SEARCH, BEGIN + 5, 2_000))
    late, fresh = event(BEGIN + 4), event(BEGIN + 5)
    assert revenues(rates, late, fresh) == [(10, "feature_price"), (20, "feature_price")]
    plans.put_feature_price(FeaturePrice(SEARCH, BEGIN + 7, None))
    assert revenues(rates, fresh, event(BEGIN + 7)) == [(20, "feature_price"), None]


def test_an_event_is_on_the_plan_of_the_moment_at_which_it_began(
    plans: PlanBook, customers: CustomerBook, rates: RateBook
) -> None:
    plans.put_plan(plan("usage", 0, FeatureRate(SEARCH, "usage", 4_000)))
    plans.put_plan(plan("flat", 30))
    customers.subscribe("acme", "usage", starts_ms=BEGIN)
    customers.subscribe("acme", "flat", starts_ms=BEGIN + 100)
    moments = (BEGIN - 1, BEGIN, BEGIN + 99, BEGIN + 100)
    expected = [None, (40, "plan_usage"), (40, "plan_usage"), (0, "plan_included")]
    assert revenues(rates, *(event(moment) for moment in moments)) == expected
    customers.unsubscribe("acme")
    now_ms = customers.now_ms()
    assert revenues(rates, event(now_ms + 1), event(BEGIN)) == [None, (40, "plan_usage")]


def test_a_new_version_of_a_plan_is_another_price_for_those_who_are_on_it(
    plans: PlanBook, customers: CustomerBook, rates: RateBook
) -> None:
    plans.put_plan(plan("pro", 0, FeatureRate(SEARCH, "usage", 4_000)))
    customers.subscribe("acme", "pro", starts_ms=BEGIN)
    plans.put_plan(plan("pro", 0, FeatureRate(SEARCH, "usage", 5_000)))
    customers.subscribe("globex", "pro", starts_ms=BEGIN)
    assert revenues(rates, event(BEGIN), event(BEGIN, customer="globex")) == [
        (40, "plan_usage"),
        (50, "plan_usage"),
    ]


def test_a_default_plan_decides_by_the_label_that_an_event_was_recorded_under(
    plans: PlanBook, rates: RateBook
) -> None:
    plans.put_plan(plan("free", 0, FeatureRate(SEARCH, "usage", 3_000)))
    labelled = event(BEGIN, plan="free@1"), event(BEGIN, plan="free@1+15"), event(BEGIN, plan="free@2")
    assert revenues(rates, *labelled, event(BEGIN, plan="nonsense")) == [
        (30, "plan_usage"),
        (30, "plan_usage"),
        None,
        None,
    ]


def test_what_only_a_subscription_owes_is_not_known_of_customers_on_a_default_plan(
    plans: PlanBook, rates: RateBook
) -> None:
    plans.put_plan(plan("paid", 30))
    plans.put_plan(plan("tiers", 0, FeatureRate(SEARCH, "package", package_units=10, package_nano=7)))
    plans.put_plan(plan("free", 0, FeatureRate(SEARCH)))
    labelled = [event(BEGIN, plan=f"{name}@1") for name in ("paid", "tiers", "free")]
    assert revenues(rates, *labelled) == [None, None, (0, "plan_included")]
    plans.put_feature_price(FeaturePrice(SEARCH, BEGIN, 1_000))
    assert revenues(rates, *labelled) == [(10, "feature_price")] * 3


def test_a_feature_that_was_granted_beyond_the_plan_is_included(
    plans: PlanBook, customers: CustomerBook, rates: RateBook
) -> None:
    plans.put_plan(plan("notes", 30, features=("notes",), others=False))
    customers.subscribe("acme", "notes", starts_ms=BEGIN)
    assert revenues(rates, event(BEGIN)) == [None]
    customers.subscribe("acme", "notes", starts_ms=BEGIN, overrides=Overrides(features={SEARCH: True}))
    assert revenues(rates, event(BEGIN)) == [(0, "plan_included")]


def test_accounts_do_not_share_prices_plans_or_customers(
    engine: Engine, plans: PlanBook, customers: CustomerBook, rates: RateBook
) -> None:
    plans.put_feature_price(FeaturePrice(SEARCH, BEGIN, 1_000))
    plans.put_plan(plan("flat", 30))
    customers.subscribe("globex", "flat", starts_ms=BEGIN)
    foreign = event(BEGIN, account_id="other")
    unpriced = event(BEGIN, customer="globex", feature="notes", account_id="other")
    assert revenues(rates, foreign, unpriced, event(BEGIN)) == [None, None, (10, "feature_price")]
    PlanBook(engine, None, check_terms, account_id="other").put_feature_price(FeaturePrice(SEARCH, 0, 7_000))
    assert revenues(rates, foreign, event(BEGIN)) == [(70, "feature_price"), (10, "feature_price")]


def test_many_customers_cost_few_questions(
    engine: Engine, plans: PlanBook, customers: CustomerBook, rates: RateBook
) -> None:
    plans.put_plan(plan("flat", 30))
    for n in range(30):
        customers.subscribe(f"c{n}", "flat", starts_ms=BEGIN)
    batch = [event(BEGIN, customer=f"c{n % 40}") for n in range(400)]
    revenues(rates, *batch)
    asked: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    found = revenues(rates, *batch)
    assert found == [(0, "plan_included") if n % 40 < 30 else None for n in range(400)]
    assert len([each for each in asked if each.startswith("SELECT")]) == 3
    asked.clear()
    assert revenues(rates) == []
    assert asked == []


def test_explicit_amounts_and_the_operators_own_customers_need_no_plan(
    engine: Engine, rates: RateBook
) -> None:
    asked: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    batch = [
        event(BEGIN, revenue_nano=5),
        event(BEGIN, customer="_internal_ci"),
        event(BEGIN, customer=None),
        event(BEGIN, customer="_internal_ci", revenue_nano=5),
    ]
    assert revenues(rates, *batch) == [(5, "explicit"), None, None, None]
    assert not any("subscriptions" in each for each in asked)


def test_a_customer_that_is_marked_as_the_operators_own_has_no_revenue_while_it_is(
    engine: Engine, plans: PlanBook, customers: CustomerBook, rates: RateBook
) -> None:
    plans.put_feature_price(FeaturePrice(SEARCH, BEGIN, 1_000))
    for name in ("acme", "globex"):
        customers.add_customer(name)
    profiles, foreign = ProfileBook(engine, DEFAULT_ACCOUNT), event(BEGIN, account_id="other")
    batch = [event(BEGIN), event(BEGIN, revenue_nano=5), event(BEGIN, customer="globex"), foreign]
    plain = [(10, "feature_price"), (5, "explicit"), (10, "feature_price"), None]
    assert revenues(rates, *batch) == plain
    profiles.put_profile("acme", Profile(internal=True))
    assert revenues(rates, *batch) == [None, None, (10, "feature_price"), None]
    assert revenues(rates, event(BEGIN, account_id="other", revenue_nano=5)) == [(5, "explicit")]
    profiles.put_profile("acme", Profile(email="a@acme.test"))
    assert revenues(rates, *batch) == plain


@pytest.mark.parametrize("size", [1, 3, 100])
def test_any_batches_give_the_same_revenue(
    plans: PlanBook, customers: CustomerBook, rates: RateBook, size: int
) -> None:
    plans.put_feature_price(FeaturePrice("notes", BEGIN + 50, 1_500))
    plans.put_plan(plan("usage", 0, FeatureRate(SEARCH, "usage", 4_100)))
    customers.subscribe("acme", "usage", starts_ms=BEGIN + 20, ends_ms=BEGIN + 80)
    batch = [
        event(BEGIN + n, feature=("notes", SEARCH)[n % 2], customer=("acme", "globex")[n % 3 == 0])
        for n in range(100)
    ]
    one_by_one = [revenues(rates, each)[0] for each in batch]
    found: list[Revenue | None] = []
    for start in range(0, 100, size):
        found += revenues(rates, *batch[start : start + size])
    assert found == one_by_one
    assert {each and each[1] for each in found} == {None, "feature_price", "plan_usage", "plan_included"}
