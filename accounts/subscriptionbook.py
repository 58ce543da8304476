"""The subscription book: subscriptions by their ids, and what is planned for them taken back.

What customers are put on and taken off is the customer book's; this one knows what a subscription's end
means, and undoes an end that has not come.
"""

from __future__ import annotations

import sqlalchemy as sa

from accounts.book import Book
from accounts.customer import Customer
from accounts.dealing import alike_from, without_deal
from accounts.pages import SubscriptionRow, find_subscription
from accounts.plantables import SUBSCRIPTIONS, PlanNotFound, subscriptions_of
from accounts.subscription import Subscription
from accounts.subscriptionrows import rewrite_subscriptions
from accounts.tables import touch
from metering.database import writing

PENDING, ACTIVE, ENDED = "pending", "active", "ended"


def status_at(subscription: Subscription, now_ms: int) -> str:
    """pending, active or ended."""
    if subscription.starts_ms > now_ms:
        return PENDING
    return ACTIVE if subscription.covers(now_ms) else ENDED


def follows(customer: Customer, subscription: Subscription) -> Subscription | None:
    """What is planned to take the subscription's place at its end; None: nothing, so its end is one."""
    ends_ms = subscription.ends_ms
    if ends_ms is None:
        return None
    return next((each for each in customer.subscriptions if each.starts_ms == ends_ms), None)


def last_alike(customer: Customer, subscription: Subscription) -> Subscription:
    """The last of those that go on with the subscription's terms one after another, whatever is paid for
    them: itself where none does."""
    return alike_from(customer.subscriptions, subscription)[-1]


class SubscriptionBook(Book):
    """Subscriptions of one account, by their ids."""

    def find(self, subscription_id: str) -> SubscriptionRow:
        """The recorded subscription. Raises PlanNotFound."""
        with self._engine.connect() as connection:
            found = find_subscription(connection, self._account, subscription_id)
        if found is None:
            raise PlanNotFound("no such subscription")
        return found

    def end_deal(self, subscription_id: str, *, ends_ms: int | None = None) -> int:
        """End what is paid otherwise by this subscription, now or later, and give the moment; one that does
        not begin before is taken back. Raises PlanNotFound, ValueError."""
        now_ms = self.now_ms()
        with writing(self._engine) as connection:
            found = find_subscription(connection, self._account, subscription_id)
            if found is None:
                raise PlanNotFound("no such deal")
            mine, customer = found.subscription, found.customer
            ends_ms = now_ms if ends_ms is None else ends_ms
            if ends_ms < now_ms:
                raise ValueError("ends_at: a deal cannot end in the past")
            if mine.ends_ms is not None and ends_ms >= mine.ends_ms:
                raise ValueError("ends_at: the deal has ended by then")
            spans = subscriptions_of(connection, self._account, [customer])[customer]
            after = without_deal(spans, mine, ends_ms, now_ms)
            rewrite_subscriptions(connection, self._account, customer, spans, after, now_ms)
            touch(connection, self._account, customer)
        self._publisher.publish(self._account, customer=customer)
        return ends_ms

    def withdraw(self, subscription_id: str) -> None:
        """Take back one that has not begun, and all that was to come after it. Raises PlanNotFound,
        ValueError."""
        now_ms = self.now_ms()
        with writing(self._engine) as connection:
            found = find_subscription(connection, self._account, subscription_id)
            if found is None:
                raise PlanNotFound("no such subscription")
            if found.subscription.starts_ms <= now_ms:
                raise ValueError("this subscription has begun: it can be ended, not taken back")
            self._drop_from(connection, found.customer, found.subscription.starts_ms)
            touch(connection, self._account, found.customer)
        self._publisher.publish(self._account, customer=found.customer)

    def go_on(self, subscription_id: str) -> Subscription:
        """Take back an end that has not come, and what was to come after it: the subscription goes on until
        further notice. Raises PlanNotFound, ValueError."""
        now_ms = self.now_ms()
        with writing(self._engine) as connection:
            found = find_subscription(connection, self._account, subscription_id)
            if found is None:
                raise PlanNotFound("no such subscription")
            mine = found.subscription
            if mine.ends_ms is None:
                raise ValueError("nothing is planned for this subscription")
            if mine.ends_ms <= now_ms:
                raise ValueError("this subscription has ended")
            self._drop_from(connection, found.customer, mine.ends_ms)
            change = sa.update(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.id == subscription_id)
            connection.execute(change.values(ends_ms=None))
            touch(connection, self._account, found.customer)
        self._publisher.publish(self._account, customer=found.customer)
        return self.find(subscription_id).subscription

    def _drop_from(self, connection: sa.Connection, customer: str, from_ms: int) -> None:
        connection.execute(
            sa.delete(SUBSCRIPTIONS).where(
                SUBSCRIPTIONS.c.account_id == self._account,
                SUBSCRIPTIONS.c.customer == customer,
                SUBSCRIPTIONS.c.starts_ms >= from_ms,
            )
        )
