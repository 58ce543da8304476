"""The revenue of one event, as it is recorded with the event. Pure.

The first of these that there is decides:

    explicit       the amount that was reported with the event; 0 counts
    feature_price  the feature's own price for a unit, as in force when the event began
    plan_usage     the price for a unit of the plan that the customer was on
    plan_period    that plan charges the feature by what a whole period used: 0 here, and the period's charge
                   stands beside the events (billing.charges)
    plan_included  that plan's own price pays for the feature: 0 here, and the fee stands beside the events

Otherwise the revenue is not known, which is None and not 0: customers on no plan, and those on plans without
a price. Customers whose names begin with `_internal` pay nothing and owe nothing: never any revenue. Neither
has an event of nobody, unless its amount was reported.
"""

from __future__ import annotations

from accounts.featureprices import FeaturePrice
from accounts.plan import PlanVersion
from billing.units import units_of
from metering.event import AMOUNT_MAX, CostEvent
from metering.money import pico_to_nano_half_even

INTERNAL = "_internal"
EXPLICIT = "explicit"
FEATURE_PRICE = "feature_price"
PLAN_USAGE = "plan_usage"
PLAN_PERIOD = "plan_period"
PLAN_INCLUDED = "plan_included"
SOURCES = (EXPLICIT, FEATURE_PRICE, PLAN_USAGE, PLAN_PERIOD, PLAN_INCLUDED)

Revenue = tuple[int, str]
"""Nano-USD and where they come from, one of SOURCES."""


def is_internal(customer: str | None) -> bool:
    """Whether the customer is the operator itself."""
    return customer is not None and customer.startswith(INTERNAL)


def revenue_of(
    event: CostEvent, price: FeaturePrice | None, plan: PlanVersion | None, *, granted: bool
) -> Revenue | None:
    """What the customer owes for the event itself; None where that is not known.

    `price`: the feature's own, in force when the event began. `plan`: the version that the customer was on
    then. `granted`: whether that lets the customer use the feature. An amount beyond what an event can hold
    is no amount: None.
    """
    if is_internal(event.customer):
        return None
    if event.revenue_nano is not None:
        return event.revenue_nano, EXPLICIT
    if event.customer is None:
        return None
    if price is not None and price.price_pico is not None:
        return _charged(event, price.price_pico, FEATURE_PRICE)
    if plan is None or plan.price is None:
        return None
    rate = None if event.feature is None else plan.price.rate_of(event.feature)
    if rate is None:
        return (0, PLAN_INCLUDED) if granted else None
    if rate.by_period:
        return 0, PLAN_PERIOD
    return (0, PLAN_INCLUDED) if rate.model == "included" else _charged(event, rate.price_pico, PLAN_USAGE)


def _charged(event: CostEvent, price_pico: int, source: str) -> Revenue | None:
    nano = pico_to_nano_half_even(units_of(event) * price_pico)
    return (nano, source) if nano <= AMOUNT_MAX else None
