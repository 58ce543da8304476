"""A server on a loopback socket that does exactly what a test's script says, lies included."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

HEAD = b"HTTP/1.1 200 OK\r\n"
SSE = b"Content-Type: text/event-stream\r\n"


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]


class Peer:
    """The server's side of one connection: raw bytes, and ends of every kind."""

    def __init__(self, raw: socket.socket, server: ScriptedServer, number: int) -> None:
        self._raw = raw
        self._server = server
        self.number = number
        """Connections are counted from 1."""

    async def head(self) -> bytes:
        """The next request up to where its body begins (or a little further)."""
        held = b""
        while b"\r\n\r\n" not in held:
            held += await asyncio.get_running_loop().sock_recv(self._raw, 1024)
        return held

    async def request(self) -> Received | None:
        """The next whole request, None when the client has closed."""
        loop = asyncio.get_running_loop()
        held = b""
        while b"\r\n\r\n" not in held:
            data = await loop.sock_recv(self._raw, 65536)
            if not data:
                return None
            held += data
        head, _, body = held.partition(b"\r\n\r\n")
        line, *rows = head.split(b"\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (row.partition(b":") for row in rows)]
        length = int(dict(headers).get(b"content-length", b"0"))
        while len(body) < length:
            data = await loop.sock_recv(self._raw, 65536)
            if not data:
                return None
            body += data
        received = Received(line, headers, body)
        self._server.requests.append(received)
        return received

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._raw, data)

    async def dribble(self, data: bytes) -> None:
        """One byte at a time, each with a pass of the event loop in between."""
        for position in range(len(data)):
            await self.send(data[position : position + 1])
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the client has closed."""
        with contextlib.suppress(ConnectionError):
            while await asyncio.get_running_loop().sock_recv(self._raw, 65536):
                pass

    def finish(self) -> None:
        """No more bytes from here; the other direction stays open."""
        self._raw.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._raw.close()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._raw.close()


Script = Callable[[Peer], Awaitable[None]]


class ScriptedServer:
    """Runs a script for each connection. Use as an async context manager."""

    def __init__(self, script: Script) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> ScriptedServer:
        self._start(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()
        for task in ended:
            fault = task.exception()
            if fault is not None and not isinstance(fault, OSError):
                raise AssertionError("the script failed") from fault

    def _start(self, work: Awaitable[None]) -> None:
        self._tasks.add(asyncio.ensure_future(work))

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            raw, _ = await loop.sock_accept(self._listener)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._start(self._run(Peer(raw, self, self.connections), raw))

    async def _run(self, peer: Peer, raw: socket.socket) -> None:
        try:
            await self._script(peer)
        finally:
            raw.close()


def always(answer: bytes) -> Script:
    """Answers every request with the same bytes and keeps the connection open for the next."""

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(answer)

    return script


def once_then_close(answer: bytes) -> Script:
    """Answers one request and closes."""

    async def script(peer: Peer) -> None:
        if await peer.request() is not None:
            await peer.send(answer)

    return script


def once_then_hold(answer: bytes) -> Script:
    """Answers one request and then says nothing until the client leaves."""

    async def script(peer: Peer) -> None:
        if await peer.request() is not None:
            await peer.send(answer)
            await peer.gone()

    return script


def with_length(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A well-framed answer."""
    lines = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"", body]
    return b"\r\n".join(lines)


def chunked(*parts: bytes) -> bytes:
    """A chunked body, last chunk included."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
