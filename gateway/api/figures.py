"""The figures of a row: what was used, what it cost, what it earned, and what is not known of these. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from billing.margin import NO_COST_KNOWN, MarginRow
from gateway.api.fields import Nano, Told, Usd, money
from metering.costsums import CostRow
from metering.money import half_even

PARTLY_PRICED = "partly_priced"
Percent = Annotated[
    Decimal,
    WithJsonSchema({"type": "number", "description": "Percent: 62.5 is 62.5 %", "examples": [62.5]}),
]
"""A field `..._pct` of an answer: a hundred times the part, with four places. Parts of 1 are `Ratio`."""


class FiguresTold(Told):
    """Sums over requests. Cost is the corrected one; where one is null, the reason beside it says why."""

    requests: int
    successes: int
    failures: int
    attempts: int
    tasks: int
    task_successes: int
    input_tokens: int
    cached_tokens: int = Field(description="A part of input_tokens")
    output_tokens: int
    reasoning_tokens: int = Field(description="A part of output_tokens")
    usage_units: int = Field(description="What prices per unit count")
    cost: Usd | None = Field(description="What is known of it")
    cost_nano: Nano | None
    cost_reason: str | None = Field(description="no_cost_known or partly_priced; null where all is known")
    unpriced: int = Field(description="Requests whose cost is not known, or not wholly")
    cost_unknown: Usd = Field(description="How much more it may be, where that is bounded")
    cost_unknown_nano: Nano
    doubted: Usd = Field(description="Held in doubt by the ledger")
    doubted_nano: Nano
    wasted: Usd = Field(description="A part of cost: attempts that did not produce the answer")
    wasted_nano: Nano
    cost_per_successful_task: Usd | None = Field(description="All cost over successful tasks")
    cost_per_successful_task_nano: Nano | None
    revenue: Usd | None = Field(description="What is known of it")
    revenue_nano: Nano | None
    revenue_requests: int = Field(description="Requests whose revenue is known")
    usage_revenue: Usd = Field(description="A part of revenue: of requests themselves")
    usage_revenue_nano: Nano
    plan_fees: Usd = Field(description="A part of revenue: plans' own prices, earned evenly")
    plan_fees_nano: Nano
    period_charges: Usd = Field(description="A part of revenue: graduated prices and packages")
    period_charges_nano: Nano
    margin: Usd | None
    margin_nano: Nano | None
    margin_pct: Percent | None = Field(description="Percent of the revenue; null where that is 0")
    margin_reason: str | None = Field(
        description="Why the margin or its percentage is null, or is not of everything"
    )


def figures(margin: MarginRow, sums: CostRow) -> dict[str, Any]:
    """The fields of FiguresTold. `sums`: of the same events as `margin`."""
    cost_nano = margin.cost_nano
    reason = None
    if margin.unpriced:
        reason = NO_COST_KNOWN if cost_nano is None else PARTLY_PRICED
    each_nano = None
    if cost_nano is not None and sums.task_successes:
        each_nano = half_even(cost_nano, sums.task_successes)
    return {
        "requests": sums.events,
        "successes": sums.successes,
        "failures": sums.failures,
        "attempts": sums.attempts,
        "tasks": sums.tasks,
        "task_successes": sums.task_successes,
        "input_tokens": sums.input_tokens,
        "cached_tokens": sums.cached_tokens,
        "output_tokens": sums.output_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
        "usage_units": sums.units,
        **money(cost=cost_nano),
        "cost_reason": reason,
        "unpriced": margin.unpriced,
        **money(cost_unknown=sums.unknown_nano, doubted=sums.doubted_nano, wasted=sums.wasted_nano),
        **money(cost_per_successful_task=each_nano, revenue=margin.revenue_nano),
        "revenue_requests": margin.revenue_known,
        **money(usage_revenue=margin.event_nano, plan_fees=margin.fees_nano),
        **money(period_charges=margin.period_nano, margin=margin.margin_nano),
        "margin_pct": margin.margin_pct,
        "margin_reason": margin.reason,
    }


def percent(part: int, whole: int) -> Decimal | None:
    """A part of a whole in percent, to four places; None where the whole is 0."""
    return share(100 * part, whole)


def share(part: int, whole: int) -> Decimal | None:
    """A part of a whole, to four places; None where the whole is 0."""
    return None if whole <= 0 else Decimal(half_even(part * 10_000, whole)).scaleb(-4)
