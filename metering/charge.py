"""What counts cost at flat rates: from overlapping counts to disjoint ones, times rates, to nano-USD. Pure.

Counts overlap (cached tokens are inside input tokens, cached audio is inside both cached and audio), so each
count is first reduced by what is counted more precisely below it; what is left is charged at its own rate.
Rates are whole pico-USD and their sum is rounded to nano-USD once, half to even. What has no rate is never
charged 0: either it falls back to another unit's rate and is named in `unpriced_units`, or the cost is
unknown. Counts that contradict each other are charged in the way a bill has been seen to read them, or else
in the dearest way they can be read, and the cost says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Literal

from metering.money import PICO_PER_NANO, half_even
from metering.units import UNITS, depth, join_of
from metering.usage import FIELDS, Usage, counts

Status = Literal["priced", "unpriced", "free"]
_Apart = Literal["overlapping", "in full"]
# Plans are kept per combination of counted units. A model meets a handful; this bounds a hostile provider.
_PLANS_MAX = 256


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a breakdown. `price_pico` is per unit; for seconds it is per hour (`Unit.per`)."""

    unit: str
    quantity: int
    price_pico: int
    cost_nano: int


@dataclass(frozen=True, slots=True)
class Cost:
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


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one combination of counted units is charged; worked out once per combination and band.

    nodes: (index of the count, positions of more precise nodes, weight, unit, pico), most precise first;
    weight / denominator is nano-USD per unit. gaps: (position, unit, fatal, bounded) of units without a rate
    of their own.
    """

    nodes: tuple[tuple[int, tuple[int, ...], int, str, int], ...]
    denominator: int
    gaps: tuple[tuple[int, str, bool, bool], ...]
    absorbed: tuple[tuple[int, int], ...]
    entry_ids: tuple[str, ...]


class Band:
    """The flat rates between two context thresholds of one price sheet."""

    __slots__ = ("_plans", "billed_as", "free", "minimums", "rates")

    def __init__(
        self,
        rates: Mapping[str, tuple[int, str]],
        billed_as: Mapping[str, str],
        minimums: Mapping[str, int],
    ) -> None:
        self.rates = rates
        self.billed_as = billed_as
        self.minimums = minimums
        self.free = bool(rates) and not any(pico for pico, _ in rates.values())
        self._plans: dict[tuple[object, ...], _Plan] = {}

    def cost(self, usage: Usage, notes: tuple[str, ...] = ()) -> Cost:
        """What `usage` costs at these rates."""
        names: tuple[str, ...] = FIELDS
        amounts: tuple[int, ...] = counts(usage)
        if usage.extra:
            names, amounts = _with_extra(amounts, usage.extra)
        if self.minimums:
            amounts = tuple(
                max(amount, self.minimums.get(name, 0)) if amount else 0
                for name, amount in zip(names, amounts, strict=True)
            )
        return self._charged(names, amounts, notes, apart=None)

    def _charged(
        self,
        names: tuple[str, ...],
        amounts: tuple[int, ...],
        notes: tuple[str, ...],
        *,
        apart: _Apart | None,
    ) -> Cost:
        present = tuple(map(bool, amounts))
        key = present if names is FIELDS else (names, present)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._planned(names, present)
        if plan.absorbed and not apart:
            for part, whole in plan.absorbed:
                if amounts[part] > amounts[whole]:
                    return self._contradicted(names, amounts, notes, plan, [])
        leaves: list[int] = []
        charged: list[tuple[str, int, int, int]] = []
        total = 0
        for index, inner, weight, unit, pico in plan.nodes:
            quantity = amounts[index]
            if inner:
                for position in inner:
                    quantity -= leaves[position]
            if quantity < 0:
                if apart is None:
                    return self._contradicted(names, amounts, notes, plan, leaves)
                quantity = amounts[index]
                largest = max(leaves[position] for position in inner)
                if apart == "overlapping" and largest <= quantity:
                    quantity -= largest
            leaves.append(quantity)
            if quantity and weight >= 0:
                amount = quantity * weight
                total += amount
                charged.append((unit, quantity, pico, amount))
        nano = half_even(total, plan.denominator)
        lines = _lines(charged, nano, plan.denominator)
        if plan.gaps:
            gaps = [gap for gap in plan.gaps if leaves[gap[0]]]
            if gaps:
                unpriced = tuple(unit for _, unit, _, _ in gaps)
                if any(fatal for _, _, fatal, _ in gaps):
                    return Cost(None, "unpriced", lines, plan.entry_ids, None, unpriced, notes)
                upper = nano if all(bounded for _, _, _, bounded in gaps) else None
                return Cost(nano, "priced", lines, plan.entry_ids, upper, unpriced, notes)
        return Cost(nano, "free" if self.free else "priced", lines, plan.entry_ids, nano, (), notes)

    def _contradicted(
        self,
        names: tuple[str, ...],
        amounts: tuple[int, ...],
        notes: tuple[str, ...],
        plan: _Plan,
        leaves: Sequence[int],
    ) -> Cost:
        """Counts whose parts exceed their whole.

        Two kinds of parts can overlap (cached and audio): then only as much as must be is taken for both.
        Parts that fit into the whole one by one are taken to overlap, too. Otherwise the whole was reported
        without its parts, or one figure is wrong: each is charged in full.
        """
        if any(amount < 0 for amount in amounts):
            negative = tuple(name for name, amount in zip(names, amounts, strict=True) if amount < 0)
            notes = (*notes, f"negative counts were taken as 0: {', '.join(negative)}")
            return self._charged(names, tuple(max(amount, 0) for amount in amounts), notes, apart=None)
        if not leaves:
            parts = ", ".join(
                f"{names[p]} ({amounts[p]})" for p, w in plan.absorbed if amounts[p] > amounts[w]
            )
            note = f"{parts} exceeds the count that includes it; the larger was charged"
            raised = list(amounts)
            for part, whole in plan.absorbed:
                raised[whole] = max(raised[whole], raised[part])
            return self._charged(names, tuple(raised), (*notes, note), apart=None)
        index, inner, _, unit, _ = plan.nodes[len(leaves)]
        excess = sum(leaves[position] for position in inner) - amounts[index]
        overlap = _overlap(plan, leaves, inner, excess)
        if overlap is not None:
            both = dict(zip(names, amounts, strict=True))
            both[overlap] = both.get(overlap, 0) + excess
            note = f"{excess} {overlap} were not reported, but follow from the other counts"
            return self._charged(tuple(both), tuple(both.values()), (*notes, note), apart=None)
        parts = " + ".join(f"{plan.nodes[p][3]} ({leaves[p]})" for p in inner)
        if all(leaves[position] <= amounts[index] for position in inner):
            # A bill of OpenRouter's, recorded with both figures, charges tokens that were read from the cache
            # and written again as both, and takes them out of the input once.
            note = f"{parts} exceeds {unit} ({amounts[index]}); what is in two of them was charged as both"
            upper = self._charged(names, amounts, notes, apart="in full").upper_nano
            cost = self._charged(names, amounts, (*notes, note), apart="overlapping")
            return replace(cost, upper_nano=None if cost.upper_nano is None else upper)
        note = f"{parts} exceeds {unit} ({amounts[index]}); each was charged in full"
        return self._charged(names, amounts, (*notes, note), apart="in full")

    def _planned(self, names: tuple[str, ...], present: tuple[bool, ...]) -> _Plan:
        if len(self._plans) >= _PLANS_MAX:
            self._plans.clear()
        indexes = {name: index for index, name in enumerate(names) if present[index]}
        absorbing = {
            name: whole for name in indexes if (whole := self._absorbed_by(name)) and whole in indexes
        }
        units = [name for name in indexes if name not in absorbing and self._chargeable(name)]
        units.sort(key=lambda name: (-depth(name) if name in UNITS else 0, names.index(name)))
        found = {name: self._resolved(name) for name in units}
        scale = lcm(*(UNITS[name].per for name in units if name in UNITS))
        nodes: list[tuple[int, tuple[int, ...], int, str, int]] = []
        gaps: list[tuple[int, str, bool, bool]] = []
        for position, name in enumerate(units):
            inner = tuple(p for p in range(position) if units[p] in UNITS and name in UNITS[units[p]].within)
            resolved = found[name]
            if resolved is None:
                nodes.append((indexes[name], inner, -1, name, 0))
                gaps.append((position, name, True, False))
                continue
            pico, _, told, bounded = resolved
            nodes.append((indexes[name], inner, pico * scale // UNITS[name].per, name, pico))
            if told:
                gaps.append((position, name, False, bounded))
        return _Plan(
            nodes=tuple(nodes),
            denominator=PICO_PER_NANO * scale,
            gaps=tuple(gaps),
            absorbed=tuple((indexes[name], indexes[whole]) for name, whole in absorbing.items()),
            entry_ids=tuple(dict.fromkeys(r[1] for n in names if (r := found.get(n)) is not None)),
        )

    def _absorbed_by(self, name: str) -> str | None:
        """The count that already charges this one, where the list bills both alike."""
        if name in self.rates or name not in UNITS:
            return None
        if name in self.billed_as:
            return self.billed_as[name]
        # What is both cached and image is cached input, where images are billed as input.
        within = UNITS[name].within
        if any(whole in self.billed_as and whole not in self.rates for whole in within):
            rest = [whole for whole in within if whole not in self.billed_as]
            return max(rest, key=depth, default=None)
        return None

    def _chargeable(self, name: str) -> bool:
        return name in self.rates or name not in UNITS or not UNITS[name].optional

    def _resolved(self, name: str) -> tuple[int, str, bool, bool] | None:
        """(pico, entry id, told, bounded) of the unit's own rate or the one that stands in; None without."""
        told, bounded = False, True
        while name in UNITS:
            rate = self.rates.get(name)
            if rate is not None:
                return rate[0], rate[1], told, bounded
            if name in self.billed_as:
                name = self.billed_as[name]
                continue
            fallback = UNITS[name].fallback
            if fallback is None:
                return None
            told, bounded = told or fallback.told, bounded and fallback.bounds
            name = fallback.unit
        return None

    def prices(self, unit: str) -> bool:
        """True where a count of this unit does not make the cost unknown."""
        return self._resolved(unit) is not None or not self._chargeable(unit)

    def dearest(self, direction: str, *, media: bool) -> int | None:
        """The highest rate of any token in that direction, None without one."""
        picos = [
            pico
            for name, (pico, _) in self.rates.items()
            if (unit := UNITS[name]).family == "tokens"
            and unit.direction == direction
            and (media or not unit.media)
        ]
        return max(picos, default=None)


def _with_extra(
    amounts: tuple[int, ...], extra: tuple[tuple[str, int], ...]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    merged = dict(zip(FIELDS, amounts, strict=True))
    for name, quantity in extra:
        merged[name] = merged.get(name, 0) + quantity
    return tuple(merged), tuple(merged.values())


def _overlap(plan: _Plan, leaves: Sequence[int], inner: Sequence[int], excess: int) -> str | None:
    """The unit counting what is in two of the parts, where such an overlap can explain the excess."""
    for first in inner:
        for second in inner:
            if first < second and min(leaves[first], leaves[second]) >= excess:
                joined = join_of(plan.nodes[first][3], plan.nodes[second][3])
                if joined is not None:
                    return joined
    return None


def _lines(charged: Sequence[tuple[str, int, int, int]], nano: int, denominator: int) -> tuple[Line, ...]:
    """Rows that add up to `nano`: each rounded down, the rest to those that lost most, in order."""
    lines: list[Line] = []
    spare = nano
    for unit, quantity, pico, amount in charged:
        floor = amount // denominator
        spare -= floor
        lines.append(Line(unit, quantity, pico, floor))
    if spare:
        by_loss = sorted(range(len(charged)), key=lambda i: -(charged[i][3] % denominator))
        for position in by_loss[:spare]:
            line = lines[position]
            lines[position] = replace(line, cost_nano=line.cost_nano + 1)
    return tuple(lines)
