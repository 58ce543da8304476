"""GET /api/analytics/overview: are we making money, in one answer, beside the span before.

Everything but the kinds of waste and the estimated share comes from rollups by customer. Those two are told
by single events alone: they are known where the span has few, else null with a reason.
"""

from __future__ import annotations

from pydantic import Field

from accounts.publishing import wall_ms
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Nano, Ratio, Told, Usd, moment_text, money
from gateway.api.figures import FiguresTold, figures, share
from gateway.api.singles import SINGLES_MAX, singles
from gateway.api.spans import Span, SpanAsked, SpanTold, span_of, told_span
from gateway.api.views import View, view_of
from gateway.errors import BadRequest
from metering.money import half_even
from metering.removal import EventsRemoved
from reports.waste import Waste, waste_of

SCOPE = "usage.read"
TAG = "analytics"


class Kpis(FiguresTold):
    """The account's figures of one span."""

    wasted_share: Ratio | None = Field(description="Of the known cost")
    active_customers: int = Field(description="Customers with a request in the span")
    cost_per_active_customer: Usd | None = Field(description="The known cost of their requests, each")
    cost_per_active_customer_nano: Nano | None
    cost_of_nobody: Usd = Field(description="A part of cost: of requests that name no customer")
    cost_of_nobody_nano: Nano


class WasteTold(Told):
    """What was wasted, by what came of it. The parts are all of `wasted`."""

    failed: Usd = Field(description="Of requests that were not served")
    failed_nano: Nano
    retried: Usd = Field(description="Of attempts after which the same target was tried again")
    retried_nano: Nano
    fallback: Usd = Field(description="Of attempts after which another target was tried")
    fallback_nano: Nano
    other: Usd = Field(description="Reported as wasted, without its attempts")
    other_nano: Nano


class OverviewTold(SpanTold):
    """A span, and the one of the same length before it."""

    current: Kpis
    previous: Kpis | None
    previous_reason: str | None = Field(description="Why previous is null")
    previous_since: str
    waste: WasteTold | None
    estimated: Usd | None = Field(description="A part of cost that was estimated, as it was recorded")
    estimated_nano: Nano | None
    estimated_share: Ratio | None
    detail_reason: str | None = Field(description="Why waste and estimated are null")


def overview(call: Call) -> OverviewTold:
    """The figures of the span and of the one before."""
    asked: SpanAsked = call.query
    at_ms = wall_ms()
    span = span_of(asked, at_ms)
    view = view_of(call, ("customer",), span)
    waste, reason = _waste(call, span, view)
    previous, previous_reason = _before(call, span)
    cost_nano = view.total.margin.known_cost_nano
    return OverviewTold(
        **told_span(span, at_ms),
        current=_kpis(view),
        previous=previous,
        previous_reason=previous_reason,
        previous_since=told_span(span.before, at_ms)["since"],
        waste=None if waste is None else _waste_told(waste),
        **money(estimated=None if waste is None else waste.estimated_nano),
        estimated_share=None if waste is None else share(waste.estimated_nano, cost_nano),
        detail_reason=reason,
    )


def _before(call: Call, span: Span) -> tuple[Kpis | None, str | None]:
    """The figures of the span before, or why they are not told: its first moment lies inside of an hour where
    the span's length does, and that hour's single requests may be gone."""
    try:
        return _kpis(view_of(call, ("customer",), span.before)), None
    except EventsRemoved as error:
        return None, _removed(error)


def _kpis(view: View) -> Kpis:
    total = view.total
    named = [row for row in view.rows if row.key[0] is not None and row.sums.events]
    costs = [row.margin.cost_nano for row in named]
    known = [nano for nano in costs if nano is not None]
    nobody = sum(row.margin.known_cost_nano for row in view.rows if row.key[0] is None)
    return Kpis(
        **figures(total.margin, total.sums),
        wasted_share=share(total.sums.wasted_nano, total.margin.known_cost_nano),
        active_customers=len(named),
        **money(cost_per_active_customer=half_even(sum(known), len(named)) if known else None),
        **money(cost_of_nobody=nobody),
    )


def _waste(call: Call, span: Span, view: View) -> tuple[Waste | None, str | None]:
    """The kinds of waste, or why they are not told."""
    if view.total.sums.events > SINGLES_MAX:
        return None, f"told of at most {SINGLES_MAX} requests; ask for a shorter span"
    try:
        found = singles(call, span, {})
    except BadRequest as error:
        return None, error.message
    except EventsRemoved as error:
        return None, _removed(error)
    return waste_of(each.event for each in found), None


def _removed(error: EventsRemoved) -> str:
    since = moment_text(error.complete_since_ms)
    return f"single requests were removed for their age; all are there since {since}"


def _waste_told(waste: Waste) -> WasteTold:
    parts = money(failed=waste.failed, retried=waste.retried, fallback=waste.fallback, other=waste.other)
    return WasteTold(**parts)


OVERVIEW = (
    Endpoint(
        "GET",
        "/api/analytics/overview",
        SCOPE,
        "Cost, revenue, margin, tasks and waste of a span, beside the span before",
        TAG,
        overview,
        answer=OverviewTold,
        query=SpanAsked,
    ),
)
