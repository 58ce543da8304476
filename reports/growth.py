"""Growth: whose spending runs away from what it was on average. Pure, exact whole numbers.

The spending of a last span is held against the average of `before` spans of the same length that came before
it. With `recent` and `earlier` the exact sums of both,

    growth = recent x before - earlier        in 1 / before nano-USD

so nothing is rounded before rows are compared: the row with the largest growth comes first, of equal ones the
one with the larger recent cost, then by name. What is shown is growth / before, rounded half to even.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metering.money import half_even

Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """One row: what was spent in the last span, and in all of the `before` spans before it together."""

    key: Key
    recent_nano: int
    earlier_nano: int
    before: int

    @property
    def exact(self) -> int:
        """How much more than on average, in 1 / before nano-USD."""
        return self.recent_nano * self.before - self.earlier_nano

    @property
    def growth_nano(self) -> int:
        """The same in nano-USD."""
        return half_even(self.exact, self.before)

    @property
    def average_nano(self) -> int:
        """What was spent on average before."""
        return half_even(self.earlier_nano, self.before)

    @property
    def times_ppm(self) -> int | None:
        """How many times the average, in millionths; None where nothing was spent before."""
        if self.earlier_nano <= 0:
            return None
        return half_even(self.recent_nano * self.before * 1_000_000, self.earlier_nano)


def runaways(recent: Mapping[Key, int], earlier: Mapping[Key, int], before: int) -> list[Growth]:
    """Those that spend more than on average before, the most first. Maps: nano-USD by key."""
    found = [Growth(key, nano, earlier.get(key, 0), before) for key, nano in recent.items()]
    found = [each for each in found if each.exact > 0]
    found.sort(key=lambda each: (-each.exact, -each.recent_nano, [part or "" for part in each.key]))
    return found
