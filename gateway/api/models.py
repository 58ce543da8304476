"""Models and features as they were used.

GET /api/models                        each model with its figures and what a call costs on average
GET /api/analytics/features/{feature}  one feature by customer, model and day
"""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field

from accounts.publishing import wall_ms
from gateway.api.breakdowns import BreakdownRow, row_fields
from gateway.api.cursor import Part
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import LIST_MAX, LIST_USUAL, MomentText, Nano, Usd, moment_text, money
from gateway.api.figures import FiguresTold, figures
from gateway.api.ordering import Order, SortBy, SortDir, decode_place, encode_place
from gateway.api.spans import Span, SpanAsked, SpanTold, span_of, told_span
from gateway.api.views import Row, View, cost_rows, joined, view_of
from gateway.errors import NotFound
from metering.eventcolumns import events
from metering.money import half_even

USAGE = "usage.read"
MODELS_READ = "models.read"
TAG = "analytics"


class ListAsked(SpanAsked):
    """Which rows, and which page."""

    sort_by: SortBy = "cost"
    sort_dir: SortDir = "desc"
    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = LIST_USUAL
    cursor: Annotated[str | None, Field(max_length=2_048, description="`next_cursor` of the page before")] = (
        None
    )


class UseTold(FiguresTold):
    """What a model's and a feature's rows have in common."""

    event_count: int
    avg_cost_per_event: Usd | None = Field(description="To the nearest nano-dollar")
    avg_cost_per_event_nano: Nano | None
    avg_revenue_per_event: Usd | None = Field(description="Of requests whose revenue is known")
    avg_revenue_per_event_nano: Nano | None


class ModelTold(UseTold):
    """One model of one provider."""

    provider: str | None
    model: str | None = Field(description="null: requests that no model answered")


class ModelsTold(SpanTold):
    """Models that were used. Charges beside the requests are of no model and are not here."""

    models: list[ModelTold]
    model_count: int
    total: FiguresTold
    next_cursor: str | None


class FeatureTold(UseTold):
    """One feature."""

    feature_key: str | None = Field(description="null: requests that name none")
    total_usage: int = Field(description="Units that prices per unit count")


class FeatureDetail(FeatureTold, SpanTold):
    """One feature with its parts, each of which adds up to it but for charges by period by model."""

    customer_count: int
    last_seen: MomentText | None = Field(description="When its last request of the span began")
    by_customer: list[BreakdownRow] = Field(description=f"The {LIST_MAX} dearest")
    by_model: list[BreakdownRow]
    timeseries: list[BreakdownRow] = Field(description="UTC days with requests")


def list_models(call: Call) -> ModelsTold:
    """A page of models."""
    span, at_ms, rows, total, cursor, count = _page(call, ("provider", "model"))
    return ModelsTold(
        **told_span(span, at_ms),
        models=[ModelTold(**_use(row), provider=row.key[0], model=row.key[1]) for row in rows],
        model_count=count,
        total=total,
        next_cursor=cursor,
    )


def show_feature(call: Call) -> FeatureDetail:
    """One feature that was used in the span."""
    asked: SpanAsked = call.query
    at_ms, feature = wall_ms(), call.path["feature"]
    span, where = span_of(asked, at_ms), {"feature": feature}
    own = view_of(call, ("feature",), span, where)
    if not own.rows:
        raise NotFound("No request of this span named such a feature.")
    by_customer = view_of(call, ("customer",), span, where)
    dearest = Order("cost", "desc").sorted(by_customer.rows)
    return FeatureDetail(
        **told_span(span, at_ms),
        **_feature(own.rows[0]).model_dump(),
        customer_count=len([row for row in by_customer.rows if row.key[0] is not None and row.sums.events]),
        last_seen=moment_text(_last_ms(call, feature, span)),
        by_customer=[BreakdownRow(**row_fields(("customer",), row)) for row in dearest[:LIST_MAX]],
        by_model=_parts(call, ("provider", "model"), span, where),
        timeseries=sorted(_parts(call, ("day",), span, where), key=lambda row: row.group.get("day") or ""),
    )


def _page(call: Call, names: tuple[str, ...]) -> tuple[Span, int, list[Row], FiguresTold, str | None, int]:
    asked: ListAsked = call.query
    at_ms, after = wall_ms(), None
    order = Order(asked.sort_by, asked.sort_dir)
    wished: tuple[Part, ...] = (asked.date_from, asked.date_to, asked.days, order.by, order.direction)
    listed = ("used", call.account_id, *names, *wished)
    if asked.cursor is None:
        span = span_of(asked, at_ms)
    else:
        span, after = decode_place(listed, asked.cursor)
    view = _view(call, names, span)
    page, following = order.page(view.rows, asked.limit, after)
    total = FiguresTold(**figures(view.total.margin, view.total.sums))
    cursor = None if following is None else encode_place(listed, span, following)
    return span, at_ms, page, total, cursor, len(view.rows)


def _view(call: Call, names: tuple[str, ...], span: Span) -> View:
    """Without charges beside the requests: none belongs to a model."""
    rows = cost_rows(call, names, span, {})
    return joined(names, rows, [])


def _parts(call: Call, names: tuple[str, ...], span: Span, where: dict[str, str]) -> list[BreakdownRow]:
    rows = view_of(call, names, span, where).rows
    return [BreakdownRow(**row_fields(names, row)) for row in Order("cost", "desc").sorted(rows)]


def _use(row: Row) -> dict[str, Any]:
    cost_nano, count = row.margin.cost_nano, row.sums.events
    known = row.margin.revenue_known
    return {
        **figures(row.margin, row.sums),
        "event_count": count,
        **money(
            avg_cost_per_event=half_even(cost_nano, count) if count and cost_nano is not None else None,
            avg_revenue_per_event=half_even(row.margin.event_nano, known) if known else None,
        ),
    }


def _feature(row: Row) -> FeatureTold:
    return FeatureTold(**_use(row), feature_key=row.key[0], total_usage=row.sums.units)


def _last_ms(call: Call, feature: str, span: Span) -> int | None:
    """The start of the feature's last request in the span, along an index."""
    query = sa.select(sa.func.max(events.c.started_ms)).where(
        events.c.account_id == call.account_id,
        events.c.feature == feature,
        events.c.started_ms >= span.since_ms,
        events.c.started_ms < span.until_ms,
    )
    with call.parts.engine.connect() as connection:
        found: int | None = connection.scalar(query)
    return found


MODELS = (
    Endpoint(
        "GET",
        "/api/models",
        MODELS_READ,
        "Models that were used, with their figures",
        TAG,
        list_models,
        answer=ModelsTold,
        query=ListAsked,
    ),
    Endpoint(
        "GET",
        "/api/analytics/features/{feature}",
        USAGE,
        "One feature by customer, model and day",
        TAG,
        show_feature,
        answer=FeatureDetail,
        query=SpanAsked,
    ),
)
