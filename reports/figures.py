"""The figures of a cost report: exact sums, and what follows from them. Pure.

Amounts are whole nano-USD. Ratios are Decimals with four places. What does not follow is None: the cost of
requests that all lack a price, the share of nothing, the price of a success where none succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from metering.eventstore import CostRow
from metering.money import half_even
from reports.question import Question

_PLACES = Decimal("0.0001")
_SUMMED = tuple(name for name in CostRow._fields if name != "key")


@dataclass(frozen=True, slots=True)
class Figures:
    """One row: the sums of a group of requests, beside the known cost of all groups.

    Every cost of the group counts for its successes: failed requests, retries and fallbacks too. A task is
    here one request; `successes` are those whose outcome is success.
    """

    sums: CostRow
    whole_nano: int

    @property
    def key(self) -> tuple[str | None, ...]:
        """The group's value of each dimension; None where the requests had none."""
        return self.sums.key

    @property
    def cost_nano(self) -> int | None:
        """The known cost; None where nothing is known of any request's."""
        unknown = self.sums.unpriced and self.sums.unpriced == self.sums.events and not self.sums.cost_nano
        return None if unknown else self.sums.cost_nano

    @property
    def share(self) -> Decimal | None:
        """The group's part of all known cost."""
        return None if self.cost_nano is None else _ratio(self.cost_nano, self.whole_nano)

    @property
    def success_rate(self) -> Decimal | None:
        """Successes in all requests."""
        return _ratio(self.sums.successes, self.sums.events)

    @property
    def cost_per_success_nano(self) -> int | None:
        """The known cost of the group for each success, to the nearest nano-dollar."""
        if self.cost_nano is None or not self.sums.successes:
            return None
        return half_even(self.cost_nano, self.sums.successes)

    @property
    def revenue_nano(self) -> int | None:
        """Revenue of the requests for which it is known; None where it is for none."""
        return self.sums.revenue_nano if self.sums.revenue_known else None


@dataclass(frozen=True, slots=True)
class CostReport:
    """The answer to a question: rows, dearest first, and their exact total."""

    question: Question
    rows: tuple[Figures, ...]
    total: Figures


def cost_report(question: Question, rows: Sequence[CostRow]) -> CostReport:
    """The report of the store's rows (EventStore.cost_by), with shares of their total."""
    total = CostRow((), *(sum(getattr(row, name) for row in rows) for name in _SUMMED))
    whole_nano = total.cost_nano
    return CostReport(question, tuple(Figures(row, whole_nano) for row in rows), Figures(total, whole_nano))


def _ratio(part: int, whole: int) -> Decimal | None:
    return (Decimal(part) / Decimal(whole)).quantize(_PLACES, ROUND_HALF_EVEN) if whole else None
