"""GET /api/analytics/cost-by-token-type: what input, cached input, output, searches and others cost.

Only the bills of single requests tell that, so the span is bounded by how many these are.
"""

from __future__ import annotations

from pydantic import Field

from accounts.publishing import wall_ms
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Name, Nano, Ratio, Told, Usd, money
from gateway.api.figures import share
from gateway.api.singles import singles
from gateway.api.spans import SpanAsked, SpanTold, span_of, told_span
from reports.itemized import itemized

SCOPE = "usage.read"
TAG = "analytics"


class TokenTypesAsked(SpanAsked):
    """Filters are exact, and all of them hold."""

    customer_id: Name | None = None
    feature_key: Name | None = None
    model: Name | None = None


class TokenTypeTold(Told):
    """One unit; `not_itemized` for costs without a bill, `corrections` for what became known later."""

    token_type: str
    quantity: int | None
    event_count: int = Field(description="Requests with any of it")
    cost: Usd
    cost_nano: Nano
    share: Ratio | None


class TokenTypesTold(SpanTold):
    """The dearest first; together the known cost of the requests."""

    breakdown: list[TokenTypeTold]
    event_count: int
    total_cost: Usd
    total_cost_nano: Nano


def cost_by_token_type(call: Call) -> TokenTypesTold:
    """From every bill of the span."""
    asked: TokenTypesAsked = call.query
    at_ms = wall_ms()
    span = span_of(asked, at_ms)
    given = {"customer": asked.customer_id, "feature": asked.feature_key, "model": asked.model}
    where = {name: value for name, value in given.items() if value is not None}
    found = singles(call, span, where)
    items = itemized((each.event, each.known_nano) for each in found)
    whole_nano = sum(item.nano for item in items)
    return TokenTypesTold(
        **told_span(span, at_ms),
        breakdown=[
            TokenTypeTold(
                token_type=item.unit,
                quantity=item.quantity,
                event_count=item.events,
                **money(cost=item.nano),
                share=share(item.nano, whole_nano),
            )
            for item in items
        ],
        event_count=len(found),
        **money(total_cost=whole_nano),
    )


TOKEN_TYPES = (
    Endpoint(
        "GET",
        "/api/analytics/cost-by-token-type",
        SCOPE,
        "Cost by what was counted: input, cached input, output, searches, images",
        TAG,
        cost_by_token_type,
        answer=TokenTypesTold,
        query=TokenTypesAsked,
    ),
)
