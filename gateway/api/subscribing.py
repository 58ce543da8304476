"""What is done with subscriptions, whatever path it is asked by: begun, changed, ended, and taken back.

A subscription never changes but for its end: a change of plan ends it and begins another one, which has an id
of its own, at once or with the next period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accounts.customer import Customer
from accounts.pages import SubscriptionRow, subscription_page
from accounts.plan import PlanVersion
from accounts.plantables import PlanNotFound
from accounts.subscription import NO_DEAL, USUAL_PAYING, Deal, Override, Overrides, Paying, Subscription
from accounts.subscriptionbook import (
    ACTIVE,
    ENDED,
    PENDING,
    SubscriptionBook,
    follows,
    last_alike,
    status_at,
)
from billing.fees import period_terms
from billing.period import Period, period_of
from budgets.limit import check_terms
from budgets.window import LAST_MS
from gateway.api.answers import Conflict
from gateway.api.endpoint import Call
from gateway.api.refusing import page_of, place_of, refusals
from gateway.api.subscriptionmodels import SubscriptionsAsked
from gateway.errors import NotFound

IMMEDIATE, END_OF_PERIOD = "IMMEDIATE", "END_OF_PERIOD"
CONFLICTS = {409: "The subscription, or the customer's, stands against it; `code` says how"}
"""Of every endpoint that changes one."""


@dataclass(frozen=True, slots=True)
class Found:
    """A subscription with all that is told of it at `now_ms`.

    last: the last of those that go on with its terms, whatever is paid for them; mostly itself. next: what
    takes the place of that one at its end.
    """

    customer: str
    subscription: Subscription
    plan: PlanVersion
    status: str
    period: Period | None
    last: Subscription
    next: Subscription | None

    @property
    def cancel_ms(self) -> int | None:
        """When it ends, or ended, and nothing takes its place; None: it does not so."""
        return self.last.ends_ms if self.next is None else None


def book_of(call: Call) -> SubscriptionBook:
    """The account's subscriptions."""
    return SubscriptionBook(call.parts.engine, call.parts.rows, check_terms, account_id=call.account_id)


def page_asked(
    call: Call, listed_as: str, now_ms: int, *, dealt: bool = False
) -> tuple[Sequence[SubscriptionRow], str | None]:
    """The account's subscriptions that the query asks for, by their start, and the cursor of those behind.

    `listed_as`: the list that the cursor belongs to. `dealt`: as in accounts.pages.
    """
    asked: SubscriptionsAsked = call.query
    listed = (listed_as, call.account_id, asked.customer_id, asked.plan, asked.status)
    with call.parts.engine.connect() as connection:
        found = subscription_page(
            connection,
            call.account_id,
            limit=asked.limit + 1,
            now_ms=now_ms,
            after=place_of(listed, asked.cursor),
            customer=asked.customer_id,
            plan=asked.plan,
            status=asked.status,
            dealt=dealt,
        )
    return page_of(listed, found, asked.limit, lambda each: each.place)


def find(call: Call, subscription_id: str) -> Found:
    """One of the account's; NotFound for every other."""
    try:
        row = book_of(call).find(subscription_id)
    except PlanNotFound:
        raise NotFound("No such subscription.") from None
    customer = call.parts.customers(call.account_id).customer(row.customer)
    return described(call, customer, row.subscription)


def described(call: Call, customer: Customer, subscription: Subscription) -> Found:
    """A customer's subscription with all that is told of it."""
    now_ms = call.parts.rows.now_ms(call.account_id)
    plan = call.parts.plans(call.account_id).plan(subscription.plan, subscription.version)
    status = status_at(subscription, now_ms)
    moment_ms = {PENDING: subscription.starts_ms, ACTIVE: now_ms}.get(status)
    period = None if moment_ms is None else period_of(period_terms(subscription, plan), moment_ms)
    last = last_alike(customer, subscription)
    return Found(customer.customer, subscription, plan, status, period, last, follows(customer, last))


def begin(
    call: Call,
    customer: str,
    plan: str,
    *,
    version: int | None = None,
    starts_ms: int | None = None,
    ends_ms: int | None = None,
    anchor: int | None = None,
    overrides: Overrides | None = None,
    deal: Deal = NO_DEAL,
    paying: Paying = USUAL_PAYING,
) -> Found:
    """Put a customer on a plan. Conflict where it is on one then, or will be."""
    book = call.parts.customers(call.account_id)
    now_ms = call.parts.rows.now_ms(call.account_id)
    try:
        known = book.customer(customer)
    except PlanNotFound:
        raise NotFound("No such customer.", param="customer") from None
    moment_ms = now_ms if starts_ms is None else starts_ms
    for each in known.subscriptions:
        if each.ends_ms is None or each.ends_ms > moment_ms:
            raise Conflict(
                f"The customer is on the plan {each.plan} by {each.id}; change that one.",
                code="already_subscribed",
            )
    with refusals():
        if moment_ms < now_ms:
            raise ValueError("a subscription cannot begin in the past")
        if moment_ms > LAST_MS:
            raise ValueError("starts_at: no calendar has billing periods so late")
        made = book.subscribe(
            customer,
            plan,
            version=version,
            starts_ms=starts_ms,
            ends_ms=ends_ms,
            anchor=anchor,
            overrides=overrides,
            deal=deal,
            paying=paying,
        )
    return described(call, book.customer(customer), made)


def change(call: Call, subscription_id: str, plan: str, version: int | None, when: str) -> Found:
    """Another plan, now or from the next period on; gives what is, or will be, in its place."""
    found = find(call, subscription_id)
    if found.status != ACTIVE:
        raise Conflict(f"This subscription is {found.status}.", code="not_active")
    book = call.parts.customers(call.account_id)
    mine = found.subscription
    with refusals():
        chosen = call.parts.plans(call.account_id).plan(plan, version)
        same = (chosen.plan, chosen.version) == (mine.plan, mine.version)
        if same:
            raise Conflict(f"This subscription is on {chosen.label} already.", code="already_on_plan")
        starts_ms = None
        if when == END_OF_PERIOD:
            assert found.period is not None, "what runs has a period"
            starts_ms = found.period.end_ms
        made = book.subscribe(
            found.customer,
            plan,
            version=chosen.version,
            starts_ms=starts_ms,
            anchor=mine.anchor,
            overrides=_kept(mine.overrides, chosen),
        )
    return described(call, book.customer(found.customer), made)


def cancel(call: Call, subscription_id: str, when: str) -> Found:
    """End it now or with its period; one that has not begun never begins."""
    found = find(call, subscription_id)
    if found.status == ENDED:
        raise Conflict("This subscription has ended.", code="not_active")
    if found.status == PENDING:
        with refusals():
            book_of(call).withdraw(subscription_id)
        return found
    ends_ms = None
    if when == END_OF_PERIOD:
        assert found.period is not None, "what runs has a period"
        ends_ms = found.period.end_ms
    with refusals():
        call.parts.customers(call.account_id).unsubscribe(found.customer, ends_ms=ends_ms)
    return find(call, subscription_id)


def undo(call: Call, subscription_id: str, *, change_of_plan: bool) -> Found:
    """Take back a planned change or end. Conflict where no such thing is planned."""
    found = find(call, subscription_id)
    planned = found.status == ACTIVE and found.last.ends_ms is not None
    if not planned or change_of_plan is not (found.next is not None):
        what = "change of plan" if change_of_plan else "cancellation"
        raise Conflict(f"No {what} is planned for this subscription.", code="nothing_scheduled")
    with refusals():
        book_of(call).go_on(found.last.id)
    return find(call, subscription_id)


def _kept(overrides: Overrides, plan: PlanVersion) -> Overrides:
    """What the customer has otherwise, of rules that the plan has."""
    names = {rule.name for rule in plan.rules}
    limits: dict[str, Override] = {name: each for name, each in overrides.limits.items() if name in names}
    return Overrides(limits, overrides.features)
