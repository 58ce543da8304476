"""What one usage costs: the amount, its rows, and what is known about its limits.

Named tuples, because several are made for each request: a frozen dataclass takes three times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Status = Literal["priced", "unpriced", "free", "provider_reported"]


class Line(NamedTuple):
    """One row of a breakdown. `price_pico` is per unit; for seconds it is per hour (`Unit.per`)."""

    unit: str
    quantity: int
    price_pico: int
    cost_nano: int


class Cost(NamedTuple):
    """What one usage costs.

    nano: the cost; None where some count has no price (status "unpriced"). The lines add up to it exactly.
    upper_nano: what it can be at most; None where that is not known.
    unpriced_units: counts that had no rate of their own, whether another unit's rate stood in or none did.
    notes: sentences for whoever checks the bill: contradictions, unknown service tiers.
    """

    nano: int | None
    status: Status
    lines: tuple[Line, ...]
    entry_ids: tuple[str, ...]
    upper_nano: int | None
    unpriced_units: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


row_of = tuple.__new__
"""row_of(Line, (...)) is Line(...) in half the time: these are made for every unit of every event."""


def rounded_up(lines: Sequence[Line], exact: Sequence[int], spare: int, denominator: int) -> tuple[Line, ...]:
    """Rows that were each rounded down, with one nano-USD more in those `spare` that lost most, in order.

    exact: their amounts in 1 / denominator nano-USD.
    """
    rows = list(lines)
    by_loss = sorted(range(len(rows)), key=lambda position: -(exact[position] % denominator))
    for position in by_loss[:spare]:
        row = rows[position]
        rows[position] = row._replace(cost_nano=row.cost_nano + 1)
    return tuple(rows)


def sum_of(first: Cost, second: Cost) -> Cost:
    """The costs of two models in one attempt, each rounded on its own; unknown where one of them is."""
    nano = None if first.nano is None or second.nano is None else first.nano + second.nano
    upper = (
        None
        if first.upper_nano is None or second.upper_nano is None
        else first.upper_nano + second.upper_nano
    )
    statuses = {first.status, second.status}
    return Cost(
        nano,
        "unpriced" if nano is None else "free" if statuses == {"free"} else "priced",
        first.lines + second.lines,
        tuple(dict.fromkeys(first.entry_ids + second.entry_ids)),
        upper,
        first.unpriced_units + second.unpriced_units,
        first.notes + second.notes,
    )
