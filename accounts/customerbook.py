"""The customer book: the record of customers and of who is on which plan when, and its enforced copy.

SQL is the record and is written first. A change holds for the next request everywhere when the call returns:
it raises the version of the customer's document, by which `open` tells old copies. A subscription does not
change but for its end: whatever changes begins another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy import Connection

from accounts.book import Book
from accounts.customer import Customer, check_overrides, day_of, going_on, month_of
from accounts.dealing import alike_from, with_deal
from accounts.naming import check_name
from accounts.plan import OWN_DAY, PlanVersion
from accounts.plantables import (
    CUSTOMERS,
    PLANS,
    SUBSCRIPTIONS,
    PlanNotFound,
    find_plan,
    subscription_of,
    subscription_order,
    subscriptions_of,
)
from accounts.publishing import BATCH
from accounts.subscription import NO_DEAL, USUAL_PAYING, Deal, Overrides, Paying, Subscription, check_deal
from accounts.subscriptionrows import (
    cut_subscriptions,
    insert_subscription,
    replace_subscriptions,
    rewrite_subscriptions,
)
from accounts.tables import new_id, touch
from metering.database import writing
from metering.statement import engine_of


class CustomerBook(Book):
    """Customers and subscriptions of one account."""

    def add_customer(self, customer: str, name: str = "") -> Customer:
        """Record a customer, or its new name."""
        with writing(self._engine) as connection:
            self._add_customer(connection, customer, name)
        self._publisher.publish(self._account, customer=customer)
        return self.customer(customer)

    def customer(self, customer: str) -> Customer:
        """The recorded customer. Raises PlanNotFound."""
        where = (CUSTOMERS.c.account_id == self._account, CUSTOMERS.c.customer == customer)
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(CUSTOMERS).where(*where)).first()
            if row is None:
                raise PlanNotFound(f"no customer is called {customer!r}")
            spans = subscriptions_of(connection, self._account, [customer]).get(customer, [])
        return Customer(row.customer, row.name, row.created_ms, tuple(spans))

    def customers(self, *, after: str = "", limit: int = 100, plan: str | None = None) -> list[Customer]:
        """Recorded customers by name, those after this one; only those on this plan now."""
        query = sa.select(CUSTOMERS).where(
            CUSTOMERS.c.account_id == self._account, CUSTOMERS.c.customer > after
        )
        if plan is not None:
            now_ms = self.now_ms()
            on_it = sa.select(SUBSCRIPTIONS.c.customer).where(
                SUBSCRIPTIONS.c.account_id == self._account,
                SUBSCRIPTIONS.c.plan == plan,
                *_covering(now_ms),
            )
            query = query.where(CUSTOMERS.c.customer.in_(on_it))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(CUSTOMERS.c.customer).limit(limit)).all()
            spans = subscriptions_of(connection, self._account, [row.customer for row in rows])
        return [
            Customer(row.customer, row.name, row.created_ms, tuple(spans.get(row.customer, ())))
            for row in rows
        ]

    def subscribe(
        self,
        customer: str,
        plan: str,
        *,
        version: int | None = None,
        starts_ms: int | None = None,
        ends_ms: int | None = None,
        anchor: int | None = None,
        overrides: Overrides | None = None,
        deal: Deal = NO_DEAL,
        paying: Paying | None = None,
    ) -> Subscription:
        """Put the customer on a plan from a moment on (by default now), which ends what it is on then and
        replaces what was to come later. Recorded where nobody did yet.

        `anchor`: by default the day of the month of the subscription before, else that of its start.
        `paying`: by default as in the subscription before. Billing periods of the same length go on from one
        to the next. Raises PlanNotFound, ValueError.
        """
        check_deal(deal)
        now_ms = self.now_ms()
        starts_ms = now_ms if starts_ms is None else starts_ms
        if ends_ms is not None and ends_ms <= starts_ms:
            raise ValueError("a subscription ends after its start")
        with writing(self._engine) as connection:
            chosen = find_plan(connection, self._account, plan, version)
            self._check_open(connection, plan)
            check_overrides(chosen, overrides, self._check_limit)
            self._add_customer(connection, customer, None)
            spans = self._spans(connection, customer)
            month = self._going_month(connection, spans, chosen) if anchor is None else None
            if anchor is None:
                anchor = spans[-1].anchor if spans else day_of(starts_ms, chosen.time_zone)
            if month is None:
                first_day = anchor if chosen.anchor == OWN_DAY else chosen.anchor
                month = month_of(starts_ms, chosen.time_zone, first_day)
            made = Subscription(
                id=new_id("sub_"),
                plan=plan,
                version=chosen.version,
                starts_ms=starts_ms,
                ends_ms=ends_ms,
                anchor=anchor,
                overrides=overrides or Overrides(),
                deal=deal,
                paying=paying or (spans[-1].paying if spans else USUAL_PAYING),
                anchor_month=month,
            )
            cut_subscriptions(connection, spans, made.starts_ms)
            insert_subscription(connection, self._account, customer, made, now_ms)
            touch(connection, self._account, customer)
        self._publisher.publish(self._account, customer=customer)
        return made

    def override(self, customer: str, overrides: Overrides) -> Subscription:
        """Give the customer this otherwise than its plan, instead of what it had so. From now on: what has
        been counted goes on. Raises PlanNotFound, ValueError."""
        now_ms, present = self._present(customer)
        with writing(self._engine) as connection:
            chosen = find_plan(connection, self._account, present.plan, present.version)
            check_overrides(chosen, overrides, self._check_limit)
            moves = [
                (customer, each, going_on(each, max(now_ms, each.starts_ms), overrides=overrides))
                for each in alike_from(self._spans(connection, customer), present)
            ]
            replace_subscriptions(connection, self._account, moves, now_ms)
        self._publisher.publish(self._account, customer=customer)
        return moves[0][2]

    def agree(
        self, customer: str, deal: Deal, *, starts_ms: int | None = None, ends_ms: int | None = None
    ) -> Subscription:
        """Let the customer pay this otherwise than its plan says, from a moment on (by default now) and
        before another one (by default as long as it is on the plan); until then all stays as it was. Raises
        PlanNotFound, ValueError."""
        check_deal(deal)
        now_ms, known = self.now_ms(), self.customer(customer).customer
        starts_ms = now_ms if starts_ms is None else starts_ms
        with writing(self._engine) as connection:
            spans = self._spans(connection, known)
            after = with_deal(spans, deal, starts_ms, ends_ms, now_ms)
            rewrite_subscriptions(connection, self._account, customer, spans, after, now_ms)
            touch(connection, self._account, customer)
        self._publisher.publish(self._account, customer=customer)
        return next(each for each in after if each.covers(starts_ms))

    def unsubscribe(self, customer: str, *, ends_ms: int | None = None) -> Subscription:
        """End what the customer is on, now or later; what was to follow is dropped. Raises PlanNotFound,
        ValueError."""
        now_ms, present = self._present(customer)
        ends_ms = now_ms if ends_ms is None else ends_ms
        if ends_ms < now_ms:
            raise ValueError("a subscription cannot end in the past")
        with writing(self._engine) as connection:
            spans = [
                each for each in self._spans(connection, customer) if each.starts_ms >= present.starts_ms
            ]
            cut_subscriptions(connection, spans, ends_ms)
            touch(connection, self._account, customer)
        self._publisher.publish(self._account, customer=customer)
        last = [each for each in spans if each.starts_ms < ends_ms] or [present]
        return replace(last[-1], ends_ms=ends_ms)

    def migrate(self, plan: str, *, version: int | None = None) -> list[str]:
        """Put everybody who is on this plan now on one of its versions, by default the latest, with their
        days and what they have otherwise of rules that it has. Gives their names. Raises PlanNotFound.

        Many at a time, and the lock is let go in between: whoever stops this moves the rest by another call.
        """
        moved: list[str] = []
        last = 0
        while True:
            now_ms = self.now_ms()
            with writing(self._engine) as connection:
                chosen = find_plan(connection, self._account, plan, version)
                names = {rule.name for rule in chosen.rules}
                place = subscription_order(engine_of(connection))
                rows = connection.execute(
                    sa.select(SUBSCRIPTIONS, place.label("place"))
                    .where(
                        place > last,
                        SUBSCRIPTIONS.c.account_id == self._account,
                        SUBSCRIPTIONS.c.plan == plan,
                        SUBSCRIPTIONS.c.version != chosen.version,
                        *_covering(now_ms),
                    )
                    .order_by(place)
                    .limit(BATCH)
                ).all()
                spans = subscriptions_of(connection, self._account, [row.customer for row in rows])
                moves = []
                for row in rows:
                    present = subscription_of(row)
                    kept = {name: each for name, each in present.overrides.limits.items() if name in names}
                    overrides = Overrides(kept, present.overrides.features)
                    for each in alike_from(spans[row.customer], present):
                        since_ms = max(now_ms, each.starts_ms)
                        made = going_on(each, since_ms, version=chosen.version, overrides=overrides)
                        moves.append((row.customer, each, made))
                replace_subscriptions(connection, self._account, moves, now_ms)
            if not moves:
                return sorted(moved)
            last, batch = rows[-1].place, [row.customer for row in rows]
            self._publisher.publish_customers(self._account, batch)
            moved += batch

    def subscribers(self) -> dict[tuple[str, int], int]:
        """How many customers are on each plan version now."""
        now_ms = self.now_ms()
        query = (
            sa.select(SUBSCRIPTIONS.c.plan, SUBSCRIPTIONS.c.version, sa.func.count())
            .where(SUBSCRIPTIONS.c.account_id == self._account, *_covering(now_ms))
            .group_by(SUBSCRIPTIONS.c.plan, SUBSCRIPTIONS.c.version)
        )
        with self._engine.connect() as connection:
            return {(plan, version): count for plan, version, count in connection.execute(query)}

    def _present(self, customer: str) -> tuple[int, Subscription]:
        """Now, and what the customer is on. Raises PlanNotFound, ValueError."""
        now_ms = self.now_ms()
        present = self.customer(customer).at(now_ms)
        if present is None:
            raise ValueError(f"the customer {customer!r} is on no plan now")
        return now_ms, present

    # Inside a transaction.

    def _spans(self, connection: Connection, customer: str) -> list[Subscription]:
        return subscriptions_of(connection, self._account, [customer]).get(customer, [])

    def _going_month(
        self, connection: Connection, spans: Sequence[Subscription], chosen: PlanVersion
    ) -> int | None:
        """Where billing periods of this plan go on from the ones before; None where they begin anew."""
        if not spans:
            return None
        before = find_plan(connection, self._account, spans[-1].plan, spans[-1].version)
        same = before.interval_months == chosen.interval_months
        return spans[-1].anchor_month if same else None

    def _check_open(self, connection: Connection, plan: str) -> None:
        where = (PLANS.c.account_id == self._account, PLANS.c.plan == plan)
        if connection.scalar(sa.select(PLANS.c.archived).where(*where)):
            raise ValueError(f"the plan {plan!r} is archived and takes no new customers")

    def _add_customer(self, connection: Connection, customer: str, name: str | None) -> None:
        where = (CUSTOMERS.c.account_id == self._account, CUSTOMERS.c.customer == customer)
        row = connection.execute(sa.select(CUSTOMERS).where(*where)).first()
        if row is None:
            check_name("customer", customer)
        else:
            if name is not None and name != row.name:
                connection.execute(sa.update(CUSTOMERS).where(*where).values(name=name))
            return
        anyone = sa.select(CUSTOMERS.c.customer).where(CUSTOMERS.c.account_id == self._account).limit(1)
        if connection.scalar(anyone) is None:
            touch(connection, self._account)  # from now on customers' documents must be asked for
        mine = {"account_id": self._account, "customer": customer}
        connection.execute(sa.insert(CUSTOMERS).values(name=name or "", created_ms=self.now_ms(), **mine))
        touch(connection, self._account, customer)


def _covering(now_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    ends = SUBSCRIPTIONS.c.ends_ms
    return SUBSCRIPTIONS.c.starts_ms <= now_ms, sa.or_(ends.is_(None), ends > now_ms)
