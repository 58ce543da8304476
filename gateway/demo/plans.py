"""What the demo's customers pay: each is on a plan of another kind, and one of them pays too little."""

from __future__ import annotations

from pathlib import Path

from accounts.customerbook import CustomerBook
from accounts.plan import PlanVersion
from accounts.planbook import PlanBook
from accounts.planprice import FeatureRate, PlanPrice, Tier, unit_pico
from accounts.plantables import PlanNotFound
from budgets.limit import check_terms
from gateway.demo.traffic import FEATURES
from metering.database import open_database
from metering.money import usd_to_nano

MILLION = 1_000_000


def _each(rate: FeatureRate) -> tuple[FeatureRate, ...]:
    """The rate for every feature of the demo."""
    return tuple(FeatureRate(feature, rate.model, rate.price_pico, rate.tiers) for feature in FEATURES)


_METERED = FeatureRate("", "usage", unit_pico("1.20", MILLION))
_TIERS = FeatureRate(
    "",
    "graduated",
    tiers=(
        Tier(2_000, unit_pico("3.00", MILLION)),
        Tier(10_000, unit_pico("1.50", MILLION)),
        Tier(None, unit_pico("1.00", MILLION)),
    ),
)
PLANS = {
    "acme": PlanVersion(
        "metered", 0, others=True, name="$1.20 for a million tokens", price=PlanPrice(rates=_each(_METERED))
    ),
    "globex": PlanVersion(
        "enterprise", 0, others=True, name="$4,900 a month", price=PlanPrice(usd_to_nano("4900"))
    ),
    "initech": PlanVersion("starter", 0, others=True, name="$99 a month", price=PlanPrice(usd_to_nano("99"))),
    "umbrella": PlanVersion(
        "graduated",
        0,
        others=True,
        name="$3 to $1 for a million, by tiers",
        price=PlanPrice(rates=_each(_TIERS)),
    ),
}
"""By customer; every plan grants everything. Traffic as heavy as the demo's costs far more than `starter`."""


def make_plans(database: Path) -> None:
    """Record the plans and put the customers on them from now on, in a database that no server uses yet;
    `serve` publishes them when it starts. Raises metering.database.DatabaseError."""
    engine = open_database(database)
    try:
        plans, customers = PlanBook(engine, None, check_terms), CustomerBook(engine, None, check_terms)
        for customer, plan in PLANS.items():
            plans.put_plan(plan)
            customers.subscribe(customer, plan.plan, starts_ms=_ended(customers, customer))
    finally:
        engine.dispose()


def _ended(customers: CustomerBook, customer: str) -> int | None:
    """End what the customer is on from a former demo, so that its tiers begin anew; a moment after."""
    try:
        return (customers.unsubscribe(customer).ends_ms or 0) + 1
    except (PlanNotFound, ValueError):
        return None
