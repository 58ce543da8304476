"""Profit and loss of customers.

GET /api/analytics/customer-pnl              every customer, the worst margin first
GET /api/analytics/customer-pnl/{customer}   one: by feature, model and day, and what its revenue is made of
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import sqlalchemy as sa
from pydantic import Field

from accounts.plantables import CUSTOMERS
from accounts.publishing import wall_ms
from billing.margin import EVENTS
from billing.pnl import profit_and_loss
from gateway.api.breakdowns import BreakdownRow, row_fields
from gateway.api.charges import charges_in
from gateway.api.cursor import Part
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import LIST_MAX, LIST_USUAL, Nano, Told, Usd, money
from gateway.api.figures import FiguresTold, figures
from gateway.api.ordering import Order, decode_place, encode_place
from gateway.api.pages import page_of
from gateway.api.spans import Span, SpanAsked, SpanTold, span_of, told_span
from gateway.api.views import Row, cost_rows, internal_of, joined
from gateway.errors import BadRequest, NotFound
from metering.costsums import questions, summed
from metering.rollup import DAY_MS
from reports.calendar import days_between
from reports.regroup import added, nothing, regrouped

SCOPE = "usage.read"
TAG = "analytics"
DAYS_MAX = 366
_WORST_FIRST = Order("margin", "asc")


class PnlAsked(SpanAsked):
    """Of which span, and which page."""

    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = LIST_USUAL
    cursor: Annotated[str | None, Field(max_length=2_048, description="`next_cursor` of the page before")] = (
        None
    )


class CustomerPnl(FiguresTold):
    """One customer."""

    customer_id: str | None = Field(description="null: requests that name no customer")
    customer_name: str | None
    event_count: int
    total_cost: Usd | None
    total_cost_nano: Nano | None
    total_revenue: Usd | None
    total_revenue_nano: Nano | None
    unprofitable: bool | None = Field(description="Whether it costs more than it pays; null: not known")
    top_cost_feature: str | None


class PnlTold(SpanTold):
    """Customers, the smallest margin first, those without a known margin last."""

    customers: list[CustomerPnl]
    customer_count: int
    total: FiguresTold
    next_cursor: str | None


class RevenueTold(Told):
    """One source of revenue."""

    kind: str = Field(description="plan_fees, period (graduated prices and packages) or usage")
    plan: str | None
    feature_key: str | None
    revenue: Usd
    revenue_nano: Nano


class CustomerPnlTold(SpanTold):
    """One customer's profit and loss. Each list adds up to `total`, the revenue lines to its revenue."""

    customer_id: str
    customer_name: str | None
    plans: list[str] = Field(description="Those that it paid by in the span")
    total: FiguresTold
    revenue_lines: list[RevenueTold]
    by_feature: list[BreakdownRow]
    by_model: list[BreakdownRow]
    by_day: list[BreakdownRow] = Field(description="With what was earned on each day")


def customer_pnl(call: Call) -> PnlTold:
    """A page of customers."""
    asked: PnlAsked = call.query
    at_ms, after = wall_ms(), None
    wished: tuple[Part, ...] = (asked.date_from, asked.date_to, asked.days)
    listed = ("customer-pnl", call.account_id, *wished)
    if asked.cursor is None:
        span = span_of(asked, at_ms)
    else:
        span, after = decode_place(listed, asked.cursor)
    page = page_of(call, ("customer",), span, _WORST_FIRST, asked.limit, after)
    shown = [row.key[0] for row in page.rows if row.key[0] is not None]
    names = _names(call, shown)
    dearest = _dearest_features(call, span, [row.key[0] for row in page.rows if row.sums.events])
    return PnlTold(
        **told_span(span, at_ms),
        customers=[_customer(row, names, dearest.get(row.key[0])) for row in page.rows],
        customer_count=page.count,
        total=FiguresTold(**figures(page.total.margin, page.total.sums)),
        next_cursor=None if page.following is None else encode_place(listed, span, page.following),
    )


def one_customer(call: Call) -> CustomerPnlTold:
    """One customer's detail, from one question to the record and one to the plans."""
    asked: SpanAsked = call.query
    at_ms = wall_ms()
    span = span_of(asked, at_ms)
    if span.until_ms - span.since_ms > DAYS_MAX * DAY_MS:
        raise BadRequest(f"Days are told of {DAYS_MAX} days at most.", param="date_from")
    customer = call.path["customer"]
    where = {"customer": customer}
    days = days_between(span.since_ms, span.until_ms)
    by_use = cost_rows(call, ("feature", "model"), span, where)
    by_feature = regrouped(by_use, lambda key: (customer, key[0]))
    by_model = regrouped(by_use, lambda key: (key[1],))
    by_day = {row.key[0]: row for row in cost_rows(call, ("day",), span, where)}
    spans = [Span(day.since_ms, day.until_ms) for day in days]
    charged = charges_in(call, spans, customer)
    whole = charges_in(call, [span], customer)[0]
    name = _names(call, [customer]).get(customer)
    if name is None and not by_feature and not whole:
        raise NotFound("No such customer.")
    internal = internal_of(call)
    told = profit_and_loss(customer, by_feature, whole, internal)
    daily = [
        joined((), [by_day[day.name]._replace(key=())] if day.name in by_day else [], charges).total
        for day, charges in zip(days, charged, strict=True)
    ]
    features = joined(("customer", "feature"), by_feature, whole, internal).rows
    return CustomerPnlTold(
        **told_span(span, at_ms),
        customer_id=customer,
        customer_name=name or None,
        plans=list(told.plans),
        total=FiguresTold(**figures(told.total, added(by_feature))),
        revenue_lines=[
            RevenueTold(kind=line.kind, plan=line.plan, feature_key=line.feature, **money(revenue=line.nano))
            for line in told.revenue
        ],
        by_feature=[_of_feature(row) for row in features],
        by_model=[
            BreakdownRow(**row_fields(("model",), row)) for row in joined(("model",), by_model, whole).rows
        ],
        by_day=[
            BreakdownRow(kind=EVENTS, group={"day": day.name}, **figures(row.margin, row.sums))
            for day, row in zip(days, daily, strict=True)
        ],
    )


def _of_feature(row: Row) -> BreakdownRow:
    group = {"feature": row.key[1]} if row.margin.kind == EVENTS or row.key[1] is not None else {}
    sums = row.sums if row.margin.kind == EVENTS else nothing()
    return BreakdownRow(kind=row.margin.kind, group=group, **figures(row.margin, sums))


def _customer(row: Row, names: dict[str, str], dearest: str | None) -> CustomerPnl:
    customer, margin_nano = row.key[0], row.margin.margin_nano
    return CustomerPnl(
        **figures(row.margin, row.sums),
        customer_id=customer,
        customer_name=names.get(customer or "") or None,
        event_count=row.sums.events,
        **money(total_cost=row.margin.cost_nano, total_revenue=row.margin.revenue_nano),
        unprofitable=None if margin_nano is None else margin_nano < 0,
        top_cost_feature=dearest,
    )


def _dearest_features(
    call: Call, span: Span, customers: Sequence[str | None]
) -> dict[str | None, str | None]:
    """The feature of each customer that cost most, of several the one with more requests, then by name."""
    names, measures = ("customer", "feature"), ("cost_nano", "events")
    wanted = [each or "" for each in customers]
    with call.parts.events.reading() as connection:
        asked = questions(connection, names, span.since_ms, span.until_ms, call.account_id, {}, of=wanted)
        sums = summed(connection, asked, measures)
    ranked = sorted(sums, key=lambda key: (-sums[key][0], -sums[key][1], key), reverse=True)
    return {customer or None: feature or None for customer, feature in ranked}


def _names(call: Call, customers: Sequence[str | None]) -> dict[str, str]:
    """What those of the customers are called that are recorded."""
    query = sa.select(CUSTOMERS.c.customer, CUSTOMERS.c.name).where(
        CUSTOMERS.c.account_id == call.account_id, CUSTOMERS.c.customer.in_(customers)
    )
    with call.parts.engine.connect() as connection:
        return {row.customer: row.name for row in connection.execute(query)}


PNL = (
    Endpoint(
        "GET",
        "/api/analytics/customer-pnl",
        SCOPE,
        "Every customer's profit and loss, the worst margin first",
        TAG,
        customer_pnl,
        answer=PnlTold,
        query=PnlAsked,
    ),
    Endpoint(
        "GET",
        "/api/analytics/customer-pnl/{customer}",
        SCOPE,
        "One customer's profit and loss by feature, model and day, with every source of its revenue",
        TAG,
        one_customer,
        answer=CustomerPnlTold,
        query=SpanAsked,
    ),
)
