"""Closer: gets a request's end acknowledged by the ledger, or kept in the journal until it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from budgets.hold import Settled
from budgets.journal import Journal, JournalUnavailable
from budgets.ledger import Closed, Lease, Ledger, LedgerUnavailable, Opened, Refused
from gateway.background import Background, waits
from gateway.healing.recent_closes import RecentCloses
from gateway.metrics import Metrics
from gateway.request import Request
from gateway.uncovered import Uncovered
from metering.event import CostEvent, encode

FINISH_S = 3.0
"""At the worker's end: how long closes are still tried. What remains is in the journal."""


class Closer:
    """Closes requests; a close is idempotent, so one whose outcome is unknown is simply sent again.

    When the ledger does not answer, the close goes to the journal, the answer to the client, and the close is
    repeated until it is acknowledged: by this worker, or by whoever owns the journal next. Without a journal
    it is repeated while the client waits, for as long as patience lasts; then the reaper ends the request
    from what the ledger holds: its event is never lost, only less exact.
    """

    def __init__(
        self,
        ledger: Ledger,
        journal: Journal | None,
        uncovered: Uncovered,
        metrics: Metrics,
        recent: RecentCloses,
        *,
        patience_s: float,
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._uncovered = uncovered
        self._metrics = metrics
        self._recent = recent
        self._patience_s = patience_s
        self._log = structlog.get_logger("gateway.closer")
        self._background = Background(self._log)

    async def close(self, request: Request, settled: Settled) -> bool:
        """Close until acknowledged or journalled; False when neither could be had or it had ended before."""
        event, lease = request.event, request.lease
        document = encode(event)
        self._uncovered.ended(lease, settled.spent_nano)
        try:
            answer = await self._ledger.close(lease, settled, status=event.status, event=document)
        except LedgerUnavailable:
            self._metrics.close_retries.inc()
        else:
            return self._acknowledged(lease, settled, event.status, document, answer, once=True)
        if self._journalled(lease, settled, event.status, document):
            self._background.start(self._repeat(lease, settled, event.status, document, patience_s=None))
            return True
        return await self._repeat(lease, settled, event.status, document, patience_s=self._patience_s)

    def _journalled(self, lease: Lease, settled: Settled, status: str, event: bytes) -> bool:
        if self._journal is None:
            return False
        try:
            self._journal.closed(lease, settled, status=status, event=event)
        except JournalUnavailable as error:
            self._log.error("journal_unavailable", reason=str(error))
            return False
        self._metrics.journalled.inc()
        return True

    async def _repeat(
        self,
        lease: Lease,
        settled: Settled,
        status: str,
        event: bytes,
        *,
        patience_s: float | None,
        sent: bool = True,
    ) -> bool:
        """Send a close until it is acknowledged. `sent`: it was sent before, and its answer was lost."""
        for wait_s in waits(patience_s):
            await asyncio.sleep(wait_s)
            try:
                answer = await self._ledger.close(lease, settled, status=status, event=event)
            except LedgerUnavailable:
                self._metrics.close_retries.inc()
                sent = True
            else:
                return self._acknowledged(lease, settled, status, event, answer, once=not sent)
        self._log.error("close_not_acknowledged", request_id=lease.request_id)
        return False

    def _acknowledged(
        self, lease: Lease, settled: Settled, status: str, event: bytes, answer: Closed, *, once: bool
    ) -> bool:
        """Keep it for as long as the ledger might forget it; False where it had ended before.

        `once`: it was sent once. Of one that was sent again the send before may be what ended it, with an
        answer that was lost, and then nobody but us has its event.
        """
        self._uncovered.told(lease.request_id)
        if answer is Closed.CLOSED or (answer is Closed.MISSING and lease.covered):
            self._log.warning("closed_before", request_id=lease.request_id, answer=answer)
        if answer is Closed.CLOSED and once:
            return False  # somebody else ended it, with an event of their own
        self._recent.note(lease, settled, status, event)
        return answer is not Closed.CLOSED

    def abandon(self, event: CostEvent, again: Callable[[], Awaitable[Opened | Refused]]) -> None:
        """End a request whose open may have been granted though its answer was lost.

        The client has been refused. If the ledger did grant it, the request was accepted, and so gets its
        one event: failed, at no cost. `again` repeats the open and says what had become of it.
        """
        self._background.start(self._abandon(event, again))

    async def _abandon(self, event: CostEvent, again: Callable[[], Awaitable[Opened | Refused]]) -> None:
        for wait_s in waits(self._patience_s):
            await asyncio.sleep(wait_s)
            try:
                answer = await again()
            except LedgerUnavailable:
                continue
            if isinstance(answer, Opened):
                lease = answer.lease
                if not lease.rows.covers(event.started_ms):
                    event.started_ms = answer.at_ms  # as gateway.opening: it counts where it was opened
                # From here on its close is repeated: what has ended would not be told to be open again.
                patience_s, document = self._patience_s, encode(event)
                await self._repeat(
                    lease, Settled(0), event.status, document, patience_s=patience_s, sent=False
                )
            return

    async def finish(self) -> None:
        """Wait a moment for what is still being ended; the journal keeps the rest."""
        await self._background.finish(FINISH_S)
