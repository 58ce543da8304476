"""Rows of subscriptions: how they are added, ended and followed by others, inside a transaction.

A subscription does not change but for its end: whatever changes begins another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from accounts.plantables import SUBSCRIPTIONS, overrides_text
from accounts.subscription import Subscription
from accounts.tables import CUSTOMER_TERMS

Move = tuple[str, Subscription, Subscription]
"""A customer, what it is on, and what it goes on with."""


def insert_subscription(
    connection: Connection, account_id: str, customer: str, made: Subscription, now_ms: int
) -> None:
    """Add it."""
    connection.execute(sa.insert(SUBSCRIPTIONS).values(_row(account_id, customer, made, now_ms)))


def cut_subscriptions(connection: Connection, spans: Sequence[Subscription], at_ms: int) -> None:
    """End these at a moment; what would begin then or later is dropped."""
    for each in spans:
        where = SUBSCRIPTIONS.c.id == each.id
        if each.starts_ms >= at_ms:
            connection.execute(sa.delete(SUBSCRIPTIONS).where(where))
        elif each.ends_ms is None or each.ends_ms > at_ms:
            connection.execute(sa.update(SUBSCRIPTIONS).where(where).values(ends_ms=at_ms))


def replace_subscriptions(
    connection: Connection, account_id: str, moves: Sequence[Move], now_ms: int
) -> None:
    """Let customers go on otherwise from now on, and make copies of their documents stale. What comes later
    stays as planned."""
    if not moves:
        return
    ended = [present.id for _, present, _ in moves if present.starts_ms < now_ms]
    undone = [present.id for _, present, _ in moves if present.starts_ms >= now_ms]
    ids = SUBSCRIPTIONS.c.id
    connection.execute(sa.update(SUBSCRIPTIONS).where(ids.in_(ended)).values(ends_ms=now_ms))
    connection.execute(sa.delete(SUBSCRIPTIONS).where(ids.in_(undone)))
    connection.execute(
        sa.insert(SUBSCRIPTIONS), [_row(account_id, customer, made, now_ms) for customer, _, made in moves]
    )
    connection.execute(
        sa.update(CUSTOMER_TERMS)
        .where(
            CUSTOMER_TERMS.c.account_id == account_id,
            CUSTOMER_TERMS.c.customer.in_([customer for customer, _, _ in moves]),
        )
        .values(version=CUSTOMER_TERMS.c.version + 1)
    )


def rewrite_subscriptions(
    connection: Connection,
    account_id: str,
    customer: str,
    before: Sequence[Subscription],
    after: Sequence[Subscription],
    now_ms: int,
) -> None:
    """Let the customer's subscriptions be these: those that stay may have another end."""
    known, kept = {each.id: each for each in before}, {each.id for each in after}
    ids = SUBSCRIPTIONS.c.id
    connection.execute(sa.delete(SUBSCRIPTIONS).where(ids.in_(sorted(known.keys() - kept))))
    for each in after:
        if each.id not in known:
            insert_subscription(connection, account_id, customer, each, now_ms)
        elif each.ends_ms != known[each.id].ends_ms:
            connection.execute(sa.update(SUBSCRIPTIONS).where(ids == each.id).values(ends_ms=each.ends_ms))


def _row(account_id: str, customer: str, made: Subscription, now_ms: int) -> dict[str, Any]:
    return {
        "id": made.id,
        "account_id": account_id,
        "customer": customer,
        "plan": made.plan,
        "version": made.version,
        "starts_ms": made.starts_ms,
        "ends_ms": made.ends_ms,
        "anchor": made.anchor,
        "overrides": overrides_text(made.overrides),
        "created_ms": now_ms,
        "price_nano": made.deal.price_nano,
        "quantity": made.deal.quantity,
        "discount_ppm": made.deal.discount_ppm,
        "anchor_month": made.anchor_month,
        "grace_days": made.paying.grace_days,
        "payment_method": made.paying.method,
    }
