"""Which customers made requests in a span of time: what sums would tell, without reading them all.

Nearly every customer of a long span is there in one of its whole weeks. So of the ragged ends, whose days and
hours have far more rows, only those customers are looked up that were there in the weeks around the span and
in none inside.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from metering.costsums import questions, summed
from metering.rollup import WEEK_MS

_CUSTOMER = ("customer",)
_FEW = 300
"""So many customers are looked up one by one; where more are wanted, all are read."""


def active_customers(connection: Connection, since_ms: int, until_ms: int, account_id: str) -> set[str]:
    """Customers with a request begun in [since_ms, until_ms), inside a transaction. Requests that name none
    are nobody's. Raises EventsRemoved."""
    first_ms, last_ms = -(-since_ms // WEEK_MS) * WEEK_MS, until_ms // WEEK_MS * WEEK_MS
    if first_ms >= last_ms:
        return _named(connection, account_id, since_ms, until_ms)
    found = _named(connection, account_id, first_ms, last_ms)
    for week_ms, end in ((first_ms - WEEK_MS, (since_ms, first_ms)), (last_ms, (last_ms, until_ms))):
        if end[0] == end[1]:
            continue
        missing = sorted(_named(connection, account_id, week_ms, week_ms + WEEK_MS) - found)
        if missing:
            found |= _named(connection, account_id, *end, missing if len(missing) <= _FEW else None)
    return found


def _named(
    connection: Connection, account_id: str, since_ms: int, until_ms: int, of: Sequence[str] | None = None
) -> set[str]:
    """Customers with a request in the span; `of`: of these."""
    asked = questions(connection, _CUSTOMER, since_ms, until_ms, account_id, {}, of=of)
    return {customer for (customer,) in summed(connection, asked, ("events",)) if customer}
