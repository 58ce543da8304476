"""Recent closes: what this worker was told is ended, kept for as long as the ledger might forget it.

A close that was acknowledged is safe once its event is recorded, which takes the recorder a moment. A ledger
that loses its memory in that moment (emptied, killed before a sync, a replica that lagged promoted) loses
the event, and nobody else has it. So each worker keeps its last closes, and tells them once more when a
shard's epoch has changed. Telling one again that was not lost changes nothing (docs/decisions/0012).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from budgets.hold import Settled
from budgets.ledger import Closed, Lease, Ledger
from gateway.metrics import Metrics

KEEP_S = 10.0
"""A close this old is recorded, unless the database is away; then it waits in Redis' file or in the spill."""
COUNT_MAX = 8_192
BYTES_MAX = 16 * 1024 * 1024
"""Of encoded events, so that a worker that ends a thousand in a second keeps a few seconds of them."""
AT_ONCE = 128
"""Closes told again in one go: about ten milliseconds of the server's time."""


_Kept = tuple[float, int, Lease, Settled, str, bytes]
"""When it was noted, its size, and the close: a plain tuple, because one is made for each request."""


class RecentCloses:
    """One worker's last acknowledged closes. `clock` never steps; seconds."""

    def __init__(
        self,
        ledger: Ledger,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        keep_s: float = KEEP_S,
        count_max: int = COUNT_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self.now_s = clock
        self._keep_s = keep_s
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        self._last: dict[str, float] = {}  # shard -> when its last close was noted
        self._log = structlog.get_logger("gateway.healing.recent_closes")

    def note(self, lease: Lease, settled: Settled, status: str, event: bytes) -> None:
        """Keep a close that was acknowledged just now."""
        now_s = self.now_s()
        kept = self._kept
        size = len(event) + len(lease.payload)
        kept.append((now_s, size, lease, settled, status, event))
        self._bytes += size
        self._last[lease.rows.shard] = now_s
        while self._bytes > self._bytes_max or len(kept) > self._count_max:
            self._bytes -= kept.popleft()[1]

    def shards(self) -> Iterable[str]:
        """The shards of the closes that are kept, or nearly so."""
        return tuple(self._last)

    def forget_before(self, moment_s: float) -> None:
        """Every shard still had the memory in which its closes were noted: drop those that were old then."""
        old_s = moment_s - self._keep_s
        kept = self._kept
        while kept and kept[0][0] < old_s:
            self._bytes -= kept.popleft()[1]
        for shard in [shard for shard, last_s in self._last.items() if last_s < old_s]:
            del self._last[shard]

    async def tell_again(self, shard: str) -> int:
        """Tell the ledger all closes of the shard once more; how many it had lost. Raises LedgerUnavailable.

        What it had lost is kept anew, since it may be lost once more.
        """
        kept = [each for each in self._kept if each[2].shard == shard]
        lost: set[str] = set()
        for start in range(0, len(kept), AT_ONCE):
            batch = kept[start : start + AT_ONCE]
            answers = await asyncio.gather(*(self._close(each) for each in batch), return_exceptions=True)
            for each, answer in zip(batch, answers, strict=True):
                if isinstance(answer, BaseException):
                    raise answer
                if answer is not Closed.CLOSED:
                    lost.add(each[2].request_id)
        if lost:
            self._renew(lost)
            self._metrics.closes_told_again.inc(len(lost))
            self._log.warning("closes_told_again", shard=shard, forgotten=len(lost), told=len(kept))
        return len(lost)

    def _renew(self, request_ids: set[str]) -> None:
        """Keep these as if they had been noted just now."""
        kept, self._kept, self._bytes = self._kept, deque(), 0
        for each in kept:
            if each[2].request_id not in request_ids:
                self._kept.append(each)
                self._bytes += each[1]
        for each in kept:
            if each[2].request_id in request_ids:
                self.note(*each[2:])

    async def _close(self, kept: _Kept) -> Closed:
        _, _, lease, settled, status, event = kept
        return await self._ledger.close(lease, settled, status=status, event=event, again=True)
