"""Margin: revenue beside cost, by any dimension. Pure, exact.

Rows of summed events (metering.costsums) meet the charges that stand beside the events (billing.charges). A
charge is added to the row that it belongs to, where the view's dimensions say enough of it: a plan's fee
belongs to a customer and a plan, a period's charge to a feature as well. Where they do not (by model, say),
charges of a kind are a row of their own. So in every view the total is the exact sum of its rows, and the
total is the same in every view of one span.

Revenue is of events whose revenue is known, and of charges; cost is of events whose cost is known. A margin
is None where either is not known of anything in the row, and `reason` says why. Where only a part is known,
the margin is that of the part, and `reason` says so; a margin in no revenue is no ratio.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Protocol

from accounts.plan import plan_of
from billing.charges import PLAN_FEES, Charge
from billing.stamp import is_internal

EVENTS = "events"
"""The kind of the rows of a view's groups; charges' own rows have their charges' kind."""

INTERNAL_CUSTOMER = "internal_customer"
NO_REVENUE_SOURCE = "no_revenue_source"
NO_COST_KNOWN = "no_cost_known"
REVENUE_PARTLY_KNOWN = "revenue_partly_known"
COST_PARTLY_KNOWN = "cost_partly_known"
REVENUE_IS_ZERO = "revenue_is_zero"

CUSTOMER, PLAN = "customer", "plan"
_PLACES = Decimal("0.0001")


class Summed(Protocol):
    """What of a row of summed events is read; metering.costsums.CostRow has it."""

    @property
    def key(self) -> tuple[str | None, ...]: ...
    @property
    def events(self) -> int: ...
    @property
    def cost_nano(self) -> int: ...
    @property
    def wasted_nano(self) -> int: ...
    @property
    def unpriced(self) -> int: ...
    @property
    def revenue_nano(self) -> int: ...
    @property
    def revenue_known(self) -> int: ...


@dataclass(frozen=True, slots=True)
class MarginRow:
    """One group of a view, or the charges of one kind that belong to none of its groups.

    event_nano: revenue of the events themselves, of the `revenue_known` ones of them. fees_nano, period_nano:
    plans' fees and charges by period that belong to the row; `charged`: whether there are any. cost_nano: the
    known cost, without that of `unpriced` events as far as it is not known.
    """

    key: tuple[str | None, ...]
    kind: str = EVENTS
    events: int = 0
    known_cost_nano: int = 0
    wasted_nano: int = 0
    unpriced: int = 0
    event_nano: int = 0
    revenue_known: int = 0
    fees_nano: int = 0
    period_nano: int = 0
    charged: bool = False
    internal: bool = False

    @property
    def known_revenue_nano(self) -> int:
        """All of it that is known; 0 also where nothing is."""
        return self.event_nano + self.fees_nano + self.period_nano

    @property
    def revenue_nano(self) -> int | None:
        """The known revenue; None where there is no source of any."""
        return self.known_revenue_nano if self.charged or self.revenue_known else None

    @property
    def cost_nano(self) -> int | None:
        """The known cost; None where nothing is known of any event's."""
        unknown = self.unpriced and self.unpriced == self.events and not self.known_cost_nano
        return None if unknown else self.known_cost_nano

    @property
    def margin_nano(self) -> int | None:
        """Revenue less cost."""
        if self.revenue_nano is None or self.cost_nano is None:
            return None
        return self.revenue_nano - self.cost_nano

    @property
    def margin_pct(self) -> Decimal | None:
        """The margin in percent of the revenue; None as the margin, and where the revenue is 0."""
        if self.margin_nano is None or not self.revenue_nano:
            return None
        return (Decimal(100 * self.margin_nano) / Decimal(self.revenue_nano)).quantize(
            _PLACES, ROUND_HALF_EVEN
        )

    @property
    def reason(self) -> str | None:
        """Why the margin or its ratio is None, or is not of all that was used; None where it is whole."""
        if self.internal:
            return INTERNAL_CUSTOMER
        if self.revenue_nano is None:
            return NO_REVENUE_SOURCE
        if self.cost_nano is None:
            return NO_COST_KNOWN
        if self.unpriced:
            return COST_PARTLY_KNOWN
        if self.revenue_known < self.events:
            return REVENUE_PARTLY_KNOWN
        return None if self.revenue_nano else REVENUE_IS_ZERO


@dataclass(frozen=True, slots=True)
class MarginView:
    """Rows, the smallest margin first and those without one after them, charges' own rows last; and their
    exact total."""

    dimensions: tuple[str, ...]
    rows: tuple[MarginRow, ...]
    total: MarginRow


def margin_view(
    dimensions: Sequence[str],
    rows: Iterable[Summed],
    charges: Iterable[Charge],
    internal: Collection[str] = frozenset(),
) -> MarginView:
    """The view by these dimensions (names as in metering.rollup, and `plan`, `workspace`).

    `rows`: sums of the events of a span by the same dimensions. `charges`: of the same span. Rows of one plan
    in different versions are one row. `internal`: customers that are the operator's own whatever their names.
    """
    sums: dict[tuple[str, tuple[str | None, ...]], _Sum] = {}
    by_plan = PLAN in dimensions
    for row in rows:
        key = tuple(map(_named, dimensions, row.key)) if by_plan else row.key
        each = sums.get((EVENTS, key))
        if each is None:
            each = sums[EVENTS, key] = _Sum()
        each.add_events(row)
    for charge in charges:
        key = tuple(_value(charge, name) for name in dimensions)
        own = any(part is None for part in key)
        sums.setdefault((charge.kind if own else EVENTS, key), _Sum()).add_charge(charge)
    place = dimensions.index(CUSTOMER) if CUSTOMER in dimensions else None
    made, whole = [], _Sum()
    for (kind, key), each in sums.items():
        customer = None if place is None else key[place]
        made.append(each.row(kind, key, is_internal(customer) or customer in internal))
        whole.add(each)
    return MarginView(tuple(dimensions), tuple(sorted(made, key=_order)), whole.row(EVENTS, ()))


@dataclass(slots=True)
class _Sum:
    """A row in the making."""

    events: int = 0
    cost_nano: int = 0
    wasted_nano: int = 0
    unpriced: int = 0
    event_nano: int = 0
    revenue_known: int = 0
    fees_nano: int = 0
    period_nano: int = 0
    charged: bool = False

    def add_events(self, row: Summed) -> None:
        self.events += row.events
        self.cost_nano += row.cost_nano
        self.wasted_nano += row.wasted_nano
        self.unpriced += row.unpriced
        self.event_nano += row.revenue_nano
        self.revenue_known += row.revenue_known

    def add_charge(self, charge: Charge) -> None:
        self.charged = True
        if charge.kind == PLAN_FEES:
            self.fees_nano += charge.nano
        else:
            self.period_nano += charge.nano

    def add(self, other: _Sum) -> None:
        self.events += other.events
        self.cost_nano += other.cost_nano
        self.wasted_nano += other.wasted_nano
        self.unpriced += other.unpriced
        self.event_nano += other.event_nano
        self.revenue_known += other.revenue_known
        self.fees_nano += other.fees_nano
        self.period_nano += other.period_nano
        self.charged = self.charged or other.charged

    def row(self, kind: str, key: tuple[str | None, ...], internal: bool = False) -> MarginRow:
        return MarginRow(
            key,
            kind,
            self.events,
            self.cost_nano,
            self.wasted_nano,
            self.unpriced,
            self.event_nano,
            self.revenue_known,
            self.fees_nano,
            self.period_nano,
            self.charged,
            internal,
        )


def _named(dimension: str, value: str | None) -> str | None:
    """A plan's key for its label."""
    return plan_of(value) if dimension == PLAN and value else value


def _value(charge: Charge, dimension: str) -> str | None:
    """What the charge is of by this dimension; None where it is of none."""
    known = {"customer": charge.customer, "plan": charge.plan, "feature": charge.feature}
    return known.get(dimension)


def _order(row: MarginRow) -> tuple[bool, bool, int, int, list[str]]:
    margin_nano = row.margin_nano
    return (
        row.kind != EVENTS,
        margin_nano is None,
        margin_nano or 0,
        -row.known_cost_nano,
        [part or "" for part in row.key],
    )
