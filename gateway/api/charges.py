"""What customers owe beside their requests, for the spans of a question: charges with the units they need.

One question to the plans and one to the sums for all spans that share their ends, however many days or months
are told apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from billing.chargebook import subscribed_of
from billing.charges import Charge, charges_of, spans_wanted
from billing.marginbook import used_in
from gateway.api.endpoint import Call
from gateway.api.spans import Span


def charges_in(call: Call, buckets: Sequence[Span], customer: str | None = None) -> list[list[Charge]]:
    """What the account's customers (or this one) owe in each of the buckets, which follow each other: their
    sums are what is owed in all of them together. Raises StoreUnavailable, EventsRemoved."""
    if not buckets:
        return []
    since_ms, until_ms = buckets[0].since_ms, buckets[-1].until_ms
    with call.parts.engine.connect() as connection:
        subscribed = subscribed_of(connection, call.account_id, since_ms, until_ms, customer)
    wanted = {
        span: None for each in buckets for span in spans_wanted(subscribed, each.since_ms, each.until_ms)
    }
    used = used_in(call.parts.events, call.account_id, list(wanted))
    return [charges_of(subscribed, each.since_ms, each.until_ms, used) for each in buckets]
