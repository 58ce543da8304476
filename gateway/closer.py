"""Closer: gets a request's end acknowledged by the ledger, however long that takes within its patience."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from budgets.ledger import Ledger, LedgerUnavailable, Opened, Refused
from gateway.metrics import Metrics
from gateway.request import Request
from gateway.settlement import Settlement
from metering.event import CostEvent, encode

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


class Closer:
    """Closes requests; a close is idempotent, so one whose outcome is unknown is simply sent again.

    When the patience ends the lease runs out as well, and the reaper closes the request as an orphan from
    what the ledger holds: its event is never lost, only less exact.
    """

    def __init__(self, ledger: Ledger, metrics: Metrics, *, patience_s: float) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._patience_s = patience_s
        self._background: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("gateway.closer")

    async def close(self, request: Request, settlement: Settlement) -> bool:
        """Close until acknowledged; False when patience ended or another end had been recorded before."""
        event = request.event
        document = encode(event)
        deadline = asyncio.get_running_loop().time() + self._patience_s
        pause = FIRST_PAUSE_S
        while True:
            try:
                answer = await self._ledger.close(
                    request.lease,
                    spent_nano=settlement.spent_nano,
                    doubted_nano=settlement.doubted_nano,
                    status=event.status,
                    event=document,
                )
            except LedgerUnavailable:
                self._metrics.close_retries.inc()
                if asyncio.get_running_loop().time() + pause > deadline:
                    self._log.error("close_not_acknowledged", request_id=request.id)
                    return False
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                if answer != "ok":
                    self._log.warning("closed_before", request_id=request.id, answer=answer)
                return answer == "ok"

    def abandon(self, event: CostEvent, again: Callable[[], Awaitable[Opened | Refused]]) -> None:
        """End a request whose open may have been granted though its answer was lost.

        The client has been refused. If the ledger did grant it, the request was accepted, and so gets its
        one event: failed, at no cost. `again` repeats the open and says what had become of it.
        """
        task = asyncio.get_running_loop().create_task(self._abandon(event, again))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _abandon(self, event: CostEvent, again: Callable[[], Awaitable[Opened | Refused]]) -> None:
        deadline = asyncio.get_running_loop().time() + self._patience_s
        pause = FIRST_PAUSE_S
        while asyncio.get_running_loop().time() + pause < deadline:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            try:
                answer = await again()
                if isinstance(answer, Opened):
                    await self._ledger.close(
                        answer.lease, spent_nano=0, doubted_nano=0, status=event.status, event=encode(event)
                    )
            except LedgerUnavailable:
                continue
            return

    async def finish(self) -> None:
        """Wait for what is still being ended."""
        if self._background:
            await asyncio.wait(self._background)
