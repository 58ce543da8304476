"""GET /api/analytics/overview: are we making money, in one answer, beside the span before.

Everything but the kinds of waste and the estimated share comes from rollups by customer. Those two are told
by single events alone: they are known where the span has few, else null with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from accounts.publishing import wall_ms
from gateway.api.charges import charges_in
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Nano, Ratio, Told, Usd, moment_text, money
from gateway.api.figures import FiguresTold, figures, share
from gateway.api.singles import SINGLES_MAX, singles
from gateway.api.spans import Span, SpanAsked, SpanTold, span_of, told_span
from gateway.api.views import Row, joined
from gateway.errors import BadRequest
from metering.activity import active_customers
from metering.costsums import CostRow, cost_by
from metering.money import half_even
from metering.removal import EventsRemoved
from reports.regroup import nothing
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


@dataclass(frozen=True, slots=True)
class _Whole:
    """A span's figures. `sums_of_nobody`: of requests that name no customer."""

    total: Row
    active: int
    sums_of_nobody: CostRow


def overview(call: Call) -> OverviewTold:
    """The figures of the span and of the one before."""
    asked: SpanAsked = call.query
    at_ms = wall_ms()
    span = span_of(asked, at_ms)
    whole = _whole(call, span)
    waste, reason = _waste(call, span, whole.total)
    previous, previous_reason = _before(call, span)
    cost_nano = whole.total.margin.known_cost_nano
    return OverviewTold(
        **told_span(span, at_ms),
        current=_kpis(whole),
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
        return _kpis(_whole(call, span.before)), None
    except EventsRemoved as error:
        return None, _removed(error)


def _whole(call: Call, span: Span) -> _Whole:
    """Of customers no more is read than that they were there."""
    charges = charges_in(call, [span])[0]
    ends = (span.since_ms, span.until_ms, call.account_id)
    with call.parts.events.reading() as connection:
        everything = cost_by(connection, (), *ends, {}, top=None, from_events=False)
        nobody = cost_by(connection, (), *ends, {"customer": ""}, top=None, from_events=False)
        active = active_customers(connection, span.since_ms, span.until_ms, call.account_id)
    total = joined((), everything, charges).total
    return _Whole(total, len(active), nobody[0] if nobody else nothing())


def _kpis(whole: _Whole) -> Kpis:
    total, nobody = whole.total, whole.sums_of_nobody
    cost_nano = total.sums.cost_nano - nobody.cost_nano
    # Nothing is known where every request that names a customer lacks all of its cost.
    unknown = total.sums.events - nobody.events == total.sums.unpriced - nobody.unpriced and not cost_nano
    each_nano = None if unknown or not whole.active else half_even(cost_nano, whole.active)
    return Kpis(
        **figures(total.margin, total.sums),
        wasted_share=share(total.sums.wasted_nano, total.margin.known_cost_nano),
        active_customers=whole.active,
        **money(cost_per_active_customer=each_nano, cost_of_nobody=nobody.cost_nano),
    )


def _waste(call: Call, span: Span, total: Row) -> tuple[Waste | None, str | None]:
    """The kinds of waste, or why they are not told."""
    if total.sums.events > SINGLES_MAX:
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
