"""The revenue of one event, as it is recorded with the event. Pure.

The first of these that there is decides:

    explicit       the amount that was reported with the event; 0 counts
    plan_period    the plan that the customer was on charges the feature by what a whole period used: 0 here,
                   and the period's charge stands beside the events (billing.charges)
    feature_price  the feature's own price for a unit, as in force when the event began
    plan_usage     the plan's price for a unit
    plan_included  the plan's own price pays for the feature: 0 here, and the fee stands beside the events

What stands beside the events is owed by subscriptions. Customers on a default plan have none: of them a
charge by period, and a feature that a price above 0 would pay for, are not known.
Otherwise the revenue is not known, which is None and not 0: customers on no plan, and those on plans without
a price. Customers whose names begin with `_internal` pay nothing and owe nothing: never any revenue; nor do
those of which their profiles say so, which the rate book knows. Neither has an event of nobody, unless its
amount was reported.
"""

from __future__ import annotations

from accounts.featureprices import FeaturePrice
from accounts.plan import PlanVersion
from metering.event import AMOUNT_MAX, CostEvent
from metering.money import pico_to_nano_half_even

INTERNAL = "_internal"
EXPLICIT = "explicit"
FEATURE_PRICE = "feature_price"
PLAN_USAGE = "plan_usage"
PLAN_PERIOD = "plan_period"
PLAN_INCLUDED = "plan_included"
SOURCES = (EXPLICIT, PLAN_PERIOD, FEATURE_PRICE, PLAN_USAGE, PLAN_INCLUDED)

Revenue = tuple[int, str]
"""Nano-USD and where they come from, one of SOURCES."""


def is_internal(customer: str | None) -> bool:
    """Whether the customer is the operator itself by its name."""
    return customer is not None and customer.startswith(INTERNAL)


def revenue_of(
    event: CostEvent,
    price: FeaturePrice | None,
    plan: PlanVersion | None,
    *,
    granted: bool,
    subscribed: bool = True,
) -> Revenue | None:
    """What the customer owes for the event itself; None where that is not known.

    `price`: the feature's own, in force when the event began. `plan`: the version that the customer was on
    then. `granted`: whether that lets the customer use the feature. `subscribed`: whether it was by a
    subscription, which owes what stands beside the events, and not by default. An amount beyond what an event
    can hold is no amount: None.
    """
    if is_internal(event.customer):
        return None
    if event.revenue_nano is not None:
        return event.revenue_nano, EXPLICIT
    if event.customer is None:
        return None
    charged = None if plan is None else plan.price
    rate = None if charged is None or event.feature is None else charged.rate_of(event.feature)
    if rate is not None and rate.by_period and subscribed:
        return 0, PLAN_PERIOD
    if price is not None and price.price_pico is not None:
        return _charged(event, price.price_pico, FEATURE_PRICE)
    if rate is not None and rate.model == "usage":
        return _charged(event, rate.price_pico, PLAN_USAGE)
    if charged is None or (rate is not None and rate.by_period):
        return None
    paid = subscribed or not charged.flat_nano
    return (0, PLAN_INCLUDED) if paid and (rate is not None or granted) else None


def _charged(event: CostEvent, price_pico: int, source: str) -> Revenue | None:
    nano = pico_to_nano_half_even(event.units * price_pico)
    return (nano, source) if nano <= AMOUNT_MAX else None
