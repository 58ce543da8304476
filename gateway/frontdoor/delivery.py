"""Delivery: one request's two directions, as an ASGI application has them: its body in, its answer out.

What uvicorn's cycle does, and less: the head waits for the first bytes of the body, so that an answer is one
write; headers are looked through once, and for what could end them early; nothing is made that a request
whose body is here does not need.

An HTTP/1.0 client knows no chunks: without a length, the end of its answer is the connection's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gateway.client import WRITE

if TYPE_CHECKING:
    from gateway.frontdoor.protocol import FrontDoor

_PHRASES = {each.value: each.phrase for each in HTTPStatus}
STATUS_LINES = [f"HTTP/1.1 {n} {_PHRASES.get(n, '')}\r\n".encode() for n in range(600)]
"""By status: also those that only providers have."""
_WITHOUT_BODY = frozenset({204, 304})
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_JOIN_BYTES_MAX = 64 * 1024  # below it one copy is cheaper than one more write
_OURS: list[tuple[bytes, bytes]] = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"21"),
    (b"connection", b"close"),
]

_log = logging.getLogger("uvicorn.error")


class Delivery:
    """A request whose head is complete.

    The front door adds to its body (`came`, `more_body`) and tells of news (`set`); `disconnected`: its
    client is gone, or may not be answered any more. `response_started`: a byte of the answer was written.
    """

    __slots__ = (
        "_asks_continue",
        "_body",
        "_chunked",
        "_door",
        "_event",
        "_head_only",
        "_left",
        "_news",
        "_old",
        "_start",
        "came",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
    )

    def __init__(self, door: FrontDoor, scope: Any, *, asks_continue: bool, keep_alive: bool) -> None:
        self._door: FrontDoor | None = door
        self._head_only = scope["method"] == "HEAD"
        self._old = scope["http_version"] == "1.0"
        self._asks_continue = asks_continue
        self._body: list[bytes] = []
        self._event: asyncio.Event | None = None
        self._news = False
        self._start: MutableMapping[str, Any] | None = None
        self._chunked = False
        self._left: int | None = None  # bytes that the answer's length still promises; None: it has no length
        self.came = 0
        self.more_body = True
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_started = False
        self.response_complete = False

    async def run(self, app: Any, scope: Any, task_done: Any) -> None:
        """Let the application serve this request; whatever it does, the client gets an end."""
        scope["extensions"] = {WRITE: self.write}
        try:
            await app(scope, self.receive, self.send)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - its client is told in any case
            _log.error("Exception in ASGI application\n", exc_info=error)
            await self._end_badly()
        else:
            if not self.response_complete and not self.disconnected:
                _log.error("ASGI callable returned without completing response.")
                await self._end_badly()
        finally:
            self._door = None  # which has this delivery: neither waits for the collector
            task_done()

    # What the front door tells

    @property
    def message_event(self) -> Delivery:
        """Who is told of news, by uvicorn's name for it."""
        return self

    def set(self) -> None:
        """Something happened that `receive` waits for."""
        self._news = True
        if self._event is not None:
            self._event.set()

    def add(self, body: bytes) -> None:
        """More of the body came."""
        self._body.append(body)
        self.came += len(body)
        self.set()

    # What the application is given

    async def receive(self) -> dict[str, Any]:
        """See ASGI: the body as far as it came, or that the client is gone or has its answer."""
        door = self._door
        if not self.disconnected and not self.response_complete and door is not None:
            if self._asks_continue and not door.transport.is_closing():
                self._asks_continue = False
                door.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            door.flow.resume_reading()
            if not self._news:
                if self._event is None:
                    self._event = asyncio.Event()
                self._event.clear()
                await self._event.wait()
            self._news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self._body, self.came = self._body, [], 0
        return {
            "type": "http.request",
            "body": body[0] if len(body) == 1 else b"".join(body),
            "more_body": self.more_body,
        }

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """See ASGI. RuntimeError: the application says what cannot be said now, or not in HTTP."""
        door = self._door
        if door is not None and door.flow.write_paused and not self.disconnected:
            await door.flow.drain()
        if door is None or self.disconnected:
            return
        kind = message["type"]
        if self._start is None and kind == "http.response.start":
            self._start = message
            return
        if self._start is None or kind != "http.response.body" or self.response_complete:
            raise RuntimeError(f"{kind} does not come here in an answer")
        body, more = message.get("body", b""), message.get("more_body", False)
        if not self.response_started:
            self.response_started, self._asks_continue = True, False
            head = self._head(self._start["status"], self._start.get("headers", ()))
            framed = self._framed(body, more)
            if len(framed) <= _JOIN_BYTES_MAX:
                framed = head + framed
            else:
                door.transport.write(head)
        else:
            framed = self._framed(body, more)
        if framed:
            door.transport.write(framed)
        if not more:
            self._complete(door)

    def write(self, body: bytes) -> bool:
        """See `client.Write`. To a client that is gone everything is said in vain, as with `send`."""
        door = self._door
        if door is None or self.disconnected:
            return True
        door.transport.write(self._framed(body, True))
        return not door.flow.write_paused

    # Leaves

    def _head(self, status: int, headers: Any) -> bytes:
        lines, closes = [STATUS_LINES[status]], False
        for name, value in headers:
            if name in _FRAMING:
                if name == b"content-length":
                    self._left = int(value)
                elif name == b"connection":
                    closes = closes or b"close" in value.lower()
                else:
                    continue  # how it is framed is for us to say
            lines += (name, b": ", value, b"\r\n")
        count = len(lines) // 4 + 1
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
            count += 1
        if self._head_only or status in _WITHOUT_BODY:
            self._left = 0
        elif self._left is None and not self._old:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
            count += 1
        head = b"".join(lines)
        if head.count(b"\n") != count or head.count(b"\r") != count or b"\0" in head:
            raise RuntimeError("a header of the answer has a line's end in it")
        return head + b"\r\n"

    def _framed(self, body: bytes, more: bool) -> bytes:
        if self._chunked:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            return body if more else body + b"0\r\n\r\n"
        if self._left is None:
            return body
        if self._head_only:
            return b""
        self._left -= len(body)
        if self._left < 0 or (self._left and not more):
            raise RuntimeError("the answer is not as long as its content-length says")
        return body

    def _complete(self, door: FrontDoor) -> None:
        self.response_complete = True
        self.set()
        if not self.keep_alive:
            door.transport.close()
        door.on_response_complete()

    async def _end_badly(self) -> None:
        """The application failed: say so where nothing was said, else cut the connection."""
        if self._door is not None and (self.response_started or self.disconnected):
            self._door.transport.close()
            return
        self._start = None
        await self.send({"type": "http.response.start", "status": 500, "headers": _OURS})
        await self.send({"type": "http.response.body", "body": b"Internal Server Error"})
