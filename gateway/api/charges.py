"""What customers owe beside their requests, for the spans of a question: charges with the units they need.

One question to the plans and one to the sums for all spans that share their ends, however many days or months
are told apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from billing.chargebook import subscribed_of
from billing.charges import Charge, Used, charges_of, spans_wanted
from billing.charges import Span as UsedSpan
from gateway.api.endpoint import Call
from gateway.api.spans import Span

FEW = 8
"""So many customers are asked for one by one; more, all together."""


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
    used = _units(call, list(wanted))
    return [charges_of(subscribed, each.since_ms, each.until_ms, used) for each in buckets]


def _units(call: Call, wanted: Sequence[UsedSpan]) -> Used:
    """Units of all requests in each span, from rollups but for ends inside an hour."""
    found = dict.fromkeys(wanted, 0)
    alike: dict[tuple[int, int], list[UsedSpan]] = {}
    for span in wanted:
        alike.setdefault((span.since_ms, span.until_ms), []).append(span)
    for (since_ms, until_ms), spans in alike.items():
        customers = sorted({span.customer for span in spans})
        questions = [{"customer": name} for name in customers] if len(customers) <= FEW else [{}]
        for where in questions:
            rows = call.parts.events.cost_by(
                ("customer", "feature"), since_ms, until_ms, account_id=call.account_id, where=where
            )
            for row in rows:
                customer, feature = row.key
                span = UsedSpan(customer or "", feature or "", since_ms, until_ms)
                if span in found:
                    found[span] = row.units
    return found
