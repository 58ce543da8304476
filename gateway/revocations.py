"""Revocations: running requests of a key that was revoked are cut, once in every heartbeat.

That a revoked key opens nothing is the ledger's affair (open.lua); this is for what was running by then. What
it used is settled as with any cut answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from budgets.ledger import LedgerUnavailable
from budgets.names import names_of
from gateway.parts import Parts
from gateway.request import Request

REVOKED = b"revoked"
AT_ONCE = 1_000
"""Keys asked for in one write."""


class Commands(Protocol):
    """What is needed of the ledger's connection."""

    def command(self, *args: bytes | str | int) -> Awaitable[Any]: ...


class Revocations:
    """Looks at the keys of one worker's running requests."""

    def __init__(self, parts: Parts, connection: Commands, *, every_s: float) -> None:
        self._parts = parts
        self._connection = connection
        self._every_s = every_s

    async def keep(self) -> None:
        """Look, for ever. While the ledger is away nothing can be known, and nothing is cut."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.look()
            except LedgerUnavailable:
                pass

    async def look(self) -> None:
        """Ask for the keys of all running requests, in one round trip, and cut those of revoked ones."""
        by_key: dict[str, list[Request]] = {}
        for request in self._parts.running.values():
            name = f"{names_of(request.event.account_id).key}{request.event.key_id}"
            by_key.setdefault(name, []).append(request)
        names = list(by_key)
        for start in range(0, len(names), AT_ONCE):
            batch = names[start : start + AT_ONCE]
            statuses = await asyncio.gather(*(self._connection.command("HGET", name, "st") for name in batch))
            for name, status in zip(batch, statuses, strict=True):
                if status == REVOKED:
                    for request in by_key[name]:
                        request.stop("key_revoked")
