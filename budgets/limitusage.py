"""LimitUsage: a limit with what is spent, reserved and doubted on it, as a row's content tells it. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from budgets.limit import RATE_KINDS, LimitTerms
from budgets.rowset import Row
from budgets.window import Window

ROW = struct.Struct("<3q")
"""A row: spent, reserved, doubted."""
MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """One limit for one thing (`key`, its scope key) in the present window.

    Amounts are nano-USD for the kind money, else counts. `value` is the value in force, read from the
    ledger. `used`: the requests or tokens of a rate that are not free again yet, None for other kinds.
    `published` False: the ledger does not know the limit, and the figures say nothing.
    """

    limit: LimitTerms
    key: str
    window: Window
    value: int
    spent: int
    reserved: int
    doubted: int
    published: bool
    used: int | None = None

    @property
    def remaining(self) -> int:
        """What may still be held; negative after an overrun or a lowered limit. For a rate: free just now."""
        if self.used is not None:
            return self.value - self.used
        return self.value - self.spent - self.reserved - self.doubted


@dataclass(frozen=True, slots=True)
class EachUsage:
    """A limit on each thing of a scope: its rows in the present window, the least remaining first.

    `total`: how many things have a row; `rows` may be fewer.
    """

    limit: LimitTerms
    window: Window
    value: int
    published: bool
    rows: tuple[LimitUsage, ...]
    total: int


def usage_of(place: Row, key: str, value: int | None, content: bytes | None, now_us: int) -> LimitUsage:
    """The usage that a row's content and its value in force tell; None: there is none."""
    limit, published = place.limit, value is not None
    in_force = limit.value if value is None else value
    if limit.kind in RATE_KINDS:
        used = in_force - _free(in_force, int(content or 0), now_us)
        return LimitUsage(limit, key, place.window, in_force, 0, 0, 0, published, used)
    spent, reserved, doubted = ROW.unpack(content) if content else (0, 0, 0)
    return LimitUsage(limit, key, place.window, in_force, spent, reserved, doubted, published)


def _free(value: int, arrival_us: int, now_us: int) -> int:
    """How much of a rate could be taken at once: what lies ahead of now is taken, and a minute may be.

    A fiftieth of one is given back for the fractions of a microsecond by which each request was rounded up.
    """
    left_us = MINUTE_US - max(0, arrival_us - now_us)
    return min(value, (left_us * value + MINUTE_US // 50) // MINUTE_US)
