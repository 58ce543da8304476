"""Hold and Settled: the amounts of one request, at its opening and at its end, for every meter. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from budgets.limit import check_amount

Step = Literal["full", "assumed", "clamped"]
_ONE = (1, 1, 1)
_NO_TOKENS = (0, 0, 0)


@dataclass(slots=True)
class Hold:
    """How much to hold: three ceilings that differ only when nobody named a maximum output.

    full: at the client's own maximum, or at the model's. assumed: at the maximum that is assumed and
    written otherwise. least: at the smallest useful maximum. On hard limits `full` is granted when it fits
    `ample_factor` times, else `assumed`, else what is left down to `least`. When all three are equal,
    nothing but `full` is granted; without hard limits, always `full`. Nano-USD.

    input_tokens: a bound on them. output_tokens: theirs at full, assumed and least. likely_tokens: an
    estimate of all tokens, which is what a rate of tokens is charged until the end.
    """

    full: int
    assumed: int
    least: int
    ample_factor: int = 20
    input_tokens: int = 0
    output_tokens: tuple[int, int, int] = _NO_TOKENS
    likely_tokens: int = 0

    def __post_init__(self) -> None:
        check_amount(self.full, "the hold's full amount")
        check_amount(self.assumed, "the hold's assumed amount")
        check_amount(self.least, "the hold's least amount")
        if not self.least <= self.assumed <= self.full:
            raise ValueError(f"a hold needs least <= assumed <= full, not {self}")

    def of(self, meter: str) -> tuple[int, int, int]:
        """(full, assumed, least) on rows of this meter."""
        if meter == "m":
            return self.full, self.assumed, self.least
        if meter in "rcq":
            return _ONE
        if meter == "k":
            return (self.likely_tokens,) * 3
        if meter == "i":
            return (self.input_tokens,) * 3
        full, assumed, least = self.output_tokens
        if meter == "o":
            return full, assumed, least
        given = self.input_tokens
        return given + full, given + assumed, given + least

    def step_of(self, held: Mapping[str, int]) -> Step:
        """Which of the rule's grants this is: the scantiest over all meters."""
        step: Step = "full"
        for meter, amount in held.items():
            full, assumed, _ = self.of(meter)
            if amount == full:
                continue
            if amount != assumed:
                return "clamped"
            step = "assumed"
        return step

    def granted(self, free: int) -> int | None:
        """What a hard limit of money with so much free grants; None where nothing fits."""
        if self.full == self.least or free >= self.ample_factor * self.full:
            return self.full if free >= self.full else None
        if free >= self.assumed:
            return self.assumed
        return free if free >= self.least else None


@dataclass(slots=True)
class Settled:
    """What a request came to. Nano-USD and counts; `doubted` amounts stay held until they are known."""

    spent_nano: int
    doubted_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    doubted_input_tokens: int = 0
    doubted_output_tokens: int = 0
    requests: int = 1

    def __post_init__(self) -> None:
        check_amount(self.spent_nano, "the spent amount")
        check_amount(self.doubted_nano, "the doubted amount")
        doubted = self.doubted_input_tokens or self.doubted_output_tokens
        if not (self.input_tokens or self.output_tokens or doubted):
            return  # of limits that count no tokens, as most do
        check_amount(self.input_tokens, "the input tokens")
        check_amount(self.output_tokens, "the output tokens")
        check_amount(self.doubted_input_tokens, "the doubted input tokens")
        check_amount(self.doubted_output_tokens, "the doubted output tokens")

    def of(self, meter: str) -> tuple[int, int]:
        """(spent, doubted) on rows of this meter."""
        if meter == "m":
            return self.spent_nano, self.doubted_nano
        if meter == "r":
            return self.requests, 0
        if meter == "i":
            return self.input_tokens, self.doubted_input_tokens
        if meter == "o":
            return self.output_tokens, self.doubted_output_tokens
        if meter in "tk":
            return (
                self.input_tokens + self.output_tokens,
                self.doubted_input_tokens + self.doubted_output_tokens,
            )
        return 0, 0


@dataclass(frozen=True, slots=True)
class Extra:
    """How much more to hold for a running request."""

    nano: int
    input_tokens: int = 0
    output_tokens: int = 0

    def of(self, meter: str) -> int:
        """The extra on rows of this meter; a request more is not one."""
        if meter == "m":
            return self.nano
        return {
            "i": self.input_tokens,
            "o": self.output_tokens,
            "t": self.input_tokens + self.output_tokens,
        }.get(meter, 0)


NOTHING = Extra(0)
