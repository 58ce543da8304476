"""What is asked of a large record: kinds of questions, each with names and spans drawn from the record.

A kind makes the path and the query of its n-th question. Every fifth is of the same shape of span, so that
20 questions have four of each: everything, the last 30 days, the last 7, a span that begins and ends inside
an hour, and a ragged few days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy import Connection

from metering.eventcolumns import events
from metering.rollup import DAY_MS, ROLLUPS
from metering.span import recorded_span

HOUR_MS = 3_600_000
QUESTION_MS, PAGE_MS = 300.0, 20.0
"""The bars: p95 of an answer, and of a page of events."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in the record: its first and last moment, names, and moments of events spread over it."""

    since_ms: int
    until_ms: int
    customers: Sequence[str]
    features: Sequence[str]
    models: Sequence[str]
    moments: Sequence[int]
    events: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `walks`: it is the page behind the one that the query gives."""

    path: str
    query: Mapping[str, str]
    walks: bool = False

    @property
    def target(self) -> str:
        """As it stands in a request."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of question, and what its p95 may be in milliseconds; None: no bar."""

    name: str
    bar_ms: float | None
    ask: Callable[[Contents, Random, int], Question]


def contents_of(connection: Connection, account_id: str, moments: int = 40) -> Contents:
    """Read by a few look-ups. LookupError where the account has no events."""
    span = recorded_span(connection, account_id)
    if span is None:
        raise LookupError(f"the record has no events of account {account_id}")
    ends = connection.execute(sa.select(sa.func.min(events.c.seq), sa.func.max(events.c.seq))).one()
    first, last = (int(end or 0) for end in ends)
    numbers = [first + (last - first) * place // (moments - 1) for place in range(moments)]
    found = connection.scalars(sa.select(events.c.started_ms).where(events.c.seq.in_(numbers))).all()
    newest = connection.scalar(sa.select(sa.func.max(events.c.started_ms)).where(events.c.seq > last - 100))
    return Contents(
        since_ms=span[0],
        until_ms=min(span[1], int(newest or span[1])) + 1,
        customers=_names(connection, account_id, "customer", span[1]),
        features=_names(connection, account_id, "feature", span[1]),
        models=_names(connection, account_id, "model", span[1]),
        moments=sorted(int(moment) for moment in found),
        events=last - first + 1,
    )


def _names(connection: Connection, account_id: str, column: str, last_ms: int) -> list[str]:
    """Those of the last day, in order; the first of a history are the most frequent ones."""
    table = next(each for each in ROLLUPS if column in each.columns and each.bucket_ms == DAY_MS).table
    query = sa.select(table.c[column]).distinct().where(table.c.account_id == account_id)
    query = query.where(table.c.bucket_ms == last_ms // DAY_MS * DAY_MS, table.c[column] != "")
    return sorted(connection.scalars(query))


def span(contents: Contents, draw: Random, number: int) -> dict[str, str]:
    """The fields of the n-th span."""
    since_ms, until_ms = contents.since_ms, contents.until_ms
    length_ms = until_ms - since_ms
    shape = number % 5
    if shape == 1:
        since_ms = max(since_ms, until_ms - 30 * DAY_MS)
    elif shape == 2:
        since_ms = max(since_ms, until_ms - 7 * DAY_MS)
    elif shape == 3:
        since_ms += draw.randrange(1, max(2, length_ms // 10))
        until_ms -= draw.randrange(1, max(2, length_ms // 10))
    elif shape == 4:
        since_ms += draw.randrange(max(1, length_ms * 3 // 4))
        until_ms = since_ms + draw.randrange(min(DAY_MS, length_ms // 8), max(DAY_MS + 1, length_ms // 4))
    return {"date_from": moment(since_ms), "date_to": moment(until_ms)}


def moment(at_ms: int) -> str:
    """ISO 8601, UTC."""
    at = datetime.fromtimestamp(at_ms // 1_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z"


def _customer(contents: Contents, draw: Random) -> str:
    """Half of them from the twenty largest."""
    few = contents.customers[:20] if draw.random() < 0.5 else contents.customers
    return draw.choice(few)


def _overview(contents: Contents, draw: Random, number: int) -> Question:
    return Question("/api/analytics/overview", span(contents, draw, number))


def _top_customers(contents: Contents, draw: Random, number: int) -> Question:
    more = {"limit": draw.choice(("10", "50")), "sort_by": draw.choice(("cost", "cost", "margin", "wasted"))}
    return Question("/api/analytics/by-customer", {**span(contents, draw, number), **more})


def _feature_model_day(contents: Contents, draw: Random, number: int) -> Question:
    """Every other one is a later page; one in four is of one feature."""
    query = {**span(contents, draw, number), "by": "feature,model,day", "limit": draw.choice(("50", "200"))}
    if number % 4 == 3:
        query["feature_key"] = draw.choice(contents.features)
    return Question("/api/analytics/breakdown", query, walks=number % 2 == 1)


def _customer_pnl(contents: Contents, draw: Random, number: int) -> Question:
    path = f"/api/analytics/customer-pnl/{_customer(contents, draw)}"
    return Question(path, span(contents, draw, number))


def _events_page(contents: Contents, draw: Random, number: int) -> Question:
    """At a depth that grows with the number, to the last page; every other one with filters."""
    place = (len(contents.moments) - 1) * (19 - number % 20) // 19
    query = {"date_to": moment(contents.moments[place] + 1), "limit": "50"}
    if number % 4 == 1:
        query["customer_id"] = _customer(contents, draw)
    elif number % 4 == 3:
        query |= {"feature_key": draw.choice(contents.features), "model": draw.choice(contents.models)}
    return Question("/api/events", query, walks=True)


def _plain(path: str, **more: str) -> Callable[[Contents, Random, int], Question]:
    return lambda contents, draw, number: Question(path, {**span(contents, draw, number), **more})


def _trends(contents: Contents, draw: Random, number: int) -> Question:
    query = {"by": "day", "months": "1"} if number % 2 else {"by": "month", "months": "3"}
    return Question("/api/analytics/trends", {**query, "date_to": moment(contents.until_ms)})


def _feature(contents: Contents, draw: Random, number: int) -> Question:
    path = f"/api/analytics/features/{draw.choice(contents.features)}"
    return Question(path, span(contents, draw, number))


def _runaway(contents: Contents, draw: Random, number: int) -> Question:
    ends_ms = contents.until_ms - draw.randrange(3) * DAY_MS
    return Question("/api/analytics/runaway-workspaces", {"date_to": moment(ends_ms)})


BARRED = (
    Kind("overview", QUESTION_MS, _overview),
    Kind("top-customers", QUESTION_MS, _top_customers),
    Kind("feature-model-day", QUESTION_MS, _feature_model_day),
    Kind("customer-pnl", QUESTION_MS, _customer_pnl),
    Kind("events-page", PAGE_MS, _events_page),
)
OTHERS = (
    Kind("by-model", None, _plain("/api/analytics/by-model")),
    Kind("by-workspace", None, _plain("/api/analytics/by-workspace")),
    Kind("events-by-customer", None, _plain("/api/events/by-customer")),
    Kind("all-customers-pnl", None, _plain("/api/analytics/customer-pnl")),
    Kind("feature", None, _feature),
    Kind("trends", None, _trends),
    Kind("runaway", None, _runaway),
    Kind("tasks", None, _plain("/api/tasks")),
    Kind("traces", None, lambda _contents, _draw, _number: Question("/api/events/traces", {})),
)
KINDS = {kind.name: kind for kind in (*BARRED, *OTHERS)}
