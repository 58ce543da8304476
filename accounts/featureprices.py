"""Prices of features: what a customer owes for one unit, whatever its plan, from a moment on. No I/O.

Entries are added and never changed: the price of an event is that of the moment at which it began, however
late it is stored. Of two entries with one moment the later recorded counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from accounts.feature import check_feature
from metering.money import NANO_MAX

UNIT = "token"
LABEL_MAX = 64


@dataclass(frozen=True, slots=True)
class FeaturePrice:
    """`price_pico` pico-USD for each unit from `effective_ms` on; None: no price of its own from then on.

    `unit_label` is what people call a unit. `created_ms`: when it was recorded.
    """

    feature: str
    effective_ms: int
    price_pico: int | None
    unit_label: str = UNIT
    created_ms: int = 0


def check_feature_price(price: FeaturePrice) -> None:
    """Raise ValueError, naming what is wrong."""
    check_feature(price.feature)
    if price.price_pico is not None and not 0 <= price.price_pico <= NANO_MAX:
        raise ValueError(
            f"feature {price.feature}: the price of a unit is {price.price_pico} pico-dollars, "
            f"not an amount from 0 to {NANO_MAX}"
        )
    label = price.unit_label
    if not label or len(label) > LABEL_MAX or not label.isprintable():
        raise ValueError(f"feature {price.feature}: a unit's name has 1 to {LABEL_MAX} printable characters")
    if price.effective_ms < 0:
        raise ValueError(f"feature {price.feature}: a price begins in 1970 at the earliest")


class FeaturePrices:
    """The prices of one account's features, as they were recorded."""

    def __init__(self, entries: Iterable[FeaturePrice] = ()) -> None:
        """`entries` in the order in which they were recorded."""
        self._entries: dict[str, list[FeaturePrice]] = {}
        for entry in sorted(entries, key=lambda each: each.effective_ms):  # stable: recorded order stays
            self._entries.setdefault(entry.feature, []).append(entry)

    def at(self, feature: str, moment_ms: int) -> FeaturePrice | None:
        """The price in force; None where there is none then."""
        entries = self._entries.get(feature)
        if entries is None:
            return None
        place = bisect_right(entries, moment_ms, key=lambda each: each.effective_ms)
        found = entries[place - 1] if place else None
        return None if found is None or found.price_pico is None else found

    def entries(self) -> list[FeaturePrice]:
        """All of them, by feature and moment."""
        return [each for feature in sorted(self._entries) for each in self._entries[feature]]
