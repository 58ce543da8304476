"""RetryBudget: how much extra load one provider may get from attempts that repeat others. Pure.

Each request that reaches a provider earns it a part of one more attempt, and each attempt beyond a request's
first spends a whole one. So attempts stay below (100 + percent) % of requests while a provider is in trouble,
however many requests fail; and an idle gateway still has a few to spend.
"""

from __future__ import annotations

SAVED_MAX = 10
"""Attempts that can be saved up, and what a new worker begins with."""


class RetryBudget:
    """One worker's budget for one provider."""

    __slots__ = ("_percent", "_saved")

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._saved = SAVED_MAX * 100 if percent else 0  # in hundredths of an attempt

    def earn(self) -> None:
        """A request made its first attempt here."""
        saved = self._saved + self._percent
        self._saved = saved if saved < SAVED_MAX * 100 else SAVED_MAX * 100

    def spend(self) -> bool:
        """May one more attempt be made? It is taken, if so."""
        if self._saved < 100:
            return False
        self._saved -= 100
        return True
