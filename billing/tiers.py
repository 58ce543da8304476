"""Graduated prices and packages: what so many units of one period cost. Pure, exact whole numbers.

The cost of the first n units of a period is a function of n alone. What a part of the period owes is the
difference between its end and its beginning, so parts add up exactly to the period, in whatever order its
events came.
"""

from __future__ import annotations

from collections.abc import Sequence

from accounts.planprice import FeatureRate, Tier
from metering.money import PICO_PER_NANO, pico_to_nano_half_even


def cumulative_nano(rate: FeatureRate, units: int) -> int:
    """What the first `units` units of a period cost, by a rate of the model graduated or package.

    Rounded once, half to even. ValueError for another model.
    """
    if units < 0:
        raise ValueError(f"{units} units: usage of a period is not negative")
    if rate.model == "package":
        return -(-units // rate.package_units) * rate.package_nano
    if rate.model == "graduated":
        return pico_to_nano_half_even(_graduated_pico(rate.tiers, units))
    raise ValueError(f"the model {rate.model!r} is not charged by period")


def part_nano(rate: FeatureRate, units_before: int, units: int) -> int:
    """What `units` units cost that follow `units_before` of the same period."""
    return cumulative_nano(rate, units_before + units) - cumulative_nano(rate, units_before)


def _graduated_pico(tiers: Sequence[Tier], units: int) -> int:
    """Each unit at the price of its tier, and once the flat fee of every tier that was reached."""
    pico, below = 0, 0
    for tier in tiers:
        if units <= below:
            break
        end = units if tier.up_to is None else min(units, tier.up_to)
        pico += (end - below) * tier.price_pico + tier.flat_nano * PICO_PER_NANO
        below = end
    return pico
