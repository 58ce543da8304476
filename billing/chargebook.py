"""The charge book: what is owed beside the events, worked out from the record for a span of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from accounts.plan import PlanVersion
from accounts.plantables import SUBSCRIPTIONS, plan_versions_of, subscription_of
from accounts.profilebook import internal_customers
from billing.charges import Charge, Span, Subscribed, Used, charges_of, spans_wanted

UsedIn = Callable[[Sequence[Span]], Used]
"""Gives the units of spans, as `billing.charges.Used` says."""
_MONTH_MS = 31 * 86_400_000


def subscribed_of(
    connection: Connection, account_id: str, since_ms: int, until_ms: int, customer: str | None = None
) -> list[Subscribed]:
    """The account's customers (or this one) on plans with a price, whose subscriptions meet [since_ms,
    until_ms), and what was before them in the same billing periods. Those of which it is said now that they
    are the operator's own use owe nothing, and are left out."""
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
        if version.price is not None and row.customer not in internal:
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


def _look_back_ms(versions: Iterable[PlanVersion]) -> int:
    """How long before a span a period may have begun whose use counts for it."""
    prices = [each.price for each in versions if each.price is not None]
    months = [price.interval_months for price in prices if any(rate.by_period for rate in price.rates)]
    return _MONTH_MS * max(months, default=0)
