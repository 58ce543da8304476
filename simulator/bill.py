"""What the provider will charge: one charge for each call, added up by request id, exact to the fraction.

A charge grows while its answer leaves; at its end it is rounded once, half-even, to nano-dollars.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from simulator.models import FREE, Rates

NANO = 10**9
REMEMBERED = 500_000
"""Requests shown one by one; older ones remain in the totals."""


@dataclass(slots=True)
class Charge:
    """One call's account.

    `cached` (read from a prompt cache), `written_5m` and `written_1h` (written to one) are inside
    `prompt_tokens`, `reasoning` is inside `completion_tokens`. `fees` are dollars for what is no token, such
    as searches, and `searches` says how many of those there were.
    """

    model: str = ""
    tier: str = "default"
    rates: Rates = FREE
    prompt_tokens: int = 0
    cached: int = 0
    written_5m: int = 0
    written_1h: int = 0
    searches: int = 0
    fees: Fraction = Fraction(0)
    completion_tokens: int = 0
    reasoning: int = 0
    status: int | None = None
    complete: bool = False
    closed: bool = False
    _final: tuple[Fraction, int] | None = None

    def begin(
        self,
        model: str,
        rates: Rates,
        prompt_tokens: int,
        *,
        tier: str = "default",
        cached: int = 0,
        written_5m: int = 0,
        written_1h: int = 0,
        searches: int = 0,
        fees: Fraction = Fraction(0),
    ) -> None:
        """The prompt has been read: it is charged for from now on."""
        self.model = model
        self.rates = rates
        self.tier = tier
        self.prompt_tokens = prompt_tokens
        self.cached = cached
        self.written_5m = written_5m
        self.written_1h = written_1h
        self.searches = searches
        self.fees = fees

    def amount(self) -> tuple[Fraction, int]:
        """Dollars so far, exact, and the same in nano-dollars, rounded half-even."""
        if self._final is not None:
            return self._final
        exact = (
            (self.prompt_tokens - self.cached - self.written_5m - self.written_1h) * self.rates.input
            + self.cached * self.rates.cached
            + self.written_5m * self.rates.written_5m
            + self.written_1h * self.rates.written_1h
            + self.completion_tokens * self.rates.output
            + self.fees
        )
        amount = exact, round(exact * NANO)
        if self.closed:
            self._final = amount
        return amount

    def document(self) -> dict[str, Any]:
        """This charge as one attempt on the bill."""
        exact, nano = self.amount()
        return {
            "model": self.model,
            "service_tier": self.tier,
            "prompt_tokens": self.prompt_tokens,
            "cached": self.cached,
            "written_5m": self.written_5m,
            "written_1h": self.written_1h,
            "completion_tokens": self.completion_tokens,
            "reasoning": self.reasoning,
            "searches": self.searches,
            "nano": nano,
            "exact": str(exact),
            "status": self.status,
            "complete": self.complete,
        }


def _sum(charges: Iterable[Charge]) -> tuple[Fraction, int]:
    amounts = [charge.amount() for charge in charges]
    return sum((exact for exact, _ in amounts), Fraction(0)), sum(nano for _, nano in amounts)


class Bill:
    """Every charge since the last reset, by request id."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._requests: dict[str, list[Charge]] = {}
        self._remembered = remembered
        self._forgotten = 0
        self._forgotten_nano = 0
        self._forgotten_exact = Fraction(0)

    def open(self, request_id: str) -> Charge:
        """A new attempt of `request_id`, at no cost yet."""
        charge = Charge()
        self._requests.setdefault(request_id, []).append(charge)
        if len(self._requests) > self._remembered:
            self._forget_oldest()
        return charge

    def close(self, charge: Charge, *, status: int | None, complete: bool) -> None:
        """End a charge. A second end changes nothing."""
        if not charge.closed:
            charge.closed = True
            charge.status = status
            charge.complete = complete

    def reset(self) -> None:
        """Forget everything, calls still running included."""
        self._requests.clear()
        self._forgotten = self._forgotten_nano = 0
        self._forgotten_exact = Fraction(0)

    def document(self, request_id: str | None = None, *, summary: bool = False) -> dict[str, Any]:
        """The bill; or the part of it for one request; or, as a `summary`, its totals only."""
        chosen = self._requests
        if request_id is not None:
            chosen = {request_id: chosen[request_id]} if request_id in chosen else {}
        exact, nano = _sum(charge for charges in chosen.values() for charge in charges)
        if request_id is None:
            exact += self._forgotten_exact
            nano += self._forgotten_nano
        entries = [] if summary else [_entry(name, charges) for name, charges in chosen.items()]
        return {
            "total_nano": nano,
            "total_exact": str(exact),
            "requests": entries,
            "forgotten": self._forgotten,
        }

    def _forget_oldest(self) -> None:
        """Move the oldest finished request into the totals; one still running is left until it ends."""
        oldest = next(
            (name for name, charges in self._requests.items() if all(charge.closed for charge in charges)),
            None,
        )
        if oldest is None:
            return
        exact, nano = _sum(self._requests.pop(oldest))
        self._forgotten += 1
        self._forgotten_nano += nano
        self._forgotten_exact += exact


def _entry(request_id: str, charges: list[Charge]) -> dict[str, Any]:
    last = charges[-1]
    exact, nano = _sum(charges)
    return {
        "id": request_id,
        "model": last.model,
        "attempts": len(charges),
        "prompt_tokens": sum(charge.prompt_tokens for charge in charges),
        "cached": sum(charge.cached for charge in charges),
        "written_5m": sum(charge.written_5m for charge in charges),
        "written_1h": sum(charge.written_1h for charge in charges),
        "completion_tokens": sum(charge.completion_tokens for charge in charges),
        "reasoning": sum(charge.reasoning for charge in charges),
        "searches": sum(charge.searches for charge in charges),
        "nano": nano,
        "exact": str(exact),
        "status": last.status,
        "complete": last.complete,
        "each": [charge.document() for charge in charges],
    }
