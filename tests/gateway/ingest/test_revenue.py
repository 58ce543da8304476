"""Reported events are stored with what they are worth: as said, else by the prices of their time."""

from __future__ import annotations

from datetime import UTC, datetime

from accounts.customerbook import CustomerBook
from accounts.featureprices import FeaturePrice
from accounts.planbook import PlanBook
from billing.marginbook import MarginBook
from budgets.limit import check_terms
from metering.costsums import CostRow
from tests.billing.made import USD, plan
from tests.gateway.ingest.world import World, observed

HOUR_MS = 3_600_000


def books(world: World) -> tuple[PlanBook, CustomerBook]:
    engine = world.events._engine
    return PlanBook(engine, None, check_terms), CustomerBook(engine, None, check_terms)


def summed(world: World, customer: str) -> CostRow:
    (row,) = world.events.cost_by(("customer",), where={"customer": customer})
    return row


def test_amounts_that_are_said_count_also_0_and_others_are_by_the_price_of_their_time(world: World) -> None:
    customer, feature = world.fresh("customer"), world.fresh("feature")
    plans, _ = books(world)
    now_ms = plans.now_ms()
    plans.put_feature_price(FeaturePrice(feature, now_ms - 2 * HOUR_MS, 10**12))
    plans.put_feature_price(FeaturePrice(feature, now_ms - HOUR_MS, 2 * 10**12))
    event = observed(world, customerReferenceId=customer, featureKey=feature, costAmount="0.25", usageUnits=3)
    late = datetime.fromtimestamp((now_ms - HOUR_MS) // 1_000 - 60, UTC).isoformat()
    sent = [
        {**event, "revenueAmount": "7.5"},
        {**event, "revenueAmount": 0},
        event,
        {**event, "timestamp": late},
        {**event, "featureKey": world.fresh("feature")},
    ]
    assert world.batch(*sent).json()["accepted"] == len(sent)
    row = summed(world, customer)
    assert (row.events, row.revenue_known) == (5, 4)
    assert row.revenue_nano == 7_500_000_000 + 0 + 6 * USD + 3 * USD


def test_a_plan_that_was_changed_a_moment_ago_decides(world: World) -> None:
    customer = world.fresh("customer")
    plans, customers = books(world)
    plans.put_plan(plan(name := world.fresh("plan"), 30))
    event = observed(world, customerReferenceId=customer, costAmount="0.25")
    assert world.batch(event).json()["accepted"] == 1
    assert summed(world, customer).revenue_known == 0
    customers.subscribe(customer, name, starts_ms=plans.now_ms() - HOUR_MS)
    assert world.batch(event).json()["accepted"] == 1
    row = summed(world, customer)
    assert (row.events, row.revenue_known, row.revenue_nano) == (2, 1, 0)
    now_ms = plans.now_ms()
    found = MarginBook(world.events).profit_and_loss(customer, now_ms - HOUR_MS, now_ms).total
    assert (found.fees_nano > 0, found.cost_nano, found.reason) == (True, 500_000_000, "revenue_partly_known")


def test_the_operators_own_customers_have_no_revenue(world: World) -> None:
    customer = "_internal_" + world.fresh("ci")
    event = observed(world, customerReferenceId=customer, costAmount="0.25", revenueAmount="5")
    assert world.batch(event).json()["accepted"] == 1
    row = summed(world, customer)
    assert (row.events, row.revenue_known, row.revenue_nano) == (1, 0, 0)
