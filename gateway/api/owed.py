"""What customers owe beside their events in a span of time: plans' own prices and charges by period."""

from __future__ import annotations

from billing.charges import Charge
from billing.marginbook import MarginBook
from gateway.api.endpoint import Call
from gateway.api.spans import Span


def charges_in(call: Call, span: Span, customer: str | None) -> list[Charge]:
    """Of all customers of the account, or of this one."""
    book = MarginBook(call.parts.events, call.account_id)
    return book.charges(span.since_ms, span.until_ms, customer)
