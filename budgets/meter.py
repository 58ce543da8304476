"""Meter: what limits of plans count on, as making whole and comparing must know it. Pure.

Rows of a plan's limit belong to its customers, and which requests count on them was decided when each was
opened: by the plan that the customer was on. The event tells that plan (its label), so what a row should say
is the sum over events with one of the meter's labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from budgets.limit import PART_SEPARATOR


@dataclass(frozen=True, slots=True)
class Meter:
    """What is counted, for each customer: `feature` None counts all features together.

    `labels`: of the plan versions that count it. It has no value of its own: each plan has one.
    """

    id: str
    feature: str | None
    kind: str
    window: str
    time_zone: str
    anchor: int
    labels: frozenset[str]

    @property
    def scope(self) -> str:
        return "customer" if self.feature is None else "customer_feature"

    @property
    def scope_id(self) -> str:
        return "*" if self.feature is None else f"*{PART_SEPARATOR}{self.feature}"

    @property
    def enforcement(self) -> str:
        return "hard"

    @property
    def value(self) -> int:
        return 0

    @property
    def value_id(self) -> str:
        return self.id

    @property
    def carry(self) -> None:
        """Nothing: values are the plans'."""

    @property
    def thresholds(self) -> tuple[int, ...]:
        return ()

    @property
    def version(self) -> int:
        return 1

    @property
    def created_ms(self) -> int:
        """Events before the first plan that counts this have none of the labels."""
        return 0
