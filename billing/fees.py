"""A plan's own price, earned evenly over each of its periods. Pure, exact whole numbers.

Of a period's price, as much is earned until a moment as the part of the period's milliseconds that has passed
until then, rounded half to even: that sum is a function of the moment alone. What is earned in a span is the
difference of the sums at its two ends, so spans that follow each other add up exactly, and a whole period
gives its whole price, whatever it is cut into: days, hours, or subscriptions that follow each other with the
same terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from accounts.plan import OWN_DAY, PlanVersion
from accounts.planprice import PlanPrice
from accounts.subscription import PPM, Subscription
from billing.period import Period, PeriodTerms, period_of
from metering.money import half_even


@dataclass(frozen=True, slots=True)
class Fee:
    """What one subscription owes for each of its periods, as a fraction: nano-USD x 10**6.

    It is owed from `starts_ms` on and before `ends_ms` (None: until further notice).
    """

    nano_ppm: int
    terms: PeriodTerms
    starts_ms: int
    ends_ms: int | None


def period_terms(subscription: Subscription, plan: PlanVersion) -> PeriodTerms:
    """How the subscription's periods lie. `plan`: the version that it is on."""
    day = subscription.anchor if plan.anchor == OWN_DAY else plan.anchor
    return PeriodTerms(plan.time_zone, day, plan.interval_months, subscription.anchor_month)


def fee_of(subscription: Subscription, plan: PlanVersion, price: PlanPrice) -> Fee:
    """What the subscription owes. `price`: that of the plan's version."""
    deal = subscription.deal
    base_nano = price.flat_nano if deal.price_nano is None else deal.price_nano
    return Fee(
        base_nano * deal.quantity * (PPM - deal.discount_ppm),
        period_terms(subscription, plan),
        subscription.starts_ms,
        subscription.ends_ms,
    )


def earned_nano(fee: Fee, since_ms: int, until_ms: int) -> int:
    """What is earned in [since_ms, until_ms)."""
    since_ms = max(since_ms, fee.starts_ms)
    if fee.ends_ms is not None:
        until_ms = min(until_ms, fee.ends_ms)
    if since_ms >= until_ms or not fee.nano_ppm:
        return 0
    return _earned(fee.nano_ppm, fee.terms, since_ms, until_ms)


@lru_cache(maxsize=4_096)
def _earned(nano_ppm: int, terms: PeriodTerms, since_ms: int, until_ms: int) -> int:
    """Many customers on one plan have the same sum for the same span."""
    nano = 0
    while since_ms < until_ms:
        period = period_of(terms, since_ms)
        end_ms = min(until_ms, period.end_ms)
        nano += _until(nano_ppm, period, end_ms) - _until(nano_ppm, period, since_ms)
        since_ms = end_ms
    return nano


def _until(nano_ppm: int, period: Period, moment_ms: int) -> int:
    """What of the period's price is earned from its beginning until a moment in it."""
    passed_ms, length_ms = moment_ms - period.start_ms, period.end_ms - period.start_ms
    return half_even(nano_ppm * passed_ms, PPM * length_ms)
