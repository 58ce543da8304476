"""What the demo's customers owe beside what they cost, and whether the margins are what the plans say. Pure.

The plans' prices are applied to every event once more here, by fractions instead of the product's arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

from accounts.plan import PlanVersion
from accounts.planprice import FeatureRate
from billing.margin import MarginRow, MarginView
from gateway.cli.margin_table import margin_columns
from gateway.demo.closing import Section, Verdict
from metering.event import CostEvent
from metering.money import nano_to_usd
from reports.layout import Column

_MONTH_MS = (28 * 86_400_000, 31 * 86_400_000 + 3_600_000)
"""The shortest and the longest month."""


@dataclass(frozen=True, slots=True)
class Earnings:
    """The margins of the demo's own span, by customer, and what the customers are on."""

    view: MarginView
    plans: Mapping[str, PlanVersion]
    since_ms: int
    until_ms: int


def earnings_section(earnings: Earnings) -> Section:
    """The table of margins, with what each customer is on."""
    customer, *figures = margin_columns(earnings.view)
    names = [earnings.plans[name].name if name in earnings.plans else "" for name in customer.cells]
    seconds = (earnings.until_ms - earnings.since_ms) / 1_000
    title = f"Who earned money in these {seconds:.1f} s (what a plan costs a month is owed for so long only)"
    return Section(title, [customer, Column("pays", tuple(names), right=False), *figures])


def earnings_verdicts(earnings: Earnings, events: Sequence[CostEvent]) -> list[Verdict]:
    """That the margins are what plans, prices and events make, and add up."""
    wrong, total = disagreements(earnings, events), total_disagreement(earnings, events)
    revenue = nano_to_usd(earnings.view.total.known_revenue_nano)
    return [
        Verdict(
            not wrong,
            "; ".join(wrong)
            or "each customer's revenue is what its plan makes of its events and of the time, reckoned twice",
        ),
        Verdict(
            total is None,
            total
            or f"the margins' rows add up to their total: ${revenue} of revenue, and the events' whole cost",
        ),
    ]


def disagreements(earnings: Earnings, events: Sequence[CostEvent]) -> list[str]:
    """Customers whose revenue is not what their plan makes of events and time, a sentence each."""
    rows = {row.key[0]: row for row in earnings.view.rows}
    found = []
    for customer, plan in earnings.plans.items():
        row = rows.get(customer)
        if row is None:
            found.append(f"{customer} has no row")
            continue
        mine = [event for event in events if event.customer == customer]
        found += _usage_disagreement(earnings, row, plan, mine)
        found += _fee_disagreement(earnings, row, plan)
    return found


def _usage_disagreement(
    earnings: Earnings, row: MarginRow, plan: PlanVersion, mine: Sequence[CostEvent]
) -> list[str]:
    assert plan.price is not None
    if _month(earnings.since_ms) != _month(earnings.until_ms):
        return []  # tiers began anew meanwhile
    by_unit = {each.feature: each for each in plan.price.rates if each.model == "usage"}
    usage = sum(round(_priced(by_unit, event)) for event in mine)
    tiers = sum(
        round(_graduated(rate, sum(event.units for event in mine if event.feature == rate.feature)))
        for rate in plan.price.rates
        if rate.model == "graduated"
    )
    if (row.event_nano, row.period_nano) == (usage, tiers):
        return []
    told, made = nano_to_usd(row.event_nano + row.period_nano), nano_to_usd(usage + tiers)
    return [f"{row.key[0]} owes ${told} for its use, and its events make ${made}"]


def _fee_disagreement(earnings: Earnings, row: MarginRow, plan: PlanVersion) -> list[str]:
    assert plan.price is not None
    passed_ms = earnings.until_ms - earnings.since_ms
    shortest, longest = (Fraction(plan.price.flat_nano * passed_ms, month_ms) for month_ms in _MONTH_MS)
    if longest - 1 <= row.fees_nano <= shortest + 1:
        return []
    return [f"{row.key[0]} owes ${nano_to_usd(row.fees_nano)} for {passed_ms} ms of its plan"]


def total_disagreement(earnings: Earnings, events: Iterable[CostEvent]) -> str | None:
    """What is wrong with the total; None where it is the sum of its rows, and its cost that of the events."""
    view = earnings.view
    revenue = sum(row.known_revenue_nano for row in view.rows)
    cost = sum(row.known_cost_nano for row in view.rows)
    recorded = sum(event.known_nano for event in events)
    if (revenue, cost, cost) == (view.total.known_revenue_nano, view.total.known_cost_nano, recorded):
        return None
    return (
        f"the margins' rows make ${nano_to_usd(revenue)} and ${nano_to_usd(cost)}, their total says "
        f"${nano_to_usd(view.total.known_revenue_nano)} and ${nano_to_usd(view.total.known_cost_nano)}, the "
        f"events cost ${nano_to_usd(recorded)}"
    )


def _priced(rates: Mapping[str, FeatureRate], event: CostEvent) -> Fraction:
    rate = rates.get(event.feature or "")
    return Fraction(0) if rate is None else Fraction(event.units * rate.price_pico, 1_000)


def _graduated(rate: FeatureRate, units: int) -> Fraction:
    """Nano-USD of so many units, one by one through the tiers."""
    nano, below = Fraction(0), 0
    for tier in rate.tiers:
        end = units if tier.up_to is None else min(units, tier.up_to)
        if end > below:
            nano += Fraction((end - below) * tier.price_pico, 1_000) + tier.flat_nano
            below = end
    return nano


def _month(moment_ms: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(moment_ms // 1_000, UTC)
    return moment.year, moment.month
