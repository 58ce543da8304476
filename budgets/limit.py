"""What a limit is, and the bounds inside which the ledger's arithmetic is exact. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from budgets.window import WINDOW_KINDS

AMOUNT_MAX = 2**53 - 1
"""Lua compares doubles: every amount, counter and limit stays at or below this (about $9.0 million)."""

Enforcement = Literal["hard", "soft", "shadow"]
ENFORCEMENTS: tuple[Enforcement, ...] = ("hard", "soft", "shadow")


class LimitTerms(Protocol):
    """What the ledger reads of a limit, whoever keeps the record of it."""

    @property
    def id(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def scope_id(self) -> str: ...
    @property
    def window(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def enforcement(self) -> str: ...
    @property
    def value_nano(self) -> int: ...
    @property
    def version(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on money (nano-USD) for a scope and window.

    hard: refuses what would go past it. soft and shadow count but never refuse; soft is meant to be told
    to people, shadow only to be looked at before it is made hard.
    """

    id: str
    scope: str
    scope_id: str
    window: str
    kind: str
    enforcement: str
    value_nano: int
    version: int = 1

    def __post_init__(self) -> None:
        check_terms(self)


def check_terms(limit: LimitTerms) -> None:
    """Raise ValueError, naming what is wrong, when the ledger could not keep this limit exactly."""
    if limit.window not in WINDOW_KINDS:
        raise ValueError(f"window {limit.window!r} is unknown; known: {', '.join(WINDOW_KINDS)}")
    if limit.enforcement not in ENFORCEMENTS:
        raise ValueError(f"enforcement {limit.enforcement!r} is unknown; known: {', '.join(ENFORCEMENTS)}")
    if limit.kind != "money":
        raise ValueError(f"kind {limit.kind!r} is unknown; known: money")
    check_amount(limit.value_nano, "the limit's value")


def check_amount(amount: int, what: str) -> int:
    """`amount` itself when it is an integer between 0 and AMOUNT_MAX nano-USD, else ValueError."""
    if type(amount) is not int or not 0 <= amount <= AMOUNT_MAX:
        raise ValueError(f"{what} must be an integer from 0 to {AMOUNT_MAX} nano-USD, not {amount!r}")
    return amount
