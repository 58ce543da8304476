"""Profit and loss of one customer: every source of revenue beside every feature's cost. Pure, exact."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from billing.charges import PLAN_FEES, Charge
from billing.margin import EVENTS, MarginRow, MarginView, Summed, margin_view
from billing.stamp import is_internal

USAGE = "usage"


@dataclass(frozen=True, slots=True)
class RevenueLine:
    """One source of revenue: a plan's fee, a feature's charge by period, or what events were worth."""

    kind: str
    plan: str | None
    feature: str | None
    nano: int


@dataclass(frozen=True, slots=True)
class ProfitAndLoss:
    """Of one customer in a span. `total` is the sum of `by_feature`'s rows, its revenue that of `revenue`.
    `plans`: those that it paid by."""

    customer: str
    plans: tuple[str, ...]
    revenue: tuple[RevenueLine, ...]
    by_feature: MarginView
    total: MarginRow


def profit_and_loss(
    customer: str,
    rows: Iterable[Summed],
    charges: Iterable[Charge],
    internal: Collection[str] = frozenset(),
) -> ProfitAndLoss:
    """One customer's profit and loss in a span.

    `rows`: sums of events by customer and feature; `charges`: of the same span. Those of other customers are
    left out. `internal`: as for `margin_view`.
    """
    mine = [charge for charge in charges if charge.customer == customer]
    own = [row for row in rows if row.key[0] == customer]
    view = margin_view(("customer", "feature"), own, mine, internal)
    lines = [RevenueLine(each.kind, each.plan, each.feature, each.nano) for each in mine]
    lines += [
        RevenueLine(USAGE, None, row.key[1], row.event_nano)
        for row in view.rows
        if row.kind == EVENTS and row.revenue_known
    ]
    plans = tuple(dict.fromkeys(each.plan for each in mine if each.kind == PLAN_FEES))
    total = replace(view.total, key=(customer,), internal=is_internal(customer) or customer in internal)
    return ProfitAndLoss(customer, plans, tuple(lines), view, total)
