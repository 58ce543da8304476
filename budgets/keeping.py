"""Keeping: what the ledger's connections, to one server and to a cluster, have in common.

A connection looks for its server by itself, in a task of its own, and finds it again when it is lost. Callers
wait for it once, at the start.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

from budgets.address import Address, addresses_of
from budgets.scripts import ON_EVERY_REQUEST, Script
from budgets.wire import LedgerUnavailable


class KeptConnection(ABC):
    """A connection that keeps itself alive. Made by `connect`, ended by `close`."""

    def __init__(self, addresses: Sequence[Address], *, scripts: Sequence[Script], timeout_s: float) -> None:
        self._addresses = tuple(addresses)
        self._scripts = tuple(scripts)
        self._timeout_s = timeout_s
        self._connected = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        scripts: Sequence[Script] = ON_EVERY_REQUEST,
        timeout_ms: int = 1_000,
        patience_s: float = 10.0,
    ) -> Self:
        """Connect to `redis://`, `rediss://` (both with several hosts) or `unix://`, with the scripts loaded.

        Tries again with backoff for `patience_s`, then raises LedgerUnavailable with the last fault.
        ValueError: the URL cannot be understood. `timeout_ms` is the patience with one round trip; when it
        ends the connection is dropped and built anew.
        """
        connection = cls(addresses_of(url), scripts=scripts, timeout_s=timeout_ms / 1000)
        connection.begin()
        try:
            await connection.ready(patience_s)
        except BaseException:
            await connection.close()
            raise
        return connection

    def begin(self) -> None:
        """Start looking for the server; `ready` tells when it is found."""
        self._keeper = asyncio.create_task(self._keep())

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it looks."""
        return self._addresses

    @property
    @abstractmethod
    def connected(self) -> bool:
        """True while commands can be sent."""

    @property
    @abstractmethod
    def fault(self) -> str:
        """Why commands cannot be sent, in words."""

    async def ready(self, patience_s: float) -> None:
        """Wait until commands can be sent; LedgerUnavailable with the last fault after `patience_s`."""
        try:
            async with asyncio.timeout(patience_s):
                while not self.connected:
                    await self._connected.wait()
                    await asyncio.sleep(0)  # a loss that the keeper has yet to see
        except TimeoutError:
            raise LedgerUnavailable(self.fault, sent=False) from None

    @abstractmethod
    async def close(self) -> None:
        """Stop looking, and drop what there is."""

    @abstractmethod
    async def _keep(self) -> None:
        """Find the server, and again whenever it is lost; sets and clears `_connected`."""

    async def _stop(self) -> None:
        """End the keeper, and wait until it has ended."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None
