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
from math import lcm
from operator import truth
from typing import Literal

from metering.cost import Cost, Line, rounded_up, row_of
from metering.money import PICO_PER_NANO, half_even
from metering.plan import GRADUATED, NO_TERMS, Plan, Terms, overlap_of, shares, with_extra
from metering.units import depth, unit_of, within
from metering.usage import FIELDS, Usage, counts

_Apart = Literal["overlapping", "in full"]
# Plans are kept per combination of counted units. A model meets a handful; this bounds a hostile provider.
_PLANS_MAX = 256


class Band:
    """The rates between two context thresholds of one price sheet.

    rates: unit -> (pico-USD, entry id). graduated: unit -> (above, pico) steps by the number of that unit
    itself; each part is charged at its own step's rate, and `rates` has the dearest of them.
    """

    __slots__ = ("_plans", "free", "graduated", "rates", "terms")

    def __init__(
        self,
        rates: Mapping[str, tuple[int, str]],
        terms: Terms = NO_TERMS,
        graduated: Mapping[str, tuple[tuple[int, int], ...]] | None = None,
    ) -> None:
        self.rates = rates
        self.terms = terms
        self.graduated = graduated or {}
        self.free = bool(rates) and not any(pico for pico, _ in rates.values())
        self._plans: dict[tuple[object, ...], Plan] = {}

    def cost(self, usage: Usage, notes: tuple[str, ...] = ()) -> Cost:
        """What `usage` costs at these rates."""
        names: tuple[str, ...] = FIELDS
        amounts: tuple[int, ...] = counts(usage)
        if usage.extra:
            names, amounts = with_extra(amounts, usage.extra)
        if self.terms.minimums or (self.terms.once and usage.extra):
            amounts = self._billed(names, amounts)
        return self._charged(names, amounts, notes, apart=None)

    def _billed(self, names: tuple[str, ...], amounts: tuple[int, ...]) -> tuple[int, ...]:
        """The counts as they are billed, where that is not as they were reported."""
        once, minimums = self.terms.once, self.terms.minimums
        return tuple(
            (min(amount, 1) if name in once else max(amount, minimums.get(name, 0))) if amount else 0
            for name, amount in zip(names, amounts, strict=True)
        )

    def _charged(
        self,
        names: tuple[str, ...],
        amounts: tuple[int, ...],
        notes: tuple[str, ...],
        *,
        apart: _Apart | None,
    ) -> Cost:
        present = tuple(map(truth, amounts))
        key = present if names is FIELDS else (names, present)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._planned(names, present)
        if plan.absorbed and not apart:
            for part, whole in plan.absorbed:
                if amounts[part] > amounts[whole]:
                    return self._contradicted(names, amounts, notes, plan, [])
        leaves: list[int] = []
        lines: list[Line] = []
        exact: list[int] = []
        denominator = plan.denominator
        total = whole = 0
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
                exact.append(amount)
                floor = amount // denominator
                whole += floor
                lines.append(row_of(Line, (unit, quantity, pico, floor)))
            elif quantity and weight == GRADUATED:
                for share, step, price in shares(plan.steps[len(leaves) - 1], quantity):
                    amount = share * step
                    total += amount
                    exact.append(amount)
                    floor = amount // denominator
                    whole += floor
                    lines.append(Line(unit, share, price, floor))
        nano = half_even(total, denominator)
        rows = tuple(lines) if nano == whole else rounded_up(lines, exact, nano - whole, denominator)
        if plan.gaps:
            gaps = [gap for gap in plan.gaps if leaves[gap[0]]]
            if gaps:
                unpriced = tuple(unit for _, unit, _, _ in gaps)
                if any(fatal for _, _, fatal, _ in gaps):
                    return Cost(None, "unpriced", rows, plan.entry_ids, None, unpriced, notes)
                upper = nano if all(bounded for _, _, _, bounded in gaps) else None
                return Cost(nano, "priced", rows, plan.entry_ids, upper, unpriced, notes)
        status = "free" if self.free else "priced"
        return row_of(Cost, (nano, status, rows, plan.entry_ids, nano, (), notes))

    def _contradicted(
        self,
        names: tuple[str, ...],
        amounts: tuple[int, ...],
        notes: tuple[str, ...],
        plan: Plan,
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
        overlap = overlap_of(plan, leaves, inner, excess)
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
            return cost._replace(upper_nano=None if cost.upper_nano is None else upper)
        note = f"{parts} exceeds {unit} ({amounts[index]}); each was charged in full"
        return self._charged(names, amounts, (*notes, note), apart="in full")

    def _planned(self, names: tuple[str, ...], present: tuple[bool, ...]) -> Plan:
        if len(self._plans) >= _PLANS_MAX:
            self._plans.clear()
        indexes = {name: index for index, name in enumerate(names) if present[index]}
        absorbing = {
            name: whole for name in indexes if (whole := self._absorbed_by(name)) and whole in indexes
        }
        units = [name for name in indexes if name not in absorbing and self._chargeable(name)]
        units.sort(key=lambda name: (-depth(name), names.index(name)))
        found = {name: self._resolved(name) for name in units}
        known = [unit for name in units if (unit := unit_of(name)) is not None]
        scale = lcm(*(unit.per for unit in known))
        inside = {unit.name: unit.within for unit in known}
        nodes: list[tuple[int, tuple[int, ...], int, str, int]] = []
        gaps: list[tuple[int, str, bool, bool]] = []
        steps: dict[int, tuple[tuple[int, int, int], ...]] = {}
        for position, name in enumerate(units):
            inner = tuple(p for p in range(position) if name in inside.get(units[p], ()))
            resolved = found[name]
            if resolved is None:
                nodes.append((indexes[name], inner, -1, name, 0))
                gaps.append((position, name, True, False))
                continue
            rated, pico, _, told, bounded = resolved
            per = scale // per_of(name)
            if rated in self.graduated:
                steps[position] = tuple((above, step * per, step) for above, step in self.graduated[rated])
                nodes.append((indexes[name], inner, GRADUATED, name, pico))
            else:
                nodes.append((indexes[name], inner, pico * per, name, pico))
            if told:
                gaps.append((position, name, False, bounded))
        return Plan(
            nodes=tuple(nodes),
            denominator=PICO_PER_NANO * scale,
            gaps=tuple(gaps),
            absorbed=tuple((indexes[name], indexes[whole]) for name, whole in absorbing.items()),
            entry_ids=tuple(dict.fromkeys(r[2] for n in names if (r := found.get(n)) is not None)),
            steps=steps,
        )

    def _absorbed_by(self, name: str) -> str | None:
        """The count that already charges this one, where the list bills both alike."""
        unit, billed_as = unit_of(name), self.terms.billed_as
        if name in self.rates or unit is None:
            return None
        if name in billed_as:
            return billed_as[name]
        # What is both cached and image is cached input, where images are billed as input.
        if any(whole in billed_as and whole not in self.rates for whole in unit.within):
            rest = [whole for whole in unit.within if whole not in billed_as]
            return max(rest, key=depth, default=None)
        return None

    def _chargeable(self, name: str) -> bool:
        unit = unit_of(name)
        return name in self.rates or unit is None or not unit.optional

    def _resolved(self, name: str) -> tuple[str, int, str, bool, bool] | None:
        """(unit, pico, entry id, told, bounded) of its own rate, or of the one that stands in, or None."""
        told, bounded = False, True
        while (unit := unit_of(name)) is not None:
            rate = self.rates.get(name)
            if rate is not None:
                return name, rate[0], rate[1], told, bounded
            if name in self.terms.billed_as:
                name = self.terms.billed_as[name]
                continue
            if unit.fallback is None:
                return None
            told, bounded = told or unit.fallback.told, bounded and unit.fallback.bounds
            name = unit.fallback.unit
        return None

    def prices(self, unit: str) -> bool:
        """True where a count of this unit does not make the cost unknown."""
        return self._resolved(unit) is not None or not self._chargeable(unit)

    def dearest(self, direction: str, *, media: bool) -> int | None:
        """The highest rate of any token in that direction, None without one."""
        picos = [
            pico
            for name, (pico, _) in self.rates.items()
            if (unit := unit_of(name)) is not None
            and unit.family == "tokens"
            and unit.direction == direction
            and (media or not unit.media)
        ]
        return max(picos, default=None)

    def dearest_of(self, name: str) -> int | None:
        """The highest rate one of these can be charged at, however it is told apart; None without one."""
        resolved = self._resolved(name)
        picos = [pico for rated, (pico, _) in self.rates.items() if rated == name or within(rated, name)]
        if resolved is not None:
            picos.append(resolved[1])
        return max(picos, default=None)


def per_of(name: str) -> int:
    """How many of the unit one price covers."""
    unit = unit_of(name)
    return unit.per if unit is not None else 1
