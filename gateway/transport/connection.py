"""One HTTP/1.1 client connection: what is sent, how long is waited, and when it is over.

Life: resting -> (begin) -> head -> body -> (end) -> resting ... -> closed. `incoming` says what the bytes
mean. One timer serves all deadlines: moving a deadline back is an assignment, and only an earlier one
touches the event loop.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from typing import Protocol, cast

from gateway.transport.answer import PooledAnswer
from gateway.transport.errors import (
    ConnectionLost,
    FirstByteTimeout,
    FramingFault,
    IdleTimeout,
    ReusedConnectionClosed,
    TlsFailed,
    TotalTimeout,
    TransportError,
)
from gateway.transport.incoming import Incoming
from gateway.transport.options import CLOCK_GRAIN_S, TransportOptions

_JOIN_BYTES_MAX = 64 * 1024  # below it one copy is cheaper than one more write


class Owner(Protocol):
    """Who keeps the connection between requests."""

    def free(self, connection: Connection) -> None:
        """The answer has ended and the connection can carry another."""

    def gone(self, connection: Connection) -> None:
        """The connection is closed."""


class Connection(asyncio.Protocol):
    """A connection of a pool, made by `create_connection`. All methods are synchronous."""

    __slots__ = (
        "_answer",
        "_buffer_bytes_max",
        "_deadline",
        "_idle_s",
        "_incoming",
        "_label",
        "_loop",
        "_options",
        "_owner",
        "_paused",
        "_rested_at",
        "_timer",
        "_timer_at",
        "_total_at",
        "_transport",
        "closed",
        "retire_at",
        "served",
    )

    _transport: asyncio.Transport

    def __init__(
        self, owner: Owner, loop: asyncio.AbstractEventLoop, options: TransportOptions, label: str
    ) -> None:
        self.closed = False
        self.served = 0
        """Requests begun on this connection."""
        self.retire_at = loop.time() + options.connection_life_s
        self._owner = owner
        self._loop = loop
        self._options = options
        self._label = label
        self._incoming = Incoming(label, options.head_bytes_max)
        self._answer: PooledAnswer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._deadline = self._total_at = self.retire_at
        self._rested_at = loop.time()
        self._idle_s = 0.0
        self._paused = False
        self._buffer_bytes_max = options.buffer_bytes_max

    # -- what the pool does ------------------------------------------------------------------------------

    def begin(
        self,
        head: bytes,
        body: bytes,
        *,
        head_only: bool,
        first_byte_s: float,
        idle_s: float,
        total_at: float,
    ) -> PooledAnswer:
        """Send a request; the answer fills itself. The connection must be open and resting."""
        self._answer = answer = PooledAnswer(self._loop, self, reused=self.served > 0)
        self._incoming.expect(answer, head_only=head_only)
        self.served += 1
        if len(body) <= _JOIN_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        self._idle_s = idle_s
        self._total_at = total_at
        first_byte_at = self._loop.time() + first_byte_s
        self._wait_until(first_byte_at if first_byte_at < total_at else total_at)
        return answer

    def rest(self, now: float) -> None:
        """Wait for the next request, not for ever."""
        self._rested_at = now
        idle_until = now + self._options.idle_connection_s
        self._wait_until(idle_until if idle_until < self.retire_at else self.retire_at)

    def usable(self, now: float) -> bool:
        """Whether a request may be put on this resting connection."""
        if self.closed or now >= self.retire_at:
            return False
        return now - self._rested_at < self._options.probe_after_s or not self._peer_has_spoken()

    def close(self) -> None:
        """Drop it at once, whatever is under way; the answer is left as it is."""
        if self.closed:
            return
        self.closed = True
        self._answer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        self._owner.gone(self)

    def fail(self, error: TransportError) -> None:
        """End the answer under way with an error and drop the connection."""
        answer = self._answer
        if answer is not None:
            self._answer = None
            answer.fail(error)
        self.close()

    def drained(self) -> None:
        """The reader has emptied the buffer: read on from the socket."""
        if self._paused and not self.closed:
            self._paused = False
            self._transport.resume_reading()
            self._wait_until(min(self._loop.time() + self._idle_s, self._total_at))

    # -- what the event loop tells -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's only behaves like one

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.close()  # nobody asked for these bytes, so the next answer could not be trusted
            return
        incoming = self._incoming
        fault = incoming.feed(data)
        if fault is not None:
            self.fail(fault)
        elif incoming.ended:
            self._end(answer)
        elif incoming.head_done:
            self._continue_body(answer)

    def eof_received(self) -> None:
        self._peer_ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer_ended(exc)
        self._incoming.release()

    # -- leaves ------------------------------------------------------------------------------------------

    def _continue_body(self, answer: PooledAnswer) -> None:
        if answer.buffered <= self._buffer_bytes_max:
            idle_at = self._loop.time() + self._idle_s
            self._wait_until(idle_at if idle_at < self._total_at else self._total_at)
            return
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._deadline = self._total_at  # waiting for our own reader is not the provider's idleness

    def _end(self, answer: PooledAnswer) -> None:
        """The answer is whole: keep the connection if its state is beyond doubt."""
        self._answer = None
        answer.end()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        now = self._loop.time()
        # An answer that comes before its request was written out leaves the rest of that request behind.
        if self._incoming.reusable and now < self.retire_at and not self._transport.get_write_buffer_size():
            self.rest(now)
            self._owner.free(self)
        else:
            self.close()

    def _peer_ended(self, exc: Exception | None) -> None:
        if self.closed:
            return
        answer = self._answer
        if answer is None:
            self.close()
        elif exc is None and self._incoming.head_done and self._incoming.framing == "close":
            self._incoming.end_by_close()
            self._end(answer)
        else:
            self.fail(self._lost(exc))

    def _lost(self, exc: Exception | None) -> TransportError:
        how = "closed the connection" if exc is None else f"broke the connection ({exc})"
        if self._incoming.head_done:
            if exc is None:
                return FramingFault("short_body", f"{self._label} closed before the end of the body")
            return ConnectionLost(f"{self._label} {how} in the body", head_received=True)
        if self._incoming.heard:
            return ConnectionLost(f"{self._label} {how} in the head", head_received=False)
        if self.served > 1:
            return ReusedConnectionClosed(f"{self._label} {how} that was kept from an earlier request")
        if isinstance(exc, ssl.SSLError) and _refuses_certificate(exc):
            # With TLS 1.3 the server's verdict on our certificate comes after our first request bytes.
            return TlsFailed(f"{self._label} refused the client certificate: {exc.reason}")
        return ConnectionLost(f"{self._label} {how} without an answer", head_received=False)

    def _wait_until(self, deadline: float) -> None:
        self._deadline = deadline
        if self._timer is None:
            self._set_timer(deadline)
        elif deadline < self._timer_at:
            self._timer.cancel()
            self._set_timer(deadline)

    def _set_timer(self, when: float) -> None:
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self.closed:
            return
        now = self._loop.time() + CLOCK_GRAIN_S
        if now < self._deadline:
            self._set_timer(self._deadline)
        elif self._answer is None:
            self.close()
        else:
            self.fail(self._overdue(now))

    def _overdue(self, now: float) -> TransportError:
        if now >= self._total_at:
            return TotalTimeout(f"{self._label} did not finish within the total time")
        if not self._incoming.head_done:
            return FirstByteTimeout(f"{self._label} did not begin to answer in time")
        return IdleTimeout(f"{self._label} stopped sending for {self._idle_s:g} s")

    def _peer_has_spoken(self) -> bool:
        """Whether the kernel holds something for us that the event loop has not told yet: an end, mostly."""
        raw = self._transport.get_extra_info("socket")
        if raw is None or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(raw.fileno(), select.POLLIN)
        return bool(poll.poll(0))


def _refuses_certificate(error: ssl.SSLError) -> bool:
    reason = error.reason or ""
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)
