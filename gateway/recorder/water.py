"""When entries must leave Redis though they cannot be stored, and how many. Pure."""

from __future__ import annotations

from dataclasses import dataclass

HIGH_WATER = 50_000
"""Entries in all outboxes from which on they are spilled while the database is away; about 100 MB."""
MEMORY_HIGH_PERCENT = 80
"""The same, of Redis' memory where it has a bound."""
LOW_WATER_PERCENT = 80
MEMORY_LOW_PERCENT = 75
"""Spilling goes on until both are reached, so that it does not begin again at once."""
SPILL_MAX = 2_000
"""Entries brought to the disk with one sync."""


@dataclass(frozen=True, slots=True)
class Water:
    """How full Redis is: entries in all outboxes, and the share of its memory in use on the fullest node.

    `memory_percent` is 0 where Redis has no bound of memory.
    """

    entries: int
    memory_percent: int


def too_high(water: Water, high_water: int) -> bool:
    """Must entries leave Redis while they cannot be stored?"""
    return water.entries > high_water or water.memory_percent >= MEMORY_HIGH_PERCENT


def low_enough(water: Water, high_water: int) -> bool:
    """Have enough left?"""
    return water.entries <= _low(high_water) and water.memory_percent < MEMORY_LOW_PERCENT


def excess(water: Water, high_water: int) -> int:
    """How many to spill at once: no more than must go, where their number is all that matters."""
    if water.memory_percent >= MEMORY_LOW_PERCENT:
        return SPILL_MAX
    return min(SPILL_MAX, max(0, water.entries - _low(high_water)))


def _low(high_water: int) -> int:
    return high_water * LOW_WATER_PERCENT // 100
