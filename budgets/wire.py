"""One connection's bytes: commands out in batches, replies in by order, and what a refusal means.

Commands that are issued in one turn of the event loop leave in one write. What was already sent when a
connection is lost fails with `LedgerUnavailable(sent=True)`, because Redis may have done it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from hiredis import HiredisError, Reader, ReplyError, pack_command

from budgets.scripts import Script

Argument = bytes | str | int

SECOND_LOOK_S = 0.02
"""From the end of the patience with a reply to the verdict: time to write and read once more."""
PENDING_MAX = 65_536
"""Replies awaited at once; beyond, new commands fail instead of growing the queue."""
NOT_EXECUTED = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"})
"""First words of refusals that speak of the server's state, not of the command. It has not begun."""


class LedgerUnavailable(Exception):
    """The ledger could not be asked. `sent`: the command had left, so its outcome is unknown."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class ShardMoved(LedgerUnavailable):
    """Another server serves the shard now, so what the caller knew of the former one does not hold.

    Nothing was executed. The connection knows the way already: build the command anew and send it again.
    """

    def __init__(self) -> None:
        super().__init__("the shard has moved to another server", sent=False)


def packed(*args: Argument) -> bytes:
    """A command as Redis reads it."""
    command: bytes = pack_command(args)  # type: ignore[arg-type]  # its annotation describes a 1-tuple
    return command


class Pending:
    """A command whose reply is awaited. `script` and `packed` are kept while a NOSCRIPT may be repeated."""

    __slots__ = ("deadline", "future", "packed", "script")

    def __init__(
        self, future: asyncio.Future[Any] | None, script: Script | None, packed: bytes, deadline: float
    ) -> None:
        self.future = future
        self.script = script
        self.packed = packed
        self.deadline = deadline


Refused: TypeAlias = "Callable[[Wire, Pending, str, ReplyError], bool]"
"""Asked about each error reply, with its first word; True: it has taken the command over."""


class Wire(asyncio.Protocol):
    """One TCP or unix connection."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeout_s: float, refused: Refused | None = None
    ) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._refused = refused
        self._transport: asyncio.Transport | None = None
        self._reader = Reader()
        self._outgoing: list[bytes] = []
        self._pending: deque[Pending] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._late: Pending | None = None
        self.fault = "the connection to Redis was lost"
        self.over: asyncio.Future[None] = loop.create_future()
        """Done when no more commands are taken: the connection is lost, or retired."""

    def send(self, packed: bytes, script: Script | None = None) -> asyncio.Future[Any]:
        """Queue one command for this turn's write; its future gives the reply, or raises.

        ReplyError: Redis refused the command. LedgerUnavailable: it cannot be asked.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        self.put(
            Pending(future, script, packed if script else b"", self._loop.time() + self._timeout_s), packed
        )
        return future

    def put(self, pending: Pending, packed: bytes) -> None:
        """Queue what the caller has made a Pending of. One without a future fails in silence."""
        if self.over.done():
            # Between the loss of a connection and the keeper's turn: nothing would ever answer.
            fail(pending, self.fault)
        elif len(self._pending) >= PENDING_MAX:
            fail(pending, f"more than {PENDING_MAX} commands await Redis")
        else:
            if not self._outgoing:
                self._loop.call_soon(self._flush)
            self._outgoing.append(packed)
            self._pending.append(pending)
            if self._watch is None:
                self._watch = self._loop.call_at(pending.deadline, self._check_patience)

    def close(self) -> None:
        """Drop the connection; whatever is pending fails."""
        if self._transport is not None:
            self._transport.abort()

    def retire(self, reason: str) -> None:
        """Take no more commands, and close when the replies to those that have left are here."""
        if not self.over.done():
            self.fault = reason
            self.over.set_result(None)
            if not self._pending:
                self.close()

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
        if not self._pending and self.over.done():
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        reason = f"{self.fault}: {exc}" if exc else self.fault
        pending, self._pending = self._pending, deque()
        unsent = len(self._outgoing)
        self._outgoing.clear()
        for place, each in enumerate(pending):
            fail(each, reason, sent=place < len(pending) - unsent)
        if not self.over.done():
            self.over.set_result(None)

    def _flush(self) -> None:
        if self._transport is None or self._transport.is_closing() or not self._outgoing:
            return  # of a connection that closes, `connection_lost` fails what was not written
        outgoing = self._outgoing
        self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))
        outgoing.clear()

    def _answer(self, pending: Pending, reply: Any) -> None:
        future = pending.future
        if future is None or future.done():
            return
        if isinstance(reply, ReplyError):
            self._refuse(pending, future, reply)
            return
        future.set_result(reply)

    def _refuse(self, pending: Pending, future: asyncio.Future[Any], error: ReplyError) -> None:
        word = str(error).partition(" ")[0]
        if self._refused is not None and self._refused(self, pending, word, error):
            return
        if word == "NOSCRIPT" and pending.script is not None:
            # A restarted or flushed server: load it and repeat, once, in order behind what was sent.
            deadline = self._loop.time() + self._timeout_s
            load = packed("SCRIPT", "LOAD", pending.script.source)
            pending.script, pending.deadline = None, deadline
            self.put(Pending(None, None, b"", deadline), load)
            self.put(pending, pending.packed)
        elif word in NOT_EXECUTED:
            future.set_exception(LedgerUnavailable(f"Redis cannot take commands now: {error}", sent=False))
        else:
            future.set_exception(error)

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


def fail(pending: Pending, reason: str, *, sent: bool = False) -> None:
    """Tell the one who waits, if anybody does, that the ledger could not be asked."""
    if pending.future is not None and not pending.future.done():
        pending.future.set_exception(LedgerUnavailable(reason, sent=sent))
