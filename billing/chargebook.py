"""The charge book: what is owed beside the events, worked out from the record for a span of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from accounts.plan import PlanVersion
from accounts.plantables import SUBSCRIPTIONS, plan_versions_of, subscription_of
from accounts.profilebook import internal_customers
from accounts.subscription import Subscription
from billing.charges import Charge, Span, Subscribed, Used, charges_of, spans_wanted
from billing.fees import period_terms
from billing.period import periods_between
from metering.rollup import DAY_MS, HOUR_MS

UsedIn = Callable[[Sequence[Span]], Used]
"""Gives the units of spans, as `billing.charges.Used` says."""
_MONTH_MS = 32 * DAY_MS
"""More than any month has: one of 31 days has an hour more where the clock is put back in it."""


def subscribed_of(
    connection: Connection, account_id: str, since_ms: int, until_ms: int, customer: str | None = None
) -> list[Subscribed]:
    """The account's customers (or this one) on plans, whose subscriptions meet [since_ms, until_ms), and what
    was before them in the same billing periods: also on a version without a price, after which another one
    goes on counting. Those of which it is said now that they are the operator's own use owe nothing, and are
    left out."""
    versions = {each.label: each for each in plan_versions_of(connection, account_id)}
    where = [SUBSCRIPTIONS.c.account_id == account_id, SUBSCRIPTIONS.c.starts_ms < until_ms]
    if customer is not None:
        where.append(SUBSCRIPTIONS.c.customer == customer)
    ends, from_ms = SUBSCRIPTIONS.c.ends_ms, since_ms - _look_back_ms(versions.values())
    where.append(sa.or_(ends.is_(None), ends > from_ms))
    internal = internal_customers(connection, account_id, None if customer is None else (customer,))
    found = []
    for row in connection.execute(sa.select(SUBSCRIPTIONS).where(*where)):
        version = versions[f"{row.plan}@{row.version}"]
        if row.customer not in internal:
            found.append(Subscribed(row.customer, subscription_of(row), version))
    return found


def charges_between(
    connection: Connection,
    account_id: str,
    since_ms: int,
    until_ms: int,
    used_in: UsedIn,
    customer: str | None = None,
) -> list[Charge]:
    """What the account's customers (or this one) owe for [since_ms, until_ms) beside their events."""
    subscribed = subscribed_of(connection, account_id, since_ms, until_ms, customer)
    used = used_in(spans_wanted(subscribed, since_ms, until_ms))
    return charges_of(subscribed, since_ms, until_ms, used)


def borders_of(connection: Connection, until_ms: int) -> list[int]:
    """Moments inside of hours, before `until_ms`, at which any account's charges by period begin or end to
    count: without single events there, what a period has used cannot be told."""
    found: set[int] = set()
    for account_id in connection.scalars(sa.select(SUBSCRIPTIONS.c.account_id).distinct()).all():
        versions = {each.label: each for each in plan_versions_of(connection, account_id)}
        charging = {each.plan for each in versions.values() if _by_period(each)}
        query = sa.select(SUBSCRIPTIONS).where(
            SUBSCRIPTIONS.c.account_id == account_id, SUBSCRIPTIONS.c.starts_ms < until_ms
        )
        for row in connection.execute(query):
            if row.plan in charging:
                found.update(_borders(subscription_of(row), versions[f"{row.plan}@{row.version}"], until_ms))
    return sorted(found)


def _borders(subscription: Subscription, plan: PlanVersion, until_ms: int) -> Iterator[int]:
    ends_ms = until_ms if subscription.ends_ms is None else min(subscription.ends_ms, until_ms)
    periods = periods_between(period_terms(subscription, plan), subscription.starts_ms, ends_ms)
    for moment_ms in (subscription.starts_ms, ends_ms, *(each.start_ms for each in periods)):
        if moment_ms % HOUR_MS and moment_ms < until_ms:
            yield moment_ms


def _by_period(plan: PlanVersion) -> bool:
    return plan.price is not None and any(rate.by_period for rate in plan.price.rates)


def _look_back_ms(versions: Iterable[PlanVersion]) -> int:
    """How long before a span a period may have begun whose use counts for it."""
    return _MONTH_MS * max((each.interval_months for each in versions if _by_period(each)), default=0)
