"""The native transport: kept connections to one origin, newest first, with a bounded queue for the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from gateway.transport.answer import PooledAnswer
from gateway.transport.connection import Connection
from gateway.transport.dial import Dialer, Dials
from gateway.transport.errors import (
    ConnectFailed,
    ConnectionLost,
    PoolExhausted,
    TransportClosed,
)
from gateway.transport.options import TransportOptions
from gateway.transport.port import Headers, Timeouts
from gateway.transport.request import RequestWriter


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request without a connection. The future brings one, or None: a slot to open one in."""

    granted: asyncio.Future[Connection | None]
    fresh: bool


class PooledTransport:
    """See `port.Transport`. Belongs to the event loop of its first request."""

    def __init__(self, options: TransportOptions, dialer: Dials | None = None) -> None:
        """`dialer`: another way to the other end than by the origin's name. Raises UnusableOptions."""
        self._options = options
        origin = options.parsed_origin()
        self._label = str(origin)
        self._writer = RequestWriter(origin.authority)
        self._dialer: Dials = dialer or Dialer(options)
        self._idle: dict[Connection, None] = {}  # in order of release; the last is taken first
        self._connections: set[Connection] = set()
        self._slots_taken = 0  # connections and attempts to open one
        self._queue: deque[_Waiting] = deque()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def idle_count(self) -> int:
        """Connections kept for the next request."""
        return len(self._idle)

    @property
    def open_count(self) -> int:
        """Connections open or being opened."""
        return self._slots_taken

    async def send(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes,
        *,
        timeouts: Timeouts,
        fresh: bool = False,
    ) -> PooledAnswer:
        """See `port.Transport.send`."""
        head = self._writer.head(method, target, headers, len(body))
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        now = loop.time()
        total_at = now + timeouts.total_s
        connection = None if fresh else self._take_idle(now)
        if connection is None:
            connection = await self._acquire(loop, timeouts.connect_s, total_at, fresh=fresh)
        answer = connection.begin(
            head,
            body,
            head_only=method == b"HEAD",
            first_byte_s=timeouts.first_byte_s,
            idle_s=timeouts.idle_s,
            total_at=total_at,
        )
        try:
            while not answer.begun:
                if answer.error is not None:
                    raise answer.error
                await answer.news()
        except asyncio.CancelledError:
            answer.close()
            raise
        return answer

    async def aclose(self) -> None:
        """See `port.Transport.aclose`."""
        self._closed = True
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.granted.done():
                waiting.granted.set_exception(TransportClosed())
        lost = [connection for connection in self._connections if not connection.closed]
        for connection in lost:
            connection.fail(ConnectionLost("the transport was closed by its owner", head_received=False))
        if lost:
            await asyncio.sleep(0)  # lets the event loop close the sockets

    # -- what connections tell ---------------------------------------------------------------------------

    def free(self, connection: Connection) -> None:
        """A connection has finished its answer: the next in the queue gets it, else it rests."""
        waiting = self._next_waiting()
        if waiting is None:
            self._idle[connection] = None
        elif waiting.fresh:
            connection.close()  # its slot goes to that request through `gone`
        else:
            self._queue.popleft()
            waiting.granted.set_result(connection)

    def gone(self, connection: Connection) -> None:
        """A connection is closed: its slot is free."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._idle.pop(connection, None)
            self._free_slot()

    # -- leaves ------------------------------------------------------------------------------------------

    def _take_idle(self, now: float) -> Connection | None:
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if connection.usable(now):
                return connection
            connection.close()
        return None

    async def _acquire(
        self, loop: asyncio.AbstractEventLoop, connect_s: float, total_at: float, *, fresh: bool
    ) -> Connection:
        """A connection by way of a free slot, an evicted idle one, or the queue."""
        wait_until = min(loop.time() + self._options.pool_wait_s, total_at)
        while True:
            if self._closed:
                raise TransportClosed
            if self._slots_taken >= self._options.max_connections and self._idle:
                next(iter(self._idle)).close()
            if self._slots_taken < self._options.max_connections:
                self._slots_taken += 1
            else:
                granted = await self._wait_in_line(loop, wait_until, fresh=fresh)
                if granted is not None:
                    if granted.closed:
                        continue  # it ended between its release and now; its slot has been passed on
                    return granted
            try:
                return await self._open(loop, connect_s, total_at)
            except BaseException:
                self._free_slot()
                raise

    async def _wait_in_line(
        self, loop: asyncio.AbstractEventLoop, wait_until: float, *, fresh: bool
    ) -> Connection | None:
        limit = self._options.max_connections
        if len(self._queue) >= self._options.max_waiting:
            raise PoolExhausted(
                f"{self._label}: {limit} connections are busy and {len(self._queue)} requests wait"
            )
        waiting = _Waiting(loop.create_future(), fresh)
        self._queue.append(waiting)
        timer = loop.call_at(wait_until, self._give_up, waiting)
        try:
            return await waiting.granted
        except asyncio.CancelledError:
            self._return_grant(waiting)
            raise
        finally:
            timer.cancel()

    def _give_up(self, waiting: _Waiting) -> None:
        if not waiting.granted.done():
            self._queue.remove(waiting)
            limit = self._options.max_connections
            waiting.granted.set_exception(
                PoolExhausted(f"{self._label}: all {limit} connections stayed busy; raise max_connections")
            )

    def _return_grant(self, waiting: _Waiting) -> None:
        """A request was cancelled while waiting: pass on what it may already have been given."""
        granted = waiting.granted
        if granted.cancelled():
            if waiting in self._queue:
                self._queue.remove(waiting)
        elif granted.exception() is None:
            connection = granted.result()
            if connection is None:
                self._free_slot()
            elif not connection.closed:
                self.free(connection)

    def _next_waiting(self) -> _Waiting | None:
        while self._queue:
            if not self._queue[0].granted.done():
                return self._queue[0]
            self._queue.popleft()
        return None

    def _free_slot(self) -> None:
        waiting = self._next_waiting()
        if waiting is None:
            self._slots_taken -= 1
        else:
            self._queue.popleft()
            waiting.granted.set_result(None)

    async def _open(self, loop: asyncio.AbstractEventLoop, connect_s: float, total_at: float) -> Connection:
        """A new connection. The caller holds a slot for it."""

        def build() -> Connection:
            return Connection(self, loop, self._options, self._label)

        connection = await self._dialer.connect(build, connect_s, total_at)
        if self._closed:
            connection.close()
            raise TransportClosed
        if connection.closed:
            raise ConnectFailed(f"{self._label} closed the connection as soon as it was made")
        self._connections.add(connection)
        return connection
