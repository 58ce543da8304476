"""The record of prices: features' are added and never changed, customers' deals begin with another span."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from accounts.customerbook import CustomerBook
from accounts.feature import Feature
from accounts.featureprices import FeaturePrice
from accounts.plan import OWN_DAY, PlanVersion
from accounts.planbook import PlanBook
from accounts.planprice import FeatureRate, PlanPrice
from accounts.plantables import FEATURE_PRICES, subscriptions_of
from accounts.subscription import Deal, Overrides
from budgets.limit import check_terms
from metering.database import open_database, writing
from metering.migration import load_migrations, shipped
from tests.billing.made import at

PRICE = FeaturePrice("search", 1_000, 5)
PRO = PlanVersion("pro", 0, others=True, price=PlanPrice(29 * 10**9))
YEARLY = PlanVersion("yearly", 0, others=True, price=PlanPrice(290 * 10**9, 12), anchor=OWN_DAY)


@pytest.fixture
def plans(engine: Engine) -> PlanBook:
    return PlanBook(engine, None, check_terms)


@pytest.fixture
def customers(engine: Engine) -> CustomerBook:
    return CustomerBook(engine, None, check_terms)


def test_a_price_is_added_once_and_is_in_force_from_its_moment(plans: PlanBook) -> None:
    assert plans.put_feature_price(PRICE)
    assert not plans.put_feature_price(FeaturePrice("search", 2_000, 5))
    assert plans.put_feature_price(FeaturePrice("search", 2_000, 5, "page"))
    assert plans.put_feature_price(FeaturePrice("search", 3_000, None))
    assert not plans.put_feature_price(FeaturePrice("search", 3_500, None, "page"))
    assert not plans.put_feature_price(FeaturePrice("other", 0, None))
    assert plans.put_feature_price(FeaturePrice("search", 1_500, 6))  # between two that are there
    found = plans.feature_prices()
    assert [
        getattr(found.at("search", n), "price_pico", None) for n in (999, 1_000, 1_500, 2_000, 3_000)
    ] == [*(None, 5, 6, 5, None)]
    with pytest.raises(ValueError, match="1970"):
        plans.put_feature_price(FeaturePrice("search", -1, 5))


def test_a_price_can_neither_be_changed_nor_taken_away(engine: Engine, plans: PlanBook) -> None:
    plans.put_feature_price(PRICE)
    for statement in (sa.update(FEATURE_PRICES).values(price_pico=6), sa.delete(FEATURE_PRICES)):
        with pytest.raises(IntegrityError, match="price of a feature"), writing(engine) as connection:
            connection.execute(statement)
    assert [each.price_pico for each in plans.feature_prices().entries()] == [5]


def test_accounts_do_not_see_each_others_prices(engine: Engine, plans: PlanBook) -> None:
    plans.put_feature_price(PRICE)
    other = PlanBook(engine, None, check_terms, account_id="other")
    assert other.feature_prices().entries() == []
    assert other.put_feature_price(PRICE)


def test_a_configuration_is_recorded_with_its_prices_or_not_at_all(plans: PlanBook) -> None:
    features = [Feature("search")]
    applied = plans.apply(features, [PRO], None, [PRICE])
    assert (applied.plans, applied.prices) == (("pro@1",), ("search",))
    assert plans.apply(features, [PRO], None, [FeaturePrice("search", 9_000, 5)]).prices == ()
    with pytest.raises(ValueError, match="not an amount"):
        plans.apply([Feature("new")], [], None, [FeaturePrice("search", 9_000, -5)])
    assert [each.key for each in plans.features()] == ["search"]


def test_a_plans_price_survives_the_record(plans: PlanBook) -> None:
    charged = PlanVersion(
        "max", 0, ("search",), price=PlanPrice(5, 3, "in_arrears", rates=(FeatureRate("search", "usage", 7),))
    )
    latest, new = plans.put_plan(charged)
    assert new
    assert plans.plan("max").price == latest.price == charged.price


def test_a_deal_begins_another_span_and_goes_on_with_changes(
    plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(PRO)
    first = customers.subscribe("acme", "pro", starts_ms=at("2026-03-15"), deal=Deal(quantity=3))
    agreed = customers.agree("acme", Deal(20 * 10**9, discount_ppm=5))
    spans = customers.customer("acme").subscriptions
    assert [each.deal for each in spans] == [Deal(quantity=3), Deal(20 * 10**9, discount_ppm=5)]
    assert spans[0].ends_ms == spans[1].starts_ms == agreed.starts_ms
    assert (agreed.anchor, agreed.anchor_month) == (first.anchor, first.anchor_month)
    plans.put_plan(PlanVersion("pro", 0, others=True, price=PlanPrice(39 * 10**9)))
    customers.migrate("pro")
    last = customers.customer("acme").subscriptions[-1]
    assert (last.version, last.deal) == (2, agreed.deal)
    with pytest.raises(ValueError, match="quantity 0"):
        customers.agree("acme", Deal(quantity=0))
    with pytest.raises(ValueError, match="from 0 to 100"):
        customers.subscribe("acme", "pro", deal=Deal(discount_ppm=-1))


def test_a_deal_that_is_to_come_goes_with_the_customers_other_terms(
    plans: PlanBook, customers: CustomerBook
) -> None:
    """What is changed meanwhile is so also from its beginning on, and only once."""
    plans.put_plan(PRO)
    plans.put_feature(Feature("search"))
    customers.subscribe("acme", "pro")
    later_ms = customers.now_ms() + 30 * 86_400_000
    customers.agree("acme", Deal(quantity=3), starts_ms=later_ms)
    customers.override("acme", Overrides(features={"search": False}))
    plans.put_plan(PlanVersion("pro", 0, others=True, price=PlanPrice(39 * 10**9)))
    assert customers.migrate("pro") == ["acme"]
    spans = customers.customer("acme").subscriptions
    present, to_come = (
        next(each for each in spans if each.covers(at_ms)) for at_ms in (later_ms - 1, later_ms)
    )
    assert (present.deal.quantity, to_come.deal.quantity) == (1, 3)
    assert present.version == to_come.version == 2
    assert present.overrides == to_come.overrides == Overrides(features={"search": False})
    assert (present.ends_ms, to_come.starts_ms, to_come.ends_ms) == (later_ms, later_ms, None)
    ended = customers.unsubscribe("acme", ends_ms=later_ms + 5)
    assert (ended.id, ended.ends_ms) == (to_come.id, later_ms + 5)
    assert customers.customer("acme").subscriptions[-1].ends_ms == later_ms + 5


def test_periods_of_one_length_go_on_and_of_another_begin_anew(
    plans: PlanBook, customers: CustomerBook
) -> None:
    for plan in (PRO, YEARLY):
        plans.put_plan(plan)
    month = 2026 * 12
    first = customers.subscribe("acme", "yearly", starts_ms=at("2026-03-15"))
    assert (first.anchor, first.anchor_month) == (15, month + 2)
    again = customers.subscribe("acme", "yearly", starts_ms=at("2026-06-20"))
    assert (again.anchor, again.anchor_month) == (15, month + 2)
    other = customers.subscribe("acme", "pro", starts_ms=at("2026-08-20"))
    assert (other.anchor, other.anchor_month) == (15, month + 7)
    anew = customers.subscribe("acme", "yearly", starts_ms=at("2026-09-10"), anchor=12)
    assert (anew.anchor, anew.anchor_month) == (12, month + 7)  # the period that covers 10 September


def test_customers_from_before_there_were_prices_have_the_month_of_their_start(tmp_path: Path) -> None:
    path, before = tmp_path / "tollkeeper.db", tmp_path / "before"
    before.mkdir()
    for step in load_migrations(shipped("sqlite")):
        if step.name.endswith("_prices.sql"):
            break
        (before / step.name).write_text(step.text)
    old = open_database(path, migrations=before)
    with writing(old) as connection:
        for statement in (
            "INSERT INTO customers (account_id, customer, name, created_ms) "
            "VALUES ('default', 'acme', '', 0)",
            "INSERT INTO plan_versions VALUES ('default', 'pro', 1, '{}', 0)",
            f"INSERT INTO subscriptions VALUES ('s', 'default', 'acme', 'pro', 1, {at('2025-12-31')}, NULL, "
            '31, \'{"limits":{},"features":{}}\', 0)',
        ):
            connection.exec_driver_sql(statement)
    old.dispose()
    engine = open_database(path)
    with engine.connect() as connection:
        (found,) = subscriptions_of(connection, "default", ["acme"])["acme"]
    engine.dispose()
    assert (found.deal, found.anchor_month) == (Deal(), 2025 * 12 + 11)
