"""Upkeep of what a worker's ledger should know: leases are renewed, the lost stopped, the vanished put back.

The vanished are running requests, and closes that were acknowledged a moment ago. That the ledger may have
lost some is told by a shard's epoch: since when it is whole, and on which run of its server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from budgets.ledger import LedgerUnavailable
from budgets.names import all_shards, names_on
from gateway.healing.recent_closes import RecentCloses
from gateway.parts import Parts
from gateway.request import Request

LOOK_S = 0.4
"""How often it is asked whether the ledger lost its memory or was made whole anew. Whoever does that waits
twice as long (budgets.healer.GRACE_S), so that what running requests hold is counted."""

Epoch = tuple[bytes | None, str]
"""Since when a shard is whole, and the run id of its server."""


class Commands(Protocol):
    """What is needed of the ledger's connection."""

    def command(self, *args: bytes | str | int) -> Awaitable[bytes | None]: ...

    def run_id_for(self, key: str) -> str: ...


def epochs_by(connection: Commands) -> Callable[[str], Awaitable[Epoch]]:
    """A function that asks for a shard's epoch. It raises LedgerUnavailable."""

    async def epoch_of(shard: str) -> Epoch:
        meta = names_on(shard).meta
        run_id = connection.run_id_for(meta)  # of the server that the command leaves for now
        return await connection.command("HGET", meta, "complete_since"), run_id

    return epoch_of


class Leases:
    """One worker's leases, and its recent closes."""

    def __init__(
        self,
        parts: Parts,
        recent: RecentCloses,
        epoch_of: Callable[[str], Awaitable[Epoch]],
        *,
        heartbeat_s: float,
    ) -> None:
        self._parts = parts
        self._recent = recent
        self._epoch_of = epoch_of
        self._heartbeat_s = heartbeat_s
        self._epochs: dict[str, Epoch] = {}
        self._log = structlog.get_logger("gateway")

    async def keep(self) -> None:
        """Renew the leases of all running requests, and tell what may have been forgotten, for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._heartbeat_s
        await self._meet()
        while True:
            await asyncio.sleep(min(LOOK_S, max(0.0, due - loop.time())))
            try:
                looked_s = self._recent.now_s()
                found = await self._look()
                changed = {shard: epoch for shard, epoch in found.items() if self._epochs.get(shard) != epoch}
                cold = any(since is None for since, _ in found.values())
                if changed or cold or loop.time() >= due:
                    due = loop.time() + self._heartbeat_s
                    await self._beat()
                for shard, epoch in changed.items():
                    await self._recent.tell_again(shard)
                    self._epochs[shard] = epoch
                if not cold:
                    self._recent.forget_before(looked_s)
            except LedgerUnavailable as error:
                if self._parts.running:
                    self._log.warning(
                        "heartbeat_failed", error=str(error), open_requests=len(self._parts.running)
                    )
                due = loop.time() + LOOK_S

    async def _meet(self) -> None:
        """Learn the epochs of all shards that are whole, before anything of ours has ended on them.

        On a shard that is met later, what ended before it was first looked at is told again: for all that is
        known, it may have been lost in between.
        """
        shards = all_shards()
        epochs = await asyncio.gather(*map(self._epoch_of, shards), return_exceptions=True)
        for shard, epoch in zip(shards, epochs, strict=True):
            # A shard that cannot be asked now is met at the first look, where a fault is told.
            if isinstance(epoch, tuple) and epoch[0] is not None:
                self._epochs[shard] = epoch

    async def _look(self) -> dict[str, Epoch]:
        """The epoch of every shard on which something of ours runs or has ended lately."""
        shards = dict.fromkeys(request.lease.shard for request in self._parts.running.values())
        shards.update(dict.fromkeys(self._recent.shards()))
        epochs = await asyncio.gather(*map(self._epoch_of, shards), return_exceptions=True)
        for epoch in epochs:
            if isinstance(epoch, BaseException):
                raise epoch
        return {shard: epoch for shard, epoch in zip(shards, epochs, strict=True) if isinstance(epoch, tuple)}

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
