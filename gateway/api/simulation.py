"""POST /api/simulations/price: what the recorded requests of a span would have cost and earned otherwise.

Three kinds of change: other models for some requests, other prices of models, other prices for customers.
Nothing is recorded by it, and nothing is guessed (reports.simulation says how).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from accounts.publishing import wall_ms
from gateway.api.charges import charges_in
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Asked, Moment, Name, Nano, Told, Usd, money
from gateway.api.figures import Percent, percent
from gateway.api.scenarios import CHANGES_MAX, FeaturePriceAsked, SimulatedPrice, SwapAsked, scenario_of
from gateway.api.singles import SINGLES_MAX, Single, singles
from gateway.api.spans import SpanTold, span_between, told_span
from gateway.api.views import fitting
from metering.event import CostEvent
from reports.simulation import Outcome, Recorded, simulate

SCOPE = "usage.read"
TAG = "pricing"
ASSUMPTIONS = (
    "Tokens are those that were counted: another model may count the same text otherwise.",
    "Attempts are priced at the default service tier: which one served them is not recorded.",
    "A price that is given says nothing of contexts for which the list charges otherwise; requests that have "
    "such are not computable (long_context), unless it is given for any_length.",
)
By = Literal["model", "provider", "route", "feature", "customer"]


class SimulationAsked(Asked):
    """Of which requests, and what would be otherwise. A request is changed by the first swap that fits."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "days": 7,
                    "swaps": [{"model": "gpt-4o", "to_provider": "openai", "to_model": "gpt-4o-mini"}],
                    "feature_prices": [{"feature_key": "search", "price_per_unit": "0.000002"}],
                }
            ]
        }
    )

    date_from: Moment | None = None
    date_to: Moment | None = None
    days: Annotated[int | None, Field(ge=1, le=3_660)] = None
    customer_id: Name | None = None
    feature_key: Name | None = None
    model: Name | None = None
    by: By = "model"
    swaps: Annotated[list[SwapAsked], Field(max_length=CHANGES_MAX, default_factory=list)]
    prices: Annotated[list[SimulatedPrice], Field(max_length=CHANGES_MAX, default_factory=list)]
    feature_prices: Annotated[list[FeaturePriceAsked], Field(max_length=CHANGES_MAX, default_factory=list)]

    @model_validator(mode="after")
    def something_changes(self) -> SimulationAsked:
        if not (self.swaps or self.prices or self.feature_prices):
            raise ValueError("name something that would be otherwise: swaps, prices or feature_prices")
        if self.days is not None and self.date_from is not None:
            raise ValueError("send days or date_from, not both")
        return self


class SideTold(Told):
    """Sums over the requests of which both sides are known."""

    cost: Usd
    cost_nano: Nano
    revenue: Usd | None = Field(description="Of requests themselves; null where none has any")
    revenue_nano: Nano | None


class SimulatedTold(Told):
    """One group, or all."""

    name: str | None
    requests: int
    changed: int = Field(description="Requests of which an attempt was priced anew")
    not_computable: int = Field(
        description="Requests that are in neither cost: a price or a usage is not known"
    )
    not_computable_reasons: dict[str, int]
    not_reproduced: int = Field(
        description="Attempts priced anew whose recorded cost is not what the price book gives for them: "
        "another tier or region, a provider's own bill, an amount that was reported"
    )
    before: SideTold
    after: SideTold
    cost_change: Usd
    cost_change_nano: Nano
    revenue_requests: int
    revenue_not_computable: int = Field(description="Requests that are in neither revenue")
    revenue_change: Usd | None
    revenue_change_nano: Nano | None
    margin_change: Usd | None
    margin_change_nano: Nano | None


class SimulationTold(SpanTold):
    """Groups, the largest change of cost first, and their exact sum."""

    by: str
    rows: list[SimulatedTold]
    total: SimulatedTold
    charges: Usd = Field(description="Plans' fees and charges by period of these customers, which stay")
    charges_nano: Nano
    margin_before: Usd | None = Field(
        description="With those charges; null where cost or revenue is not whole"
    )
    margin_before_nano: Nano | None
    margin_after: Usd | None
    margin_after_nano: Nano | None
    margin_before_pct: Percent | None
    margin_after_pct: Percent | None
    margin_reason: str | None
    assumptions: list[str]


def simulate_price(call: Call) -> SimulationTold:
    """Every request of the span, as it was and as it would have been."""
    asked: SimulationAsked = call.body
    at_ms = wall_ms()
    span = span_between(asked.date_from, asked.date_to, asked.days, at_ms)
    given = {"customer": asked.customer_id, "feature": asked.feature_key, "model": asked.model}
    where = {name: value for name, value in given.items() if value is not None}
    scenario = scenario_of(call, asked.swaps, asked.prices, asked.feature_prices)
    found = singles(call, span, where)
    charges = charges_in(call, [span], asked.customer_id)[0]
    charged_nano = sum(each.nano for each in fitting(charges, where))
    rows, total = simulate(scenario, map(_recorded, found), _key(asked.by))
    whole = not total.not_computable and not total.revenue_not_computable
    partly = total.revenue_events < total.events
    before, after = _margins(total, charged_nano, whole=whole, charged=bool(charges))
    return SimulationTold(
        **told_span(span, at_ms),
        by=asked.by,
        rows=[_told(each) for each in rows],
        total=_told(total),
        **money(charges=charged_nano, margin_before=before, margin_after=after),
        margin_before_pct=_percent(before, total.revenue_before_nano + charged_nano),
        margin_after_pct=_percent(after, total.revenue_after_nano + charged_nano),
        margin_reason=_reason(total, whole=whole, partly=partly, known=before is not None),
        assumptions=list(ASSUMPTIONS),
    )


def _margins(
    total: Outcome, charged_nano: int, *, whole: bool, charged: bool
) -> tuple[int | None, int | None]:
    if not whole or not (total.revenue_events or charged):
        return None, None
    return (
        total.revenue_before_nano + charged_nano - total.before_nano,
        total.revenue_after_nano + charged_nano - total.after_nano,
    )


def _reason(total: Outcome, *, whole: bool, partly: bool, known: bool) -> str | None:
    if not whole:
        return "not_computable"
    if not known:
        return "no_revenue_source"
    return "revenue_partly_known" if partly else None


def _percent(margin_nano: int | None, revenue_nano: int) -> Decimal | None:
    return None if margin_nano is None else percent(margin_nano, revenue_nano)


def _recorded(single: Single) -> Recorded:
    return Recorded(
        single.event, single.known_nano, single.unpriced, single.revenue_nano, single.revenue_source
    )


def _key(by: str) -> Callable[[CostEvent], str | None]:
    name = "route_final" if by == "route" else by
    return lambda event: getattr(event, name)


def _told(outcome: Outcome) -> SimulatedTold:
    known = bool(outcome.revenue_events)
    cost_nano = outcome.after_nano - outcome.before_nano
    revenue_nano = outcome.revenue_after_nano - outcome.revenue_before_nano if known else None
    return SimulatedTold(
        name=outcome.key,
        requests=outcome.events,
        changed=outcome.changed,
        not_computable=outcome.not_computable,
        not_computable_reasons=outcome.reasons,
        not_reproduced=outcome.not_reproduced,
        before=_side(outcome.before_nano, outcome.revenue_before_nano if known else None),
        after=_side(outcome.after_nano, outcome.revenue_after_nano if known else None),
        **money(cost_change=cost_nano),
        revenue_requests=outcome.revenue_events,
        revenue_not_computable=outcome.revenue_not_computable,
        **money(
            revenue_change=revenue_nano,
            margin_change=None if revenue_nano is None else revenue_nano - cost_nano,
        ),
    )


def _side(cost_nano: int, revenue_nano: int | None) -> SideTold:
    return SideTold(**money(cost=cost_nano, revenue=revenue_nano))


SIMULATION = (
    Endpoint(
        "POST",
        "/api/simulations/price",
        SCOPE,
        "What recorded requests would have cost and earned at other prices, models or routes",
        TAG,
        simulate_price,
        answer=SimulationTold,
        body=SimulationAsked,
        description=f"Each request is priced anew from its recorded usage, {SINGLES_MAX} at most. What "
        "cannot be priced is counted and left out of both sides. Revenue that a plan charges by period is "
        "not recomputed; `charges` stay as they are.",
    ),
)
