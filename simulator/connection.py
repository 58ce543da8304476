"""One socket: bytes in, requests out, one answer at a time, in order."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from simulator.delivery import Delivery
from simulator.errors import Refusal
from simulator.openai import OPENAI
from simulator.wire import JSON, Request, head

if TYPE_CHECKING:
    from simulator.service import Service

BODY_BYTES_MAX = 64 * 1024 * 1024
HEADER_BYTES_MAX = 64 * 1024
QUEUED_MAX = 32
"""Pipelined requests that wait on one connection before reading from it stops."""


class _Parser(Protocol):
    def feed_data(self, data: bytes) -> None: ...
    def get_method(self) -> bytes: ...
    def get_http_version(self) -> str: ...
    def should_keep_alive(self) -> bool: ...


class Connection(asyncio.Protocol):
    """Parses requests with httptools and lets the service answer them."""

    def __init__(self, service: Service, connections: set[Connection]) -> None:
        self.loop = asyncio.get_running_loop()
        self.paused = False
        self.stale = False
        self.delivery: Delivery | None = None
        self._service = service
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._parser: _Parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._refused = False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._refuse(400, f"The request is not valid HTTP: {error}")
            return
        if self._header_bytes > HEADER_BYTES_MAX:
            self._refuse(431, "The request's headers are too large.")
        elif self._body_bytes > BODY_BYTES_MAX:
            self._refuse(413, f"The request's body is larger than {BODY_BYTES_MAX} bytes.")
        else:
            self._next()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.resume_delivery()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._waiting.clear()
        self._refused = True
        delivery, self.delivery = self.delivery, None
        if delivery is not None:
            delivery.lost()

    # the parser's side

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._header_bytes = 0
        self._body = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))
        self._header_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        for name, value in self._headers:
            if name == b"expect" and value.lower() == b"100-continue" and self.delivery is None:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes <= BODY_BYTES_MAX:
            self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.partition(b"?")
        self._waiting.append(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                path=path.decode("latin-1"),
                query=query.decode("latin-1"),
                headers=self._headers,
                body=b"".join(self._body),
                keep_alive=self._parser.should_keep_alive(),
                chunks=self._parser.get_http_version() == "1.1",
                arrived=self.loop.time(),
            )
        )
        if len(self._waiting) == QUEUED_MAX and self._transport is not None:
            self._transport.pause_reading()

    # the deliveries' side

    def write(self, data: bytes) -> None:
        """Hand bytes to the socket."""
        if self._transport is not None:
            self._transport.write(data)

    def resume_delivery(self) -> None:
        """The reader, or a slow outlet, can take more."""
        if self.delivery is not None:
            self.delivery.resume()

    def answered(self, *, keep: bool) -> None:
        """The current answer has left. The next request begins, or the connection closes."""
        self.delivery = None
        if not keep:
            self.close()
        elif self._waiting:
            self.loop.call_soon(self._next)

    def close(self) -> None:
        """Send what is buffered, then close."""
        self._refused = True
        self._waiting.clear()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Close with a TCP reset: what the other side reads next is an error."""
        if self._transport is not None and not self._transport.is_closing():
            plug = self._transport.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def _next(self) -> None:
        while self._waiting and self.delivery is None and not self._refused:
            if self.stale:
                self.close()
                return
            request = self._waiting.popleft()
            if len(self._waiting) == QUEUED_MAX - 1 and self._transport is not None:
                self._transport.resume_reading()
            delivery = self._service.deliver(request, self)
            self.delivery = delivery
            delivery.begin()

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot be read, unless another answer is on its way, and end the connection."""
        self._refused = True
        if self.delivery is None:
            request_id = OPENAI.request_id(self._service.serial())
            body = OPENAI.refused(Refusal(status, message), request_id).body
            opening = head(
                status,
                usual=OPENAI.headers(request_id, 0),
                content_type=JSON,
                length=len(body),
                keep_alive=False,
            )
            self.write(opening + body)
        self.close()
