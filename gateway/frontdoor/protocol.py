"""FrontDoor: one client connection, as uvicorn's httptools protocol serves it, guarded.

A connection is always in one phase, and since when is written down; the doorkeeper looks through all of them
once a second, so that no request sets a timer:

    fresh ──► head ──► body ──► answer ──► idle ──► head ...          any ──► closing

One request is served at a time. Bytes behind an unanswered one are not looked at: the connection ends with
its answer, and whoever sent them on purpose sends them again. So nothing that hides behind a request, where
somebody before us may have seen its end elsewhere, is ever read as one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.answers import refusal
from gateway.errors import GatewayError, HeadTooLarge, SlowRequest, TooLarge
from gateway.frontdoor.delivery import STATUS_LINES, Delivery
from gateway.frontdoor.head import Malformed, check_head, split_target
from metering.ids import new_id

if TYPE_CHECKING:
    from gateway.frontdoor.doorkeeper import Doorkeeper

FRESH, HEAD, BODY, ANSWER, IDLE, CLOSING = range(6)


class _Stop(Exception):
    """Raised out of the parser: what follows in its bytes is not to be read."""


class FrontDoor(HttpToolsProtocol):
    """One connection; its phase, and whether it is paused by its client, are for the doorkeeper."""

    cycle: Delivery  # type: ignore[assignment]

    def __init__(self, keeper: Doorkeeper, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self.phase = FRESH
        self.since = keeper.now
        self.address = ""
        self.paused = False
        self._keeper = keeper
        self._limits = keeper.limits
        self._came = 0  # bytes, since the phase before `head` or `body` ended
        self._last = False  # no further request on this connection
        self._fault: GatewayError | None = None
        self._unwritten = 0
        self._unwritten_since = 0.0

    # What the event loop tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came; refused at once where there are too many."""
        super().connection_made(transport)
        self.since = self._keeper.now
        refused = self._keeper.enter(self, self.client[0] if self.client else "")
        if refused is not None:
            self.refuse(refused, "too_many_connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, whoever ended it."""
        self._keeper.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; its callbacks below do the rest."""
        if self.phase >= ANSWER and self.phase != IDLE:
            self._came_behind(data)
            return
        self._came += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._cannot_read(error)
            return
        if self.phase == BODY:
            if self._came > self._limits.body_wire_bytes_max:
                self.refuse(TooLarge("The body is longer than this gateway reads."), "body_too_large")
        elif self._came > self._limits.head_bytes_max and self.phase in (FRESH, HEAD, IDLE):
            self.refuse(self._head_too_large(), "head_too_large")

    def pause_writing(self) -> None:
        """The client takes less than comes for it: whoever sends must wait."""
        super().pause_writing()
        self.paused = True
        self._unwritten = self.transport.get_write_buffer_size()
        self._unwritten_since = self.loop.time()

    def resume_writing(self) -> None:
        """It took what waited."""
        super().resume_writing()
        self.paused = False

    # What the parser tells

    def on_message_begin(self) -> None:
        if self.phase == ANSWER:
            self._end_after_answer()
            raise _Stop
        self.phase = HEAD
        self.since = self._keeper.now
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase != HEAD:
            self._fault = Malformed("Trailers are not accepted.")
            raise _Stop
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        try:
            scope = self._open_scope()
        except GatewayError as error:
            self._fault = error
            raise _Stop from None
        self.phase = BODY
        self.since = self._keeper.now
        self._came = 0
        old = scope["http_version"] == "1.0"
        cycle = self.cycle = Delivery(
            self,
            scope,
            asks_continue=self.expect_100_continue,
            keep_alive=not old and not self._last and self.parser.should_keep_alive(),
        )
        self._begin(cycle, scope)

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            return  # refused before it was read
        cycle.add(body)
        if cycle.came > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        if self.cycle.response_complete:
            self._rest()
            return
        self.phase = ANSWER
        self.cycle.more_body = False
        self.cycle.set()

    # What the answer's cycle and the server tell

    def on_response_complete(self) -> None:
        """The answer is written: wait for the next request, or for the rest of this one's body."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._closing()
            return
        self.flow.resume_reading()
        if self.phase == ANSWER:
            self._rest()

    def shutdown(self) -> None:
        """The worker ends: one more request is served here, so that none is lost on its way to us."""
        self._last = True
        if self.phase in (BODY, ANSWER) and not self.cycle.response_started:
            self.cycle.keep_alive = False  # which its head will say; a client not told so asks once more

    # What the doorkeeper decides

    def overdue(self, now: float) -> None:
        """The phase has lasted longer than its patience."""
        if self.phase == BODY:
            if self.flow.read_paused:
                self.since = now  # we are who does not read
                return
            if now - self.since <= self._limits.body_s + self._came / self._limits.body_bytes_per_s:
                return
            self.refuse(SlowRequest("The request's body did not arrive in time."), "body_timeout")
        elif self.phase == HEAD:
            self.refuse(SlowRequest("The request's head did not arrive in time."), "head_timeout")
        elif self.phase == CLOSING:
            self.transport.abort()
        else:
            if self.phase == FRESH:
                self._keeper.metrics.ended("silent")
            self._close()

    def check_reader(self, now: float) -> None:
        """A client that takes nothing for too long has hung up, whatever its socket says."""
        unwritten = self.transport.get_write_buffer_size()
        if unwritten < self._unwritten:
            self._unwritten, self._unwritten_since = unwritten, now
        elif now - self._unwritten_since > self._limits.reader_s:
            self._keeper.metrics.ended("reader_stalled")
            self.transport.abort()

    def refuse(self, error: GatewayError, reason: str) -> None:
        """Say why, unless an answer has begun, and end: where the next request would begin is not known."""
        self._keeper.metrics.ended(reason)
        answered = False
        if self.phase == BODY:
            answered = self.cycle.response_started
            self.cycle.disconnected = True  # at once, so that what is refused is not accepted meanwhile
            self.cycle.set()
        if self.transport.is_closing():
            return
        if not answered:
            status, headers, body = refusal(error, new_id())
            lines = [STATUS_LINES[status]]
            lines += [name + b": " + value + b"\r\n" for name, value in headers]
            self.transport.write(b"".join([*lines, b"connection: close\r\n\r\n", body]))
        # Closing a socket that still receives resets it, and the client might not read why: what still comes
        # is taken and dropped for a moment.
        self.transport.write_eof()
        self._closing()

    # Leaves

    def _begin(self, cycle: Delivery, scope: Any) -> None:
        """Serve it in a task of its own, which the server waits for at its end."""
        tasks = self.tasks

        def done() -> None:
            tasks.discard(task)

        task = self.loop.create_task(cycle.run(self.app, scope, done))
        tasks.add(task)

    def _open_scope(self) -> Any:
        """The ASGI scope of the request whose head is complete; raises where it is not to be served."""
        limits, headers = self._limits, self.headers
        if len(headers) > limits.headers_max:
            raise HeadTooLarge(f"The request has more than {limits.headers_max} headers.")
        if self._came > limits.head_bytes_max:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > limits.head_bytes_max:
                raise self._head_too_large()
        method = self.parser.get_method().decode("ascii")
        version = self.parser.get_http_version()
        self.expect_100_continue = check_head(method, version, self.url, headers)
        path, raw_path, query = split_target(self.url)
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "method": method,
            "root_path": "",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
        }
        return self.scope

    def _head_too_large(self) -> HeadTooLarge:
        return HeadTooLarge(f"The request's head is longer than {self._limits.head_bytes_max} bytes.")

    def _cannot_read(self, error: Exception) -> None:
        if self.phase == ANSWER:
            self._end_after_answer()  # the request before it was whole, and is served
        elif self._fault is not None:
            fault, self._fault = self._fault, None
            self.refuse(fault, "head_too_large" if isinstance(fault, HeadTooLarge) else "malformed")
        else:
            self.refuse(Malformed(f"The HTTP request cannot be read: {error}."), "malformed")

    def _came_behind(self, data: bytes) -> None:
        if self.phase == ANSWER and data.strip(b"\r\n"):
            self._end_after_answer()

    def _end_after_answer(self) -> None:
        if not self._last:
            self._last = True
            self._keeper.metrics.ended("pipelined")
        self.cycle.keep_alive = False

    def _rest(self) -> None:
        self.phase = IDLE
        self.since = self._keeper.now
        self._came = 0

    def _close(self) -> None:
        self.transport.close()
        self._closing()

    def _closing(self) -> None:
        self.phase = CLOSING
        self.since = self._keeper.now
