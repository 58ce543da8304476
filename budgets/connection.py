"""One pipelined connection to Redis, for the ledger's hot path.

Commands that are issued in one turn of the event loop leave in one write, and replies are matched to them
in order. A command never waits for a connection: without one it fails at once, and what was already sent
when a connection is lost fails with `LedgerUnavailable(sent=True)`, because Redis may have done it.
The connection comes back by itself.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from hiredis import HiredisError, Reader, ReplyError, pack_command

from budgets.address import Address
from budgets.scripts import ON_EVERY_REQUEST, Script

Argument = bytes | str | int

BACKOFF_FIRST_S = 0.02
BACKOFF_MAX_S = 1.0
SECOND_LOOK_S = 0.02
"""From the end of the patience with a reply to the verdict: time to write and read once more."""
PENDING_MAX = 65_536
"""Replies awaited at once; beyond, new commands fail instead of growing the queue."""


class LedgerUnavailable(Exception):
    """The ledger could not be asked. `sent`: the command had left, so its outcome is unknown."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


def _packed(*args: Argument) -> bytes:
    packed: bytes = pack_command(args)  # type: ignore[arg-type]  # its annotation describes a 1-tuple
    return packed


class _Pending:
    """A command whose reply is awaited. `script` and `packed` are kept while a NOSCRIPT may be repeated."""

    __slots__ = ("deadline", "future", "packed", "script")

    def __init__(
        self, future: asyncio.Future[Any] | None, script: Script | None, packed: bytes, deadline: float
    ) -> None:
        self.future = future
        self.script = script
        self.packed = packed
        self.deadline = deadline


class _Wire(asyncio.Protocol):
    """One TCP or unix connection: bytes out in batches, replies in by order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._transport: asyncio.Transport | None = None
        self._reader = Reader()
        self._outgoing: list[bytes] = []
        self._pending: deque[_Pending] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._late: _Pending | None = None
        self.fault = "the connection to Redis was lost"
        self.lost: asyncio.Future[None] = loop.create_future()

    def send(self, packed: bytes, script: Script | None = None) -> asyncio.Future[Any]:
        """Queue one command for this turn's write; its future gives the reply, or raises ReplyError."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.lost.done():
            # Between the loss of a connection and the keeper's turn: nothing would ever answer.
            future.set_exception(LedgerUnavailable(self.fault, sent=False))
            return future
        if len(self._pending) >= PENDING_MAX:
            reason = f"more than {PENDING_MAX} commands await Redis"
            future.set_exception(LedgerUnavailable(reason, sent=False))
            return future
        self._queue(
            _Pending(future, script, packed if script else b"", self._loop.time() + self._timeout_s), packed
        )
        return future

    def close(self) -> None:
        """Drop the connection; whatever is pending fails."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without being a subclass

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:
                self._answer(self._pending.popleft(), reply)
        except (HiredisError, IndexError):
            self.fault = "Redis answered what its protocol does not allow"
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        reason = f"{self.fault}: {exc}" if exc else self.fault
        pending, self._pending = self._pending, deque()
        unsent = len(self._outgoing)
        self._outgoing.clear()
        for place, each in enumerate(pending):
            if each.future is not None and not each.future.done():
                left = place < len(pending) - unsent
                each.future.set_exception(LedgerUnavailable(reason, sent=left))
        if not self.lost.done():
            self.lost.set_result(None)

    def _queue(self, pending: _Pending, packed: bytes) -> None:
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(packed)
        self._pending.append(pending)
        if self._watch is None:
            self._watch = self._loop.call_at(pending.deadline, self._check_patience)

    def _flush(self) -> None:
        if self._transport is None or self._transport.is_closing() or not self._outgoing:
            return  # of a connection that closes, `connection_lost` fails what was not written
        outgoing = self._outgoing
        self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))
        outgoing.clear()

    def _answer(self, pending: _Pending, reply: Any) -> None:
        future = pending.future
        if future is None or future.done():
            return
        if isinstance(reply, ReplyError):
            script = pending.script
            if script is not None and str(reply).startswith("NOSCRIPT"):
                # A restarted or flushed server: load it and repeat, once, in order behind what was sent.
                deadline = self._loop.time() + self._timeout_s
                load = _packed("SCRIPT", "LOAD", script.source)
                self._queue(_Pending(None, None, b"", deadline), load)
                self._queue(_Pending(future, None, b"", deadline), pending.packed)
                return
            future.set_exception(reply)
            return
        future.set_result(reply)

    def _check_patience(self) -> None:
        """The oldest command decides: replies come in order, so nothing overtakes it."""
        self._watch = None
        if not self._pending:
            return
        oldest, now = self._pending[0], self._loop.time()
        if oldest.deadline > now:
            self._watch = self._loop.call_at(oldest.deadline, self._check_patience)
            return
        if oldest is not self._late:
            # Perhaps we were late and not Redis: after a stall of ours nothing was written or read yet.
            self._late = oldest
            self._watch = self._loop.call_at(now + SECOND_LOOK_S, self._check_patience)
            return
        self.fault = f"Redis did not answer within {self._timeout_s:g} s"
        self.close()


class RedisConnection:
    """A connection that keeps itself alive. Made by `connect`, ended by `close`."""

    def __init__(self, address: Address, *, scripts: Sequence[Script], timeout_s: float) -> None:
        self._address = address
        self._scripts = tuple(scripts)
        self._timeout_s = timeout_s
        self._wire: _Wire | None = None
        self._connected = asyncio.Event()
        self._fault = "not connected to Redis yet"
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        scripts: Sequence[Script] = ON_EVERY_REQUEST,
        timeout_ms: int = 1_000,
        patience_s: float = 10.0,
    ) -> RedisConnection:
        """Connect to `redis://`, `rediss://` or `unix://`, with the scripts loaded.

        Tries again with backoff for `patience_s`, then raises LedgerUnavailable with the last fault.
        ValueError: the URL cannot be understood. `timeout_ms` is the patience with one round trip; when it
        ends the connection is dropped and built anew.
        """
        connection = cls(Address.of(url), scripts=scripts, timeout_s=timeout_ms / 1000)
        connection._keeper = asyncio.create_task(connection._keep())
        try:
            await connection.ready(patience_s)
        except BaseException:
            await connection.close()
            raise
        return connection

    @property
    def connected(self) -> bool:
        """True while commands can be sent."""
        return self._wire is not None

    async def ready(self, patience_s: float) -> None:
        """Wait until commands can be sent; LedgerUnavailable with the last fault after `patience_s`."""
        try:
            async with asyncio.timeout(patience_s):
                await self._connected.wait()
        except TimeoutError:
            raise LedgerUnavailable(self._fault, sent=False) from None

    def command(self, *args: Argument) -> asyncio.Future[Any]:
        """Send one command. The future gives hiredis' reply: bytes, int, None or a list of them.

        It raises LedgerUnavailable, or hiredis.ReplyError when Redis refused the command.
        """
        wire = self._wire
        return self._unavailable() if wire is None else wire.send(_packed(*args))

    def script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> asyncio.Future[Any]:
        """Run a script by its digest, as `command`; a server that forgot it is taught it and asked again."""
        wire = self._wire
        if wire is None:
            return self._unavailable()
        return wire.send(_packed("EVALSHA", script.sha, len(keys), *keys, *args), script)

    async def close(self) -> None:
        """Stop reconnecting and drop the connection."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None

    def _unavailable(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_exception(LedgerUnavailable(self._fault, sent=False))
        return future

    async def _keep(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                wire = await self._open()
            except (OSError, LedgerUnavailable, ReplyError) as error:
                self._fault = f"Redis at {self._address.shown} cannot be used: {error}"
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
                continue
            backoff_s = BACKOFF_FIRST_S
            self._wire = wire
            self._connected.set()
            try:
                await asyncio.shield(wire.lost)
            finally:
                self._fault = wire.fault
                self._wire = None
                self._connected.clear()
                wire.close()

    async def _open(self) -> _Wire:
        """A wire that has said who it is and loaded the scripts.

        Raises OSError, ReplyError, LedgerUnavailable.
        """
        loop = asyncio.get_running_loop()
        wire = _Wire(loop, self._timeout_s)
        async with asyncio.timeout(self._timeout_s):
            await self._address.open(loop, lambda: wire)
        try:
            greetings = [wire.send(_packed(*command)) for command in self._address.greeting()]
            loads = [wire.send(_packed("SCRIPT", "LOAD", script.source)) for script in self._scripts]
            # One by one, but all already under way: the first fault is told, the others are looked at.
            replies = await asyncio.gather(*greetings, *loads, return_exceptions=True)
            for reply in replies:
                if isinstance(reply, BaseException):
                    raise reply
        except BaseException:
            wire.close()
            raise
        return wire
