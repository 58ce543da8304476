"""Request: one accepted request while it runs: what was held for it, what was tried, and who may stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from budgets.hold import Extra
from budgets.ledger import LedgerUnavailable
from gateway.dialects import SURFACES, Exchange
from gateway.transport.errors import ConnectionLost
from metering.event import Attempt, CostEvent

if TYPE_CHECKING:
    from budgets.hold import Step
    from budgets.ledger import Lease, Ledger
    from gateway.forwarding.candidates import Candidate, Need
    from gateway.transport.port import Answer
    from routing.table import Route


class Request:
    """The owner's view of an accepted request.

    `surface`: where it came in. `candidates`: the targets that may serve it, in order. `room`: what is held
    for one attempt; `step`: by which rule; `bounded`: a hard limit demands that no attempt takes more.
    `estimate_nano`: gives what it is likely to have cost so far, told to the ledger with every heartbeat.
    `tells_cost`: its stream ends with a comment that tells its cost. `stopped`: why the gateway itself ended
    it early (`client_gone`, `lease_lost`, `drained`, `key_revoked`); `when_left` is called when it does.
    """

    __slots__ = (
        "_answer",
        "_ledger",
        "_most_nano",
        "_sender",
        "attempts",
        "bounded",
        "call",
        "candidates",
        "estimate_nano",
        "event",
        "id",
        "lease",
        "room",
        "route",
        "step",
        "stopped",
        "surface",
        "tells_cost",
        "when_left",
    )

    def __init__(
        self,
        *,
        event: CostEvent,
        call: Exchange,
        candidates: list[Candidate],
        lease: Lease,
        ledger: Ledger,
        route: Route,
        room: Need,
        step: Step,
        bounded: bool,
        tells_cost: bool = False,
    ) -> None:
        self.id = event.id
        self.event = event
        self.call = call
        self.candidates = candidates
        self.surface = SURFACES[call.surface]
        self.lease = lease
        self.route = route
        self.room = room
        self.step = step
        self.bounded = bounded
        self.tells_cost = tells_cost
        self.attempts: list[Attempt] = event.attempts
        self._most_nano: list[int] = []
        self.estimate_nano: Callable[[], int] = lambda: event.cost_nano or 0
        self.stopped: str | None = None
        self.when_left: Callable[[Request], None] | None = None
        self._ledger = ledger
        self._answer: Answer | None = None
        self._sender: asyncio.Task[object] | None = None

    @property
    def hard(self) -> bool:
        """A hard limit counts its money: what is not known of its cost stays in doubt."""
        return "m" in self.lease.rows.hard_meters

    def trying(self, attempt: Attempt) -> None:
        """Add an attempt to the trail; it can cost what one attempt has room for now."""
        self.attempts.append(attempt)
        self._most_nano.append(self.room.nano)

    def most_nano(self, attempt: Attempt) -> int:
        """The most that the attempt can have cost."""
        for each, most in zip(self.attempts, self._most_nano, strict=True):
            if each is attempt:
                return most
        raise ValueError("not an attempt of this request")

    async def hold_again(self) -> bool:
        """Hold what one attempt can take once more, before repeating one whose cost is unknown.

        False where it does not fit, or the ledger cannot be asked: then nothing is repeated.
        """
        return await self.hold_more(Extra(self.room.nano, self.room.input_tokens, self.room.output_tokens))

    async def hold_more(self, extra: Extra) -> bool:
        """Hold more on every limit, or on none; False as above."""
        if not self.lease.covered:
            return not self.bounded
        try:
            return await self._ledger.extend(self.lease, extra)
        except LedgerUnavailable:
            return False  # what it may have granted all the same is freed with the rest, at the close

    async def begin_of(self, sending: Awaitable[Answer]) -> Answer:
        """Wait for the head of an answer; a stop ends the wait. Raises TransportError."""
        self._sender = owner = asyncio.current_task()
        try:
            return await sending
        except asyncio.CancelledError:
            if self.stopped is None or owner is None:
                raise
            owner.uncancel()
            said = f"the request was stopped ({self.stopped}) before its answer began"
            raise ConnectionLost(said, head_received=False) from None
        finally:
            self._sender = None

    def reading(self, answer: Answer | None) -> None:
        """Note the answer that a stop must close."""
        self._answer = answer
        if answer is not None and self.stopped is not None:
            answer.close()

    def stop(self, reason: str, *, close_upstream: bool = True) -> None:
        """End the request early, for the first reason given; the owner task notices and settles."""
        if self.stopped is None:
            self.stopped = reason
            if self.when_left is not None:
                self.when_left(self)
        if close_upstream and self._answer is not None:
            self._answer.close()
        elif close_upstream and self._sender is not None:
            self._sender.cancel()
