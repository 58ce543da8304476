"""How a combination of counts is billed: the terms of a model, and the plan worked out from its rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from metering.units import join_of
from metering.usage import FIELDS

_FIELDS = frozenset(FIELDS)
GRADUATED = -2
"""The weight of a node whose rate changes with its own number."""


class Terms(NamedTuple):
    """How a model's counts are billed, whatever the rates.

    billed_as: counts reported apart but charged inside another. once: charged once for a request, however
    many there were. minimums: the least quantity charged where there is any.
    """

    billed_as: Mapping[str, str] = {}
    once: frozenset[str] = frozenset()
    minimums: Mapping[str, int] = {}


NO_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Plan:
    """How one combination of counted units is charged; worked out once per combination and band.

    nodes: (index of the count, positions of more precise nodes, weight, unit, pico), most precise first;
    weight / denominator is nano-USD per unit. gaps: (position, unit, fatal, bounded) of units without a rate
    of their own. steps: by position, (above, weight, pico) of units whose rate changes with their number.
    """

    nodes: tuple[tuple[int, tuple[int, ...], int, str, int], ...]
    denominator: int
    gaps: tuple[tuple[int, str, bool, bool], ...]
    absorbed: tuple[tuple[int, int], ...]
    entry_ids: tuple[str, ...]
    steps: Mapping[int, tuple[tuple[int, int, int], ...]] = field(default_factory=dict)


def shares(steps: Sequence[tuple[int, int, int]], quantity: int) -> list[tuple[int, int, int]]:
    """(quantity, weight, pico) of the part of a quantity that each step covers."""
    shares = []
    for position, (above, weight, pico) in enumerate(steps):
        end = steps[position + 1][0] if position + 1 < len(steps) else quantity
        part = min(quantity, end) - max(above, 0)
        if part > 0:
            shares.append((part, weight, pico))
    return shares


def with_extra(
    amounts: tuple[int, ...], extra: tuple[tuple[str, int], ...]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """(names, amounts) of the usual counts and the extra ones; what is named twice is added up."""
    names = tuple([name for name, _ in extra])
    if len(set(names)) == len(names) and _FIELDS.isdisjoint(names):
        return FIELDS + names, amounts + tuple([quantity for _, quantity in extra])
    merged = dict(zip(FIELDS, amounts, strict=True))
    for name, quantity in extra:
        merged[name] = merged.get(name, 0) + quantity
    return tuple(merged), tuple(merged.values())


def overlap_of(plan: Plan, leaves: Sequence[int], inner: Sequence[int], excess: int) -> str | None:
    """The unit counting what is in two of the parts, where such an overlap can explain the excess."""
    for first in inner:
        for second in inner:
            if first < second and min(leaves[first], leaves[second]) >= excess:
                joined = join_of(plan.nodes[first][3], plan.nodes[second][3])
                if joined is not None:
                    return joined
    return None
