"""The account in a few figures.

GET /api/metrics/summary           customers, subscriptions, recurring revenue
GET /api/metrics/source-breakdown  requests that passed the gateway, and those that were reported
"""

from __future__ import annotations

import sqlalchemy as sa
from pydantic import Field

from accounts.plantables import CUSTOMERS
from accounts.profilebook import internal_customers
from accounts.publishing import wall_ms
from accounts.subscription import PPM
from billing.chargebook import subscribed_of
from billing.fees import fee_of
from billing.stamp import is_internal
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import MomentText, Nano, Told, Usd, moment_text, money
from gateway.api.singles import TooMany
from gateway.api.spans import SpanAsked, SpanTold, span_of, told_span
from gateway.api.views import cost_rows
from metering.eventcolumns import events
from metering.money import half_even
from metering.removal import check_complete
from metering.statement import whole_sum
from reports.regroup import added

SCOPE = "usage.read"
TAG = "analytics"
SOURCES_MAX = 1_000_000
MONTHS_OF_A_YEAR = 12


class SummaryTold(Told):
    """The account now."""

    as_of: MomentText
    total_customers: int = Field(description="That are recorded, internal ones apart")
    active_subscriptions: int = Field(description="On plans with a price, at this moment")
    paying_customers: int
    mrr: Usd = Field(description="What those plans cost for a month")
    mrr_nano: Nano
    arr: Usd = Field(description="Twelve times mrr")
    arr_nano: Nano
    arpc: Usd | None = Field(description="mrr for each paying customer; null without any")
    arpc_nano: Nano | None


class SourceTold(Told):
    """Requests from one source."""

    source: str
    event_count: int
    cost: Usd = Field(description="What is known of it")
    cost_nano: Nano


class SourcesTold(SpanTold):
    """By who told of the requests."""

    sources: list[SourceTold]
    total_events: int
    total_cost: Usd
    total_cost_nano: Nano


def summary(call: Call) -> SummaryTold:
    """Recurring revenue is what present subscriptions cost for a month, whatever was used."""
    at_ms = wall_ms()
    with call.parts.engine.connect() as connection:
        names = connection.scalars(
            sa.select(CUSTOMERS.c.customer).where(CUSTOMERS.c.account_id == call.account_id)
        )
        internal = internal_customers(connection, call.account_id)
        customers = sum(1 for name in names if not is_internal(name) and name not in internal)
        subscribed = subscribed_of(connection, call.account_id, at_ms, at_ms + 1)
    mrr_nano, paying, active = 0, set(), 0
    for each in subscribed:
        price = each.plan.price
        if price is None or is_internal(each.customer) or not each.subscription.covers(at_ms):
            continue
        active += 1
        month_nano = half_even(
            fee_of(each.subscription, each.plan, price).nano_ppm, PPM * price.interval_months
        )
        mrr_nano += month_nano
        if month_nano:
            paying.add(each.customer)
    return SummaryTold(
        as_of=moment_text(at_ms) or "",
        total_customers=customers,
        active_subscriptions=active,
        paying_customers=len(paying),
        **money(
            mrr=mrr_nano,
            arr=MONTHS_OF_A_YEAR * mrr_nano,
            arpc=half_even(mrr_nano, len(paying)) if paying else None,
        ),
    )


def source_breakdown(call: Call) -> SourcesTold:
    """From single events: no rollup tells sources apart. BadRequest where these are too many."""
    asked: SpanAsked = call.query
    at_ms = wall_ms()
    span = span_of(asked, at_ms)
    whole = added(cost_rows(call, (), span, {}))
    if whole.events > SOURCES_MAX:
        raise TooMany(
            f"This is answered from single requests, {SOURCES_MAX} at most, and the span has "
            f"{whole.events}. Ask for a shorter span.",
            param="date_from",
        )
    with call.parts.engine.connect() as connection:
        check_complete(connection, span.since_ms, span.until_ms)
        query = (
            sa.select(events.c.source, sa.func.count(), whole_sum(events.c.cost_nano))
            .where(
                events.c.account_id == call.account_id,
                events.c.started_ms >= span.since_ms,
                events.c.started_ms < span.until_ms,
            )
            .group_by(events.c.source)
            .order_by(events.c.source)
        )
        found = connection.execute(query).all()
    return SourcesTold(
        **told_span(span, at_ms),
        sources=[SourceTold(source=row[0], event_count=row[1], **money(cost=row[2])) for row in found],
        total_events=sum(row[1] for row in found),
        **money(total_cost=sum(row[2] for row in found)),
    )


ACCOUNT = (
    Endpoint(
        "GET",
        "/api/metrics/summary",
        SCOPE,
        "Customers, subscriptions and recurring revenue at this moment",
        TAG,
        summary,
        answer=SummaryTold,
    ),
    Endpoint(
        "GET",
        "/api/metrics/source-breakdown",
        SCOPE,
        "Requests and cost by who told of them",
        TAG,
        source_breakdown,
        answer=SourcesTold,
        query=SpanAsked,
    ),
)
