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
from gateway.api.spans import Span, SpanAsked, SpanTold, span_of, told_span
from gateway.api.views import Row, cost_rows, internal_of, joined, view_of
from gateway.errors import BadRequest, NotFound
from metering.rollup import DAY_MS
from reports.calendar import days_between
from reports.regroup import added, nothing

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
    view = view_of(call, ("customer",), span)
    rows, following = _WORST_FIRST.page(view.rows, asked.limit, after)
    names = _names(call, [row.key[0] for row in rows if row.key[0] is not None])
    return PnlTold(
        **told_span(span, at_ms),
        customers=[_customer(call, span, row, names) for row in rows],
        customer_count=len(view.rows),
        total=FiguresTold(**figures(view.total.margin, view.total.sums)),
        next_cursor=None if following is None else encode_place(listed, span, following),
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
    by_feature = cost_rows(call, ("customer", "feature"), span, where)
    by_model = cost_rows(call, ("model",), span, where)
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


def _customer(call: Call, span: Span, row: Row, names: dict[str, str]) -> CustomerPnl:
    customer, margin_nano = row.key[0], row.margin.margin_nano
    dearest: Sequence[str | None] = ()
    if row.sums.events:
        top = call.parts.events.cost_by(
            ("feature",),
            span.since_ms,
            span.until_ms,
            account_id=call.account_id,
            where={"customer": customer or ""},
            top=1,
        )
        dearest = [each.key[0] for each in top]
    return CustomerPnl(
        **figures(row.margin, row.sums),
        customer_id=customer,
        customer_name=names.get(customer or "") or None,
        event_count=row.sums.events,
        **money(total_cost=row.margin.cost_nano, total_revenue=row.margin.revenue_nano),
        unprofitable=None if margin_nano is None else margin_nano < 0,
        top_cost_feature=dearest[0] if dearest else None,
    )


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
