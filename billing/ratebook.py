"""The rate book: what the revenue of events is decided by, read from the record.

Whoever stores events asks it once for a batch and gets a function of one event. What has changed is read for
each batch, so a change holds for whatever is stored after it; and as prices and subscriptions are dated, an
event that comes late gets the price, and is on the plan, of the moment at which it began.

What does not change is kept: versions of plans, and prices of features, which are only ever added. Customers'
subscriptions are kept until any of their account's changes, which `subscription_changes` counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, suppress

import sqlalchemy as sa
from sqlalchemy import Connection

from accounts.featureprices import FeaturePrice, FeaturePrices
from accounts.plan import PlanVersion, version_of
from accounts.plantables import (
    FEATURE_PRICES,
    SUBSCRIPTION_CHANGES,
    PlanNotFound,
    feature_price_of,
    find_plan,
    subscriptions_of,
)
from accounts.profilebook import internal_customers
from accounts.subscription import Subscription
from billing.stamp import Revenue, is_internal, revenue_of
from metering.event import CostEvent
from metering.statement import among, listed, written

Reading = Callable[[], AbstractContextManager[Connection]]
"""Opens a connection to the record, for reading."""
RevenueOf = Callable[[CostEvent], Revenue | None]
KEPT_MAX = 100_000
"""So many customers of an account are kept; more, and it begins anew."""

_Spans = Sequence[Subscription]


class RateBook:
    """Prices and subscriptions of all accounts. Not to be shared by threads."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._last_seq = 0
        self._entries: dict[str, list[FeaturePrice]] = {}
        self._prices: dict[str, FeaturePrices] = {}
        self._changes: dict[str, int] = {}
        self._spans: dict[str, dict[str, _Spans]] = {}
        self._versions: dict[tuple[str, str, int], PlanVersion] = {}
        self._internal: dict[str, frozenset[str]] = {}

    def for_batch(self, events: Sequence[CostEvent]) -> RevenueOf:
        """The revenue of each of these events, as it is decided now. Raises what reading raises."""
        if not events:
            return self._revenue
        with self._reading() as connection:
            return self.inside(connection, events)

    def inside(self, connection: Connection, events: Sequence[CostEvent]) -> RevenueOf:
        """As `for_batch`, by what the caller's transaction sees. Good until the next call."""
        self._read_prices(connection)
        self._read_internal(connection, events)
        asked: dict[str, set[str]] = {}
        labels: set[tuple[str, str]] = set()
        for event in events:
            if event.customer is not None and event.revenue_nano is None and not self._is_internal(event):
                asked.setdefault(event.account_id, set()).add(event.customer)
                if event.plan is not None:
                    labels.add((event.account_id, event.plan))
        if asked:
            self._forget_changed(connection, asked)
        for account_id, customers in asked.items():
            self._read_spans(connection, account_id, customers)
        for account_id, label in labels:
            named = version_of(label)
            if named is not None:
                self._read_version(connection, account_id, *named)
        return self._revenue

    def _revenue(self, event: CostEvent) -> Revenue | None:
        if self._is_internal(event):
            return None
        present, plan = None, None
        for each in self._spans.get(event.account_id, {}).get(event.customer or "", ()):
            if each.covers(event.started_ms):
                present, plan = each, self._versions.get((event.account_id, each.plan, each.version))
        if present is None and event.plan is not None:  # a default plan, which is no subscription
            named = version_of(event.plan)
            plan = None if named is None else self._versions.get((event.account_id, *named))
        granted = plan is not None and (
            plan.grants(event.feature) if present is None else present.grants(plan, event.feature)
        )
        subscribed = present is not None
        return revenue_of(event, self._price(event), plan, granted=granted, subscribed=subscribed)

    def _price(self, event: CostEvent) -> FeaturePrice | None:
        prices = self._prices.get(event.account_id)
        if prices is None or event.feature is None:
            return None
        return prices.at(event.feature, event.started_ms)

    def _is_internal(self, event: CostEvent) -> bool:
        """Whether its customer is the operator itself, by its name or because it was said."""
        return is_internal(event.customer) or event.customer in self._internal.get(event.account_id, ())

    def _read_internal(self, connection: Connection, events: Sequence[CostEvent]) -> None:
        """Of which of the events' customers it is said now."""
        named: dict[str, set[str]] = {}
        for event in events:
            if event.customer is not None and not is_internal(event.customer):
                named.setdefault(event.account_id, set()).add(event.customer)
        self._internal = {
            account_id: internal_customers(connection, account_id, customers)
            for account_id, customers in named.items()
        }

    def _read_prices(self, connection: Connection) -> None:
        """Those that were recorded since the last time."""
        changed = set()
        for row in _LATER_PRICES.run(connection, (self._last_seq,)):
            self._entries.setdefault(row.account_id, []).append(feature_price_of(row))
            self._last_seq = row.seq
            changed.add(row.account_id)
        for account_id in changed:
            self._prices[account_id] = FeaturePrices(self._entries[account_id])

    def _forget_changed(self, connection: Connection, account_ids: Collection[str]) -> None:
        """Drop what is kept of accounts of whose subscriptions any changed."""
        for row in _CHANGES.run(connection, (listed(connection, account_ids),)):
            account_id, changes = row.account_id, row.changes
            if self._changes.get(account_id) != changes or len(self._spans[account_id]) > KEPT_MAX:
                self._changes[account_id], self._spans[account_id] = changes, {}

    def _read_spans(self, connection: Connection, account_id: str, customers: Iterable[str]) -> None:
        """Subscriptions of those customers that are not kept yet, and the versions that they are on."""
        kept = self._spans.get(account_id)
        if kept is None:
            return  # the account has never had a subscription
        fresh = [customer for customer in customers if customer not in kept]
        if not fresh:
            return
        found = subscriptions_of(connection, account_id, fresh)
        for customer in fresh:
            kept[customer] = found.get(customer, ())
            for each in kept[customer]:
                self._read_version(connection, account_id, each.plan, each.version)

    def _read_version(self, connection: Connection, account_id: str, plan: str, version: int) -> None:
        place = (account_id, plan, version)
        if place not in self._versions:
            with suppress(PlanNotFound):  # a label of no plan that is here
                self._versions[place] = find_plan(connection, *place)


_LATER_PRICES = written(
    lambda _engine: (
        sa.select(FEATURE_PRICES)
        .where(FEATURE_PRICES.c.seq > sa.bindparam("after"))
        .order_by(FEATURE_PRICES.c.seq)
    )
)
_CHANGES = written(
    lambda engine: sa.select(SUBSCRIPTION_CHANGES).where(among(engine, SUBSCRIPTION_CHANGES.c.account_id))
)
