"""Upkeep of running requests' leases: renews them, stops the lost, puts back the vanished."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from budgets.ledger import LedgerUnavailable
from budgets.names import names_on
from gateway.parts import Parts
from gateway.request import Request

LOOK_S = 1.0
"""How often it is asked whether the ledger was made whole anew. Whoever does that waits a little longer for
running requests to be put back, so that what they hold is counted."""

Epoch = Callable[[str], Awaitable[bytes | None]]
"""The name of a shard's meta hash -> since when it is whole."""


class Leases:
    """One worker's leases."""

    def __init__(self, parts: Parts, epoch: Epoch, *, heartbeat_s: float) -> None:
        self._parts = parts
        self._epoch = epoch
        self._heartbeat_s = heartbeat_s
        self._epochs: dict[str, bytes | None] = {}
        self._log = structlog.get_logger("gateway")

    async def keep(self) -> None:
        """Renew the leases of all running requests, for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._heartbeat_s
        while True:
            await asyncio.sleep(min(LOOK_S, max(0.0, due - loop.time())))
            try:
                anew = await self._made_whole_anew()
                if anew or loop.time() >= due:
                    due = loop.time() + self._heartbeat_s
                    await self._beat()
            except LedgerUnavailable as error:
                if self._parts.running:
                    self._log.warning(
                        "heartbeat_failed", error=str(error), open_requests=len(self._parts.running)
                    )
                due = loop.time() + LOOK_S
                self._epochs.clear()

    async def _made_whole_anew(self) -> bool:
        """Whether a shard with running requests lost its memory, or was made whole since the last look."""
        shards = {request.lease.shard for request in self._parts.running.values()}
        changed = False
        for shard in shards:
            epoch = await self._epoch(names_on(shard).meta)
            changed |= epoch is None or self._epochs.get(shard, epoch) != epoch
            self._epochs[shard] = epoch
        for shard in self._epochs.keys() - shards:
            del self._epochs[shard]
        return changed

    async def _beat(self) -> None:
        running = self._parts.running
        pairs = [(request.lease, request.estimate_nano()) for request in running.values()]
        if not pairs:
            return
        pulse = await self._parts.ledger.heartbeat(pairs)
        for request_id in pulse.lost:
            if request_id in running:
                running[request_id].stop("lease_lost")
        for request_id in pulse.missing:
            request = running.get(request_id)
            if request is not None:
                await self._restore(request)

    async def _restore(self, request: Request) -> None:
        """The ledger does not know a request that runs: it lost its memory, or was away at the opening."""
        if await self._parts.ledger.restore(request.lease, request.estimate_nano()):
            self._parts.uncovered.told(request.id)
            self._parts.metrics.restored.inc()
        elif request.id in self._parts.running:
            request.stop("lease_lost")
