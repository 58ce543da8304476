"""Which customers made requests in a span of time: what sums would tell, without reading them all.

Nearly every customer of a long span is there in one of its whole weeks. So of the ragged ends, whose days and
hours have far more rows, only those customers are looked up that were there in the weeks around the span and
in none inside.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from metering.costsums import Question, questions
from metering.rollup import WEEK_MS

_CUSTOMER = ("customer",)


def active_customers(connection: Connection, since_ms: int, until_ms: int, account_id: str) -> set[str]:
    """Customers with a request begun in [since_ms, until_ms), inside a transaction. Requests that name none
    are nobody's. Raises EventsRemoved."""
    asked = questions(connection, _CUSTOMER, since_ms, until_ms, account_id, {})
    inside = [each for each in asked if _is_of_weeks(each)]
    found = _named(connection, inside)
    if not inside or len(inside) == len(asked):
        return found | _named(connection, [each for each in asked if not _is_of_weeks(each)])
    first_ms, last_ms = -(-since_ms // WEEK_MS) * WEEK_MS, until_ms // WEEK_MS * WEEK_MS
    for week_ms, end in ((first_ms - WEEK_MS, (since_ms, first_ms)), (last_ms, (last_ms, until_ms))):
        if end[0] == end[1]:
            continue
        around = questions(connection, _CUSTOMER, week_ms, week_ms + WEEK_MS, account_id, {})
        missing = sorted(_named(connection, around) - found)
        if missing:
            found |= _named(connection, questions(connection, _CUSTOMER, *end, account_id, {}, of=missing))
    return found


def _is_of_weeks(question: Question) -> bool:
    rollup = question.piece.rollup
    return rollup is not None and rollup.bucket_ms == WEEK_MS


def _named(connection: Connection, asked: Iterable[Question]) -> set[str]:
    rows = [row for each in asked for row in each.ask(connection, ("events",))]
    return {customer for (customer,), (count,) in rows if count and customer}
