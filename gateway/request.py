"""Request: one accepted request while it runs: what was held for it, what was tried, and who may stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from budgets.ledger import LedgerUnavailable
from gateway.dialects import Exchange
from metering.event import Attempt, CostEvent

if TYPE_CHECKING:
    from budgets.ledger import Lease, Ledger
    from gateway.candidates import Candidate
    from gateway.transport.port import Answer


class Request:
    """The owner's view of an accepted request.

    `candidates`: the targets that may serve it, in order. `estimate_nano`: gives what it is likely to have
    cost so far, told to the ledger with every heartbeat. `tells_cost`: its stream ends with a comment that
    tells its cost. `stopped`: why the gateway itself ended it early (`client_gone`, `lease_lost`, `drained`).
    """

    __slots__ = (
        "_answer",
        "_ledger",
        "attempts",
        "call",
        "candidates",
        "estimate_nano",
        "event",
        "hard",
        "id",
        "lease",
        "stopped",
        "surface",
        "tells_cost",
        "unit_hold_nano",
    )

    def __init__(
        self,
        *,
        event: CostEvent,
        call: Exchange,
        candidates: list[Candidate],
        lease: Lease,
        ledger: Ledger,
        hard: bool,
        tells_cost: bool = False,
    ) -> None:
        self.id = event.id
        self.event = event
        self.call = call
        self.candidates = candidates
        self.surface = call.surface
        self.lease = lease
        self.hard = hard
        self.unit_hold_nano = lease.held_nano
        self.tells_cost = tells_cost
        self.attempts: list[Attempt] = event.attempts
        self.estimate_nano: Callable[[], int] = lambda: event.cost_nano or 0
        self.stopped: str | None = None
        self._ledger = ledger
        self._answer: Answer | None = None

    async def hold_again(self) -> bool:
        """Hold the request's ceiling once more, before repeating an attempt whose cost is unknown.

        False where it does not fit, or the ledger cannot be asked: then nothing is repeated.
        """
        try:
            return await self._ledger.extend(self.lease, self.unit_hold_nano)
        except LedgerUnavailable:
            return False  # what it may have granted all the same is freed with the rest, at the close

    def reading(self, answer: Answer | None) -> None:
        """Note the answer that a stop must close."""
        self._answer = answer
        if answer is not None and self.stopped is not None:
            answer.close()

    def stop(self, reason: str, *, close_upstream: bool = True) -> None:
        """End the request early, for the first reason given; the owner task notices and settles."""
        if self.stopped is None:
            self.stopped = reason
        if close_upstream and self._answer is not None:
            self._answer.close()
