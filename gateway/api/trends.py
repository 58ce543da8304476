"""How figures develop.

GET /api/analytics/trends              each month, or each day; also as /api/analytics/margin-trends
GET /api/analytics/runaway-workspaces  which workspaces spend far more than they did on average
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import Connection

from accounts.publishing import wall_ms
from gateway.api.charges import charges_in
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import LIST_MAX, Asked, Moment, MomentText, Nano, Ratio, Told, Usd, money
from gateway.api.figures import FiguresTold, figures
from gateway.api.spans import Span, SpanTold, told_span
from gateway.api.views import ZONE_DAYS_MAX, Row, check_hours, cost_rows, joined, zone_days
from gateway.errors import BadRequest
from metering.activity import active_customers
from metering.costsums import CostRow, cost_by, questions, summed, telling
from metering.money import half_even
from metering.rollup import DAY_MS
from reports.calendar import Bucket, months_back_ms, months_between
from reports.growth import Growth, runaways
from reports.regroup import Key, added

SCOPE = "usage.read"
TAG = "analytics"
MONTHS_MAX = 36
_EVENTS = ("events",)


class TrendsAsked(Asked):
    """How far back. Months and days are those of `tz`, which begin on whole UTC hours there."""

    months: Annotated[
        int, Field(ge=1, le=MONTHS_MAX, description="So many, that of `date_to` the last of them")
    ] = 6
    by: Literal["month", "day"] = "month"
    date_to: Annotated[Moment | None, Field(description="By default, and at the latest, now")] = None
    tz: Annotated[str, Field(max_length=64)] = "UTC"


class TrendRow(FiguresTold):
    """One month or day; the last one as far as it has come."""

    month: str | None = Field(description="2026-11; null by day")
    day: str | None = Field(description="2026-11-21; null by month")
    since: MomentText
    until: MomentText
    event_count: int
    active_customers: int
    active_features: int
    models_used: int
    cost_per_active_customer: Usd | None
    cost_per_active_customer_nano: Nano | None


class TrendsTold(SpanTold):
    """Rows in the order of time, and their exact sum."""

    trends: list[TrendRow]
    total: FiguresTold


class RunawayAsked(Asked):
    """The last `days` before `date_to` are held against `before` spans of as many days before them."""

    days: Annotated[int, Field(ge=1, le=31)] = 1
    before: Annotated[int, Field(ge=1, le=31)] = 7
    date_to: Annotated[
        Moment | None, Field(description="By default, and at the latest, the end of yesterday in UTC")
    ] = None
    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = 20


class RunawayRow(Told):
    """A workspace that spends more than on average before."""

    customer_id: str
    workspace: str | None = Field(description="null: the customer's own, where no other is named")
    cost: Usd = Field(description="In the last span")
    cost_nano: Nano
    average: Usd = Field(description="Of the spans before it")
    average_nano: Nano
    growth: Usd = Field(description="cost less the exact average, by which rows are ordered")
    growth_nano: Nano
    times_average: Ratio | None = Field(description="cost in the average; null: nothing before")


class RunawayTold(SpanTold):
    """The largest growth first."""

    compared_since: MomentText = Field(description="The first moment of the spans before")
    workspaces: list[RunawayRow]
    growing: int = Field(description="How many spend more than on average before")


def trends(call: Call) -> TrendsTold:
    """Months or days, each with what was earned in it."""
    asked: TrendsAsked = call.query
    at_ms = wall_ms()
    until_ms = at_ms if asked.date_to is None else min(asked.date_to, at_ms)
    if until_ms <= 0:
        raise BadRequest("The span is empty.", param="date_to")
    buckets = _buckets(asked, until_ms)
    span = Span(buckets[0].since_ms, until_ms)
    owed = charges_in(call, [Span(b.since_ms, b.until_ms) for b in buckets])
    sums = _sums_of(call, buckets, daily=asked.by == "day" and asked.tz == "UTC")
    rows = [
        _row(asked.by, bucket, joined((), each.everything, charges).total, each)
        for bucket, charges, each in zip(buckets, owed, sums, strict=True)
    ]
    whole = [row for each in sums for row in each.everything]
    everything = joined((), [added(whole)] if whole else [], [each for some in owed for each in some]).total
    return TrendsTold(
        **told_span(span, at_ms),
        trends=rows,
        total=FiguresTold(**figures(everything.margin, everything.sums)),
    )


def _buckets(asked: TrendsAsked, until_ms: int) -> list[Bucket]:
    try:
        since_ms = months_back_ms(until_ms, asked.months, asked.tz)
        buckets = months_between(since_ms, until_ms, asked.tz)
    except ValueError as error:
        raise BadRequest(f"{error}.", param="tz") from None
    check_hours("Months", buckets, asked.tz)
    if asked.by == "month":
        return buckets
    if until_ms - since_ms > (ZONE_DAYS_MAX + 1) * DAY_MS:
        raise BadRequest(f"Days are told of {ZONE_DAYS_MAX} days at most: ask for fewer months.", param="by")
    return zone_days(Span(since_ms, until_ms), asked.tz)


@dataclass(frozen=True, slots=True)
class _Sums:
    """One bucket: the sums of all requests, and of those that name no customer (none or one row each); how
    many customers, features and models they name."""

    everything: Sequence[CostRow]
    of_nobody: Sequence[CostRow]
    customers: int
    features: int
    models: int


def _sums_of(call: Call, buckets: Sequence[Bucket], *, daily: bool) -> list[_Sums]:
    """Of each bucket, all at one moment of the record. UTC's days are asked for all at once."""
    with call.parts.events.reading() as connection:
        if daily:
            return _days(connection, call.account_id, buckets)
        return [_one(connection, call.account_id, each.since_ms, each.until_ms) for each in buckets]


def _one(connection: Connection, account_id: str, since_ms: int, until_ms: int) -> _Sums:
    ends = (since_ms, until_ms, account_id)

    def named(name: str) -> int:
        asked = questions(connection, (name,), *ends, {})
        return sum(bool(key) for (key,) in summed(connection, asked, _EVENTS))

    return _Sums(
        everything=cost_by(connection, (), *ends, {}, top=None, from_events=False),
        of_nobody=cost_by(connection, (), *ends, {"customer": ""}, top=None, from_events=False),
        customers=len(active_customers(connection, *ends)),
        features=named("feature"),
        models=named("model"),
    )


def _days(connection: Connection, account_id: str, buckets: Sequence[Bucket]) -> list[_Sums]:
    ends = (buckets[0].since_ms, buckets[-1].until_ms, account_id)

    def sums(where: dict[str, str]) -> dict[str | None, list[CostRow]]:
        rows = cost_by(connection, ("day",), *ends, where, top=None, from_events=False)
        return {row.key[0]: [row._replace(key=())] for row in rows}

    def named(name: str) -> dict[str | None, int]:
        asked = questions(connection, ("day", name), *ends, {})
        found = [day for day, value in summed(connection, asked, _EVENTS) if value]
        tell = telling(("day",))
        return {tell((day,))[0]: count for day, count in Counter(found).items()}

    everything, of_nobody = sums({}), sums({"customer": ""})
    customers, features, models = (named(name) for name in ("customer", "feature", "model"))
    return [
        _Sums(
            everything.get(each.name, []),
            of_nobody.get(each.name, []),
            customers.get(each.name, 0),
            features.get(each.name, 0),
            models.get(each.name, 0),
        )
        for each in buckets
    ]


def _row(by: str, bucket: Bucket, total: Row, sums: _Sums) -> TrendRow:
    nobody = added(sums.of_nobody)
    count, unpriced = total.sums.events - nobody.events, total.sums.unpriced - nobody.unpriced
    cost_nano = total.sums.cost_nano - nobody.cost_nano
    wholly_unknown = unpriced and unpriced == count and not cost_nano
    each_nano = None if not sums.customers or wholly_unknown else half_even(cost_nano, sums.customers)
    moments = told_span(Span(bucket.since_ms, bucket.until_ms), 0)
    return TrendRow(
        **figures(total.margin, total.sums),
        month=bucket.name if by == "month" else None,
        day=bucket.name if by == "day" else None,
        since=moments["since"],
        until=moments["until"],
        event_count=total.sums.events,
        active_customers=sums.customers,
        active_features=sums.features,
        models_used=sums.models,
        **money(cost_per_active_customer=each_nano),
    )


def runaway_workspaces(call: Call) -> RunawayTold:
    """Those with the largest growth."""
    asked: RunawayAsked = call.query
    at_ms = wall_ms()
    until_ms = at_ms // DAY_MS * DAY_MS
    if asked.date_to is not None:
        until_ms = min(until_ms, asked.date_to)
    length_ms = asked.days * DAY_MS
    span = Span(until_ms - length_ms, until_ms)
    since_ms = span.since_ms - asked.before * length_ms
    if since_ms < 0:
        raise BadRequest("Spans before 1970 are not known.", param="date_to")
    recent = _costs(call, span)
    earlier = _costs(call, Span(since_ms, span.since_ms))
    found = runaways(recent, earlier, asked.before)
    return RunawayTold(
        **told_span(span, at_ms),
        compared_since=told_span(Span(since_ms, until_ms), at_ms)["since"],
        workspaces=[_runaway(each) for each in found[: asked.limit]],
        growing=len(found),
    )


def _costs(call: Call, span: Span) -> dict[Key, int]:
    rows = cost_rows(call, ("customer", "workspace"), span, {})
    return {row.key: row.cost_nano for row in rows if row.key[0] is not None}


def _runaway(growth: Growth) -> RunawayRow:
    customer, workspace = growth.key
    ppm = growth.times_ppm
    return RunawayRow(
        customer_id=customer or "",
        workspace=workspace,
        **money(cost=growth.recent_nano, average=growth.average_nano, growth=growth.growth_nano),
        times_average=None if ppm is None else Decimal(half_even(ppm, 100)).scaleb(-4),
    )


_TRENDS = (
    "Requests count in the month or day in which they began, plans' fees as they are earned. The last one is "
    "told as far as it has come. `months` by day: those that fit into a quarter."
)
TRENDS = (
    *(
        Endpoint(
            "GET",
            f"/api/analytics/{name}",
            SCOPE,
            "Cost, revenue and margin by month or day",
            TAG,
            trends,
            answer=TrendsTold,
            query=TrendsAsked,
            description=_TRENDS,
        )
        for name in ("trends", "margin-trends")
    ),
    Endpoint(
        "GET",
        "/api/analytics/runaway-workspaces",
        SCOPE,
        "Workspaces whose spending grows most against their own average before",
        TAG,
        runaway_workspaces,
        answer=RunawayTold,
        query=RunawayAsked,
        description="growth = cost of the last `days` less the average of the `before` spans of as many days "
        "before them. It is compared exactly, as cost x before - cost of all those spans.",
    ),
)
