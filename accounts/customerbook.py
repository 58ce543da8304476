"""The customer book: the record of customers and of who is on which plan when, and its enforced copy.

SQL is the record and is written first. A change holds for the next request everywhere when the call returns:
it raises the version of the customer's document, by which `open` tells old copies. A subscription does not
change but for its end: whatever changes begins another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from accounts.plan import OWN_DAY, PlanVersion, check_plan
from accounts.planbook import CheckLimit
from accounts.plantables import (
    CUSTOMERS,
    PLANS,
    SUBSCRIPTIONS,
    PlanNotFound,
    find_plan,
    overrides_text,
    subscriptions_of,
    touch,
)
from accounts.publishing import ACCOUNT, EnforcedCopy, Publisher
from accounts.subscription import Overrides, Subscription
from accounts.tables import new_id
from metering.database import writing


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as recorded. `subscriptions`: all there ever were, in order of time."""

    customer: str
    name: str
    created_ms: int
    subscriptions: tuple[Subscription, ...] = ()

    def at(self, moment_ms: int) -> Subscription | None:
        """The subscription that covers the moment."""
        return next((each for each in self.subscriptions if each.covers(moment_ms)), None)


class CustomerBook:
    """Customers and subscriptions of one account. `engine` is on a migrated database; errors of SQL and of
    the copy are theirs. `check_limit` judges what a customer has otherwise than its plan.
    """

    def __init__(
        self,
        engine: Engine,
        copy: EnforcedCopy | None,
        check_limit: CheckLimit | None = None,
        *,
        account_id: str = ACCOUNT,
    ) -> None:
        self._engine = engine
        self._publisher = Publisher(engine, copy)
        self._check_limit = check_limit
        self._account = account_id

    def now_ms(self) -> int:
        """The ledger's clock where it can be asked."""
        return self._publisher.now_ms(self._account)

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
    ) -> Subscription:
        """Put the customer on a plan from a moment on (by default now), which ends what it is on then and
        replaces what was to come later. Recorded where nobody did yet.

        `anchor`: by default the day of the month of the subscription before, else that of its start. Raises
        PlanNotFound, ValueError.
        """
        now_ms = self.now_ms()
        starts_ms = now_ms if starts_ms is None else starts_ms
        if ends_ms is not None and ends_ms <= starts_ms:
            raise ValueError("a subscription ends after its start")
        with writing(self._engine) as connection:
            chosen = find_plan(connection, self._account, plan, version)
            self._check_open(connection, plan)
            _check_overrides(chosen, overrides, self._check_limit)
            self._add_customer(connection, customer, None)
            spans = subscriptions_of(connection, self._account, [customer]).get(customer, [])
            if anchor is None:
                anchor = spans[-1].anchor if spans else _day_of(starts_ms, chosen.time_zone)
            made = Subscription(
                new_id("sub_"), plan, chosen.version, starts_ms, ends_ms, anchor, overrides or Overrides()
            )
            self._begin(connection, customer, spans, made, now_ms)
        self._publisher.publish(self._account, customer=customer)
        return made

    def override(self, customer: str, overrides: Overrides) -> Subscription:
        """Give the customer this otherwise than its plan, instead of what it had so. From now on: what has
        been counted goes on. Raises PlanNotFound, ValueError."""
        now_ms = self.now_ms()
        present = self.customer(customer).at(now_ms)
        if present is None:
            raise ValueError(f"the customer {customer!r} is on no plan now")
        with writing(self._engine) as connection:
            chosen = find_plan(connection, self._account, present.plan, present.version)
            _check_overrides(chosen, overrides, self._check_limit)
            self._replace(connection, customer, present, now_ms, overrides=overrides)
        self._publisher.publish(self._account, customer=customer)
        found = self.customer(customer).at(now_ms)
        assert found is not None
        return found

    def unsubscribe(self, customer: str, *, ends_ms: int | None = None) -> Subscription:
        """End what the customer is on, now or later; what was to follow is dropped. Raises PlanNotFound,
        ValueError."""
        now_ms = self.now_ms()
        ends_ms = now_ms if ends_ms is None else ends_ms
        present = self.customer(customer).at(now_ms)
        if present is None:
            raise ValueError(f"the customer {customer!r} is on no plan now")
        if ends_ms < now_ms:
            raise ValueError("a subscription cannot end in the past")
        with writing(self._engine) as connection:
            self._cut(connection, customer, [present], ends_ms)
            later = (SUBSCRIPTIONS.c.customer == customer, SUBSCRIPTIONS.c.starts_ms >= ends_ms)
            connection.execute(
                sa.delete(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.account_id == self._account, *later)
            )
            touch(connection, self._account, customer)
        self._publisher.publish(self._account, customer=customer)
        return replace(present, ends_ms=ends_ms)

    def migrate(self, plan: str, *, version: int | None = None) -> list[str]:
        """Put everybody who is on this plan now on one of its versions, by default the latest, with their
        days and what they have otherwise of rules that it has. Gives their names. Raises PlanNotFound."""
        now_ms = self.now_ms()
        with writing(self._engine) as connection:
            chosen = find_plan(connection, self._account, plan, version)
            names = {rule.name for rule in chosen.rules}
            query = sa.select(SUBSCRIPTIONS.c.customer).where(
                SUBSCRIPTIONS.c.account_id == self._account,
                SUBSCRIPTIONS.c.plan == plan,
                SUBSCRIPTIONS.c.version != chosen.version,
                *_covering(now_ms),
            )
            customers = list(connection.scalars(query.order_by(SUBSCRIPTIONS.c.customer)))
            spans = subscriptions_of(connection, self._account, customers)
            for customer in customers:
                present = next(each for each in spans[customer] if each.covers(now_ms))
                kept = {name: each for name, each in present.overrides.limits.items() if name in names}
                overrides = Overrides(kept, present.overrides.features)
                self._replace(
                    connection, customer, present, now_ms, version=chosen.version, overrides=overrides
                )
        self._publisher.publish_customers(self._account, customers)
        return customers

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

    # The policy.

    # Inside a transaction.

    def _check_open(self, connection: Connection, plan: str) -> None:
        where = (PLANS.c.account_id == self._account, PLANS.c.plan == plan)
        if connection.scalar(sa.select(PLANS.c.archived).where(*where)):
            raise ValueError(f"the plan {plan!r} is archived and takes no new customers")

    def _add_customer(self, connection: Connection, customer: str, name: str | None) -> None:
        where = (CUSTOMERS.c.account_id == self._account, CUSTOMERS.c.customer == customer)
        row = connection.execute(sa.select(CUSTOMERS).where(*where)).first()
        if row is not None:
            if name is not None and name != row.name:
                connection.execute(sa.update(CUSTOMERS).where(*where).values(name=name))
            return
        if (
            connection.scalar(
                sa.select(CUSTOMERS.c.customer).where(CUSTOMERS.c.account_id == self._account).limit(1)
            )
            is None
        ):
            touch(
                connection, self._account
            )  # the first one: from now on customers' documents must be asked for
        mine = {"account_id": self._account, "customer": customer}
        connection.execute(sa.insert(CUSTOMERS).values(name=name or "", created_ms=self.now_ms(), **mine))
        touch(connection, self._account, customer)

    def _begin(
        self,
        connection: Connection,
        customer: str,
        spans: Sequence[Subscription],
        made: Subscription,
        now_ms: int,
    ) -> None:
        """Record a subscription, which ends the one before and replaces those after."""
        self._cut(connection, customer, spans, made.starts_ms)
        connection.execute(
            sa.insert(SUBSCRIPTIONS).values(
                id=made.id,
                account_id=self._account,
                customer=customer,
                plan=made.plan,
                version=made.version,
                starts_ms=made.starts_ms,
                ends_ms=made.ends_ms,
                anchor=made.anchor,
                overrides=overrides_text(made.overrides),
                created_ms=now_ms,
            )
        )
        touch(connection, self._account, customer)

    def _cut(self, connection: Connection, customer: str, spans: Sequence[Subscription], at_ms: int) -> None:
        """End these subscriptions at a moment; what would begin then or later is dropped."""
        for each in spans:
            where = SUBSCRIPTIONS.c.id == each.id
            if each.starts_ms >= at_ms:
                connection.execute(sa.delete(SUBSCRIPTIONS).where(where))
            elif each.ends_ms is None or each.ends_ms > at_ms:
                connection.execute(sa.update(SUBSCRIPTIONS).where(where).values(ends_ms=at_ms))

    def _replace(
        self,
        connection: Connection,
        customer: str,
        present: Subscription,
        now_ms: int,
        *,
        version: int | None = None,
        overrides: Overrides,
    ) -> None:
        """Let the customer go on otherwise from now on; what comes later stays as planned."""
        self._cut(connection, customer, [present], now_ms)
        made = replace(
            present,
            id=new_id("sub_"),
            version=version or present.version,
            starts_ms=now_ms,
            overrides=overrides,
            _terms={},
        )
        self._begin(connection, customer, (), made, now_ms)


def _covering(now_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    ends = SUBSCRIPTIONS.c.ends_ms
    return SUBSCRIPTIONS.c.starts_ms <= now_ms, sa.or_(ends.is_(None), ends > now_ms)


def _day_of(moment_ms: int, time_zone: str) -> int:
    moment = datetime.fromtimestamp(moment_ms / 1_000, UTC)
    return moment.astimezone(UTC if time_zone == "UTC" else ZoneInfo(time_zone)).day


def _check_overrides(plan: PlanVersion, overrides: Overrides | None, check_limit: CheckLimit | None) -> None:
    rules = {rule.name: rule for rule in plan.rules}
    for name, each in (overrides.limits if overrides is not None else {}).items():
        if name not in rules:
            known = ", ".join(sorted(rules)) or "none"
            raise ValueError(f"the plan {plan.label} has no limit {name!r}; its limits: {known}")
        day = 1 if plan.anchor == OWN_DAY else plan.anchor
        if each.value is None and each.enforcement is None:
            raise ValueError(f"{name}: an override changes the value or the enforcement")
        check_plan(
            replace(
                plan,
                anchor=day,
                rules=(
                    replace(
                        rules[name],
                        value=rules[name].value if each.value is None else each.value,
                        enforcement=each.enforcement or rules[name].enforcement,
                    ),
                ),
                _terms={},
            ),
            check_limit,
        )
