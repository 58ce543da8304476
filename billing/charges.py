"""Charges: what customers owe beside single events, for a span of time. Pure.

plan_fees   the plans' own prices, earned evenly over their periods (billing.fees)
period      graduated prices and packages, by what each period has used (billing.tiers)

Both are functions of the span's two ends, so the charges of spans that follow each other add up exactly to
those of the whole, and none depends on how many events there were but by the units of the second kind. What a
period has used is counted from its beginning, or from when the customer came on the plan in it: another
version of the plan, or another deal, goes on counting; another plan begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from accounts.plan import PlanVersion
from accounts.planprice import PlanPrice
from accounts.subscription import Subscription
from billing.fees import earned_nano, fee_of, period_terms
from billing.period import periods_between
from billing.stamp import is_internal
from billing.tiers import part_nano

PLAN_FEES = "plan_fees"
PERIOD = "period"


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A customer on a version of a plan for a span of time."""

    customer: str
    subscription: Subscription
    plan: PlanVersion


@dataclass(frozen=True, slots=True)
class Charge:
    """Nano-USD owed by a customer on a plan. `feature` None: for the plan itself."""

    kind: str
    customer: str
    plan: str
    feature: str | None
    nano: int


@dataclass(frozen=True, slots=True)
class Span:
    """A customer's use of a feature in [since_ms, until_ms)."""

    customer: str
    feature: str
    since_ms: int
    until_ms: int


Used = Mapping[Span, int]
"""Units (CostEvent.units) of all events of each span."""


def spans_wanted(subscribed: Iterable[Subscribed], since_ms: int, until_ms: int) -> list[Span]:
    """The spans whose units the charges of [since_ms, until_ms) depend on."""
    found: dict[Span, None] = {}
    for each, _, run_ms in _priced(subscribed, since_ms, until_ms):
        for _, before, inside in _parts(each, run_ms, since_ms, until_ms):
            found[before] = found[inside] = None
    return [span for span in found if span.since_ms < span.until_ms]


def charges_of(subscribed: Iterable[Subscribed], since_ms: int, until_ms: int, used: Used) -> list[Charge]:
    """What is owed for [since_ms, until_ms), by customer, plan and feature. A plan's fee is there also where
    it is 0: the customer pays by a plan then; other charges of 0 are left out.

    `subscribed`: all that meet the span, and those before them in the same periods. `used`: the units of all
    spans that `spans_wanted` names for the same; KeyError for one that is missing.
    """
    sums: dict[tuple[str, str, str, str | None], int] = {}
    for each, price, run_ms in _priced(subscribed, since_ms, until_ms):
        fee = fee_of(each.subscription, each.plan, price)
        place = (PLAN_FEES, each.customer, each.plan.plan, None)
        sums[place] = sums.get(place, 0) + earned_nano(fee, since_ms, until_ms)
        for feature, before, inside in _parts(each, run_ms, since_ms, until_ms):
            rate = price.rate_of(feature)
            assert rate is not None
            earlier = used[before] if before.since_ms < before.until_ms else 0
            of_feature = (PERIOD, each.customer, each.plan.plan, feature)
            sums[of_feature] = sums.get(of_feature, 0) + part_nano(rate, earlier, used[inside])
    return [
        Charge(kind, customer, plan, feature, nano)
        for (kind, customer, plan, feature), nano in sums.items()
        if nano or kind == PLAN_FEES
    ]


def _priced(
    subscribed: Iterable[Subscribed], since_ms: int, until_ms: int
) -> Iterator[tuple[Subscribed, PlanPrice, int]]:
    """Those that owe something for the span, with their price, and since when the customer has been on the
    plan without a gap."""
    before: Subscribed | None = None
    run_ms = 0
    for each in sorted(subscribed, key=lambda one: (one.customer, one.subscription.starts_ms)):
        mine = each.subscription
        follows = (
            before is not None
            and before.customer == each.customer
            and before.plan.plan == each.plan.plan
            and before.subscription.ends_ms == mine.starts_ms
        )
        run_ms = run_ms if follows else mine.starts_ms
        before = each
        meets = mine.starts_ms < until_ms and (mine.ends_ms is None or since_ms < mine.ends_ms)
        if meets and each.plan.price is not None and not is_internal(each.customer):
            yield each, each.plan.price, run_ms


def _parts(each: Subscribed, run_ms: int, since_ms: int, until_ms: int) -> Iterator[tuple[str, Span, Span]]:
    """Of each feature that is charged by period, for each period that the asked span meets: the part of it
    before the asked span and the subscription, and the part in both."""
    subscription, price = each.subscription, each.plan.price
    features = [rate.feature for rate in price.rates if rate.by_period] if price is not None else []
    if not features:
        return
    since_ms = max(since_ms, subscription.starts_ms)
    until_ms = until_ms if subscription.ends_ms is None else min(until_ms, subscription.ends_ms)
    for period in periods_between(period_terms(subscription, each.plan), since_ms, until_ms):
        counted_ms = max(period.start_ms, run_ms)
        inside_ms, ends_ms = max(since_ms, period.start_ms), min(until_ms, period.end_ms)
        for feature in features:
            before = Span(each.customer, feature, counted_ms, inside_ms)
            yield feature, before, Span(each.customer, feature, inside_ms, ends_ms)
