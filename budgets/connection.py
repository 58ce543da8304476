"""One pipelined connection to Redis, for the ledger's hot path.

Commands that are issued in one turn of the event loop leave in one write, and replies are matched to them
in order. A command never waits for a connection: without one it fails at once, and what was already sent
when a connection is lost fails with `LedgerUnavailable(sent=True)`, because Redis may have done it.
The connection comes back by itself. Of several addresses it uses the one whose server is the primary.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import ReplyError

from budgets.address import Address
from budgets.greeting import Server, open_wire, shown
from budgets.keeping import KeptConnection
from budgets.scripts import Script
from budgets.wire import PENDING_MAX, Argument, LedgerUnavailable, Pending, Refused, Wire, packed

BACKOFF_FIRST_S = 0.02
BACKOFF_MAX_S = 0.25
"""A worker without its ledger refuses or runs uncovered: the next look is never far."""
RIVAL_S = 0.05
"""From the first primary found to the choice: in which another that has taken its place may be found too."""
DEMOTED = frozenset({"READONLY", "MASTERDOWN"})

Found = tuple[Wire, Server]


class RedisConnection(KeptConnection):
    """A connection to one server: of several addresses, to the primary."""

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        scripts: Sequence[Script],
        timeout_s: float,
        refused: Refused | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(addresses, scripts=scripts, timeout_s=timeout_s)
        self._refused = refused or self._judge
        self._on_change = on_change
        self._wire: Wire | None = None
        self._leaving: Wire | None = None
        self._run_id = ""
        self._faults: dict[Address, str] = {}
        self._fault = "not connected to Redis yet"

    @property
    def connected(self) -> bool:
        """True while commands can be sent."""
        return self._wire is not None and not self._wire.over.done()

    @property
    def wire(self) -> Wire | None:
        """The present connection, for those who make Pendings of their own."""
        return self._wire

    @property
    def fault(self) -> str:
        """Why there is no connection, in words."""
        return "; ".join(self._faults.values()) or self._fault

    @property
    def run_id(self) -> str:
        """Which run of which server commands go to now; empty without a connection."""
        return self._run_id

    def run_id_for(self, key: str) -> str:
        """The same, for callers that do not know whether there are several servers."""
        return self._run_id

    def command(self, *args: Argument) -> asyncio.Future[Any]:
        """Send one command. The future gives hiredis' reply: bytes, int, None or a list of them.

        It raises LedgerUnavailable, or hiredis.ReplyError when Redis refused the command.
        """
        wire = self._wire
        return self._unavailable() if wire is None else wire.send(packed(*args))

    def script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> asyncio.Future[Any]:
        """Run a script by its digest, as `command`; a server that forgot it is taught it and asked again."""
        wire = self._wire
        if wire is None:
            return self._unavailable()
        return wire.send(packed("EVALSHA", script.sha, len(keys), *keys, *args), script)

    async def close(self) -> None:
        """Stop reconnecting and drop the connection."""
        await self._stop()
        if self._leaving is not None:
            self._leaving.close()

    def abandon(self) -> None:
        """Stop looking for a server that is not needed any more; nothing may be pending."""
        if self._keeper is not None:
            self._keeper.cancel()

    def _unavailable(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_exception(LedgerUnavailable(self.fault, sent=False))
        return future

    def _judge(self, wire: Wire, _: Pending, word: str, error: ReplyError) -> bool:
        """A server that was demoted takes no more commands; the wire fails this one as not executed."""
        if word in DEMOTED:
            wire.retire(f"Redis is no longer the primary: {error}")
        return False

    async def _keep(self) -> None:
        while True:
            wire, server = await self._find()
            self._wire, self._run_id = wire, server.run_id
            self._faults.clear()
            self._connected.set()
            self._on_change()
            try:
                await asyncio.shield(wire.over)
            except asyncio.CancelledError:
                wire.close()
                raise
            finally:
                self._fault = wire.fault
                self._wire, self._leaving, self._run_id = None, wire, ""
                self._connected.clear()
                self._on_change()

    async def _find(self) -> Found:
        """A wire to the primary. All addresses are asked at once, each in its own time."""
        if len(self._addresses) == 1:
            return await self._seek(self._addresses[0])
        seeking = [asyncio.create_task(self._seek(address)) for address in self._addresses]
        try:
            await asyncio.wait(seeking, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(seeking, timeout=RIVAL_S)
            found = [task.result() for task in seeking if task.done()]
        except BaseException:
            for task in seeking:
                if task.done() and not task.cancelled() and task.exception() is None:
                    task.result()[0].close()
            raise
        finally:
            for task in seeking:
                task.cancel()
        chosen = newest(found)
        for wire, _ in found:
            if wire is not chosen[0]:
                wire.close()
        return chosen

    async def _seek(self, address: Address) -> Found:
        """A wire to this server as soon as it is a primary."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                wire, server = await open_wire(
                    address, scripts=self._scripts, timeout_s=self._timeout_s, refused=self._refused
                )
                if server.primary:
                    return wire, server
                wire.close()
                self._faults[address] = f"Redis at {address.shown} is a replica"
            except (OSError, UnicodeError, LedgerUnavailable, ReplyError) as error:
                self._faults[address] = f"Redis at {address.shown} cannot be used: {shown(error)}"
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)


def newest(found: Sequence[Found]) -> Found:
    """Of several that call themselves primary: one that was promoted over another, else the one that has
    been written most, because a former primary that comes back has missed what went on without it.
    """
    for wire, server in found:
        if any(server.follows(other) for _, other in found):
            return wire, server
    return max(found, key=lambda one: one[1].offset)


__all__ = ["PENDING_MAX", "Argument", "LedgerUnavailable", "RedisConnection", "newest"]
