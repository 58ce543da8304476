"""Margin by what the operator asks for.

GET /api/analytics/by-{dimension}   customer, feature, model, route, provider, plan, workspace or key
GET /api/analytics/breakdown        by up to three of them, `day` among them: ?by=feature,model,day
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from accounts.publishing import wall_ms
from billing.margin import EVENTS
from gateway.api.cursor import Part
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import LIST_MAX, LIST_USUAL, Name
from gateway.api.figures import FiguresTold, figures
from gateway.api.ordering import Order, SortBy, SortDir, decode_place, encode_place
from gateway.api.pages import page_of
from gateway.api.spans import SpanAsked, SpanTold, span_of, told_span
from gateway.api.views import Row
from gateway.errors import NotFound

SCOPE = "usage.read"
TAG = "analytics"
NAMES = ("customer", "feature", "model", "route", "provider", "plan", "workspace", "key")
NAMES_MAX = 3


def _names(text: str) -> str:
    given = text.split(",")
    for name in given:
        if name not in (*NAMES, "day"):
            raise ValueError(f"write names out of {', '.join(NAMES)} and day, with commas between them")
    if len(set(given)) != len(given) or len(given) > NAMES_MAX:
        raise ValueError(f"write each name once, and at most {NAMES_MAX}")
    return text


By = Annotated[
    str,
    AfterValidator(_names),
    WithJsonSchema(
        {
            "type": "string",
            "description": f"Up to {NAMES_MAX} of {', '.join(NAMES)} and day, with commas between them",
            "examples": ["feature,model,day"],
        }
    ),
]


class RowsAsked(SpanAsked):
    """Filters are exact, and all of them hold."""

    customer_id: Name | None = None
    feature_key: Name | None = None
    model: Name | None = None
    provider: Name | None = None
    route: Name | None = None
    workspace: Name | None = None
    plan: Annotated[Name | None, Field(description="A plan's key: all of its versions")] = None
    key: Annotated[Name | None, Field(description="The id of a key")] = None
    sort_by: SortBy = "cost"
    sort_dir: SortDir = "desc"
    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = LIST_USUAL
    cursor: Annotated[
        str | None,
        Field(max_length=2_048, description="`next_cursor` of the page before; with the same filters"),
    ] = None

    def where(self) -> dict[str, str]:
        """The filters, by names of the record."""
        given = {
            "customer": self.customer_id,
            "feature": self.feature_key,
            **{name: getattr(self, name) for name in ("model", "provider", "route", "workspace", "plan")},
            "key": self.key,
        }
        return {name: value for name, value in given.items() if value is not None}


class BreakdownAsked(RowsAsked):
    """By which names, and of what."""

    by: By
    tz: Annotated[
        str, Field(max_length=64, description="Of `day`: a time zone whose days begin on whole UTC hours")
    ] = "UTC"


class BreakdownRow(FiguresTold):
    """One group, or the charges of one kind that belong to no group of this view."""

    kind: Literal["events", "plan_fees", "period"] = Field(
        description="events: a group of requests with the charges that belong to it; plan_fees, period: "
        "charges that belong to none of the view's groups"
    )
    group: dict[str, str | None] = Field(description="The group's names; null: the requests had none")


class BreakdownTold(SpanTold):
    """Rows, and their exact sum."""

    by: list[str]
    rows: list[BreakdownRow]
    row_count: int = Field(description="Of all pages")
    total: FiguresTold = Field(description="The sum of all rows, of all pages")
    next_cursor: str | None


def by_dimension(call: Call) -> BreakdownTold:
    """One view by one name."""
    dimension = call.path["dimension"]
    if dimension not in NAMES:
        raise NotFound(f"There is no such analysis; write by-{', by-'.join(NAMES)}.", code="unknown_url")
    return _told(call, (dimension,), "UTC")


def breakdown(call: Call) -> BreakdownTold:
    """One view by several names."""
    asked: BreakdownAsked = call.query
    return _told(call, tuple(asked.by.split(",")), asked.tz)


def _told(call: Call, names: tuple[str, ...], time_zone: str) -> BreakdownTold:
    asked: RowsAsked = call.query
    at_ms, where, after = wall_ms(), asked.where(), None
    # The span as it was asked for is a part of what the cursor is of; as it was understood, of its place.
    wished: tuple[Part, ...] = (asked.date_from, asked.date_to, asked.days, time_zone)
    order = Order(asked.sort_by, asked.sort_dir)
    filters = tuple(f"{name}={value}" for name, value in sorted(where.items()))
    listed = ("breakdown", call.account_id, *names, *wished, order.by, order.direction, *filters)
    if asked.cursor is None:
        span = span_of(asked, at_ms)
    else:
        span, after = decode_place(listed, asked.cursor)
    page = page_of(call, names, span, order, asked.limit, after, where, time_zone)
    return BreakdownTold(
        **told_span(span, at_ms),
        by=list(names),
        rows=[BreakdownRow(**row_fields(names, row)) for row in page.rows],
        row_count=page.count,
        total=FiguresTold(**figures(page.total.margin, page.total.sums)),
        next_cursor=None if page.following is None else encode_place(listed, span, page.following),
    )


def row_fields(names: tuple[str, ...], row: Row) -> dict[str, Any]:
    """The fields of a BreakdownRow."""
    kind = row.margin.kind
    group = dict(zip(names, row.key, strict=True)) if kind == EVENTS else _own(names, row)
    return {"kind": kind, "group": group, **figures(row.margin, row.sums)}


def _own(names: tuple[str, ...], row: Row) -> dict[str, str | None]:
    """Of charges only what they are of: they have no model, and no day."""
    return {name: part for name, part in zip(names, row.key, strict=True) if part is not None}


BREAKDOWNS = (
    Endpoint(
        "GET",
        "/api/analytics/by-{dimension}",
        SCOPE,
        "Cost, revenue and margin by customer, feature, model, route, provider, plan, workspace or key",
        TAG,
        by_dimension,
        answer=BreakdownTold,
        query=RowsAsked,
        description="Charges that belong to no row (a plan's fee has no model) are rows of their own, so the "
        "total is the exact sum of the rows, and the same for every dimension.",
        refusals={404: "There is no such dimension"},
    ),
    Endpoint(
        "GET",
        "/api/analytics/breakdown",
        SCOPE,
        "The same by several names, and by day",
        TAG,
        breakdown,
        answer=BreakdownTold,
        query=BreakdownAsked,
    ),
)
