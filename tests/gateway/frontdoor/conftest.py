"""A front door on a real socket, before an application that writes down what it is asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from gateway.frontdoor.doorkeeper import Doorkeeper
from gateway.frontdoor.limits import DoorLimits
from gateway.settings.server import ServerSettings
from gateway.worker import server_config

WITHIN_S = 60.0


@dataclass
class Hall:
    """What is behind the door: answers `ok`, a stream at /stream, and waits at /wait until it is told."""

    port: int = 0
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    """(method, path, body) of every request that was whole when it came in."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    keeper: Doorkeeper = field(init=False)
    server: uvicorn.Server = field(init=False)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] != "/early":
            body = b""
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message["body"]
                if not message["more_body"]:
                    break
            self.asked.append((scope["method"], scope["path"], body))
        if scope["path"] == "/wait":
            await self.told.wait()
        if scope["path"] == "/stream":
            await self._stream(receive, send)
            return
        head = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"ok"})

    async def _stream(self, receive: Any, send: Any) -> None:
        """Sends for as long as the client is there; 1 GiB at most."""

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.set()

        watching = asyncio.create_task(watch())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        chunk = b"x" * 65_536
        while not self.gone.is_set() and self.sent < 2**30 and not self.told.is_set():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self.sent += len(chunk)
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"the end"})
        watching.cancel()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, raw: bytes) -> bytes:
        """Send bytes and read until the door closes."""
        reading, writing = await self.connect()
        writing.write(raw)
        try:
            return await asyncio.wait_for(reading.read(), WITHIN_S)
        finally:
            writing.close()


Open = Callable[..., Any]


@asynccontextmanager
async def open_hall(**limits: Any) -> AsyncIterator[Hall]:
    """A hall whose door has these limits, others as shipped."""
    hall = Hall()
    settings = ServerSettings(**limits)
    hall.keeper = Doorkeeper(DoorLimits.of(settings))
    everything: Any = SimpleNamespace(server=settings)
    application: Any = hall
    hall.server = uvicorn.Server(server_config(everything, application, hall.keeper))
    listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    hall.port = listener.getsockname()[1]
    serving = asyncio.create_task(hall.server._serve([listener]))
    while not hall.server.started:
        await asyncio.sleep(0.001)
    try:
        yield hall
    finally:
        hall.told.set()
        hall.server.should_exit = hall.server.force_exit = True
        await asyncio.wait_for(serving, WITHIN_S)


@pytest.fixture
async def hall() -> AsyncIterator[Hall]:
    """One that has all the time of the world."""
    async with open_hall(head_s=300, body_s=300, keep_alive_s=300, reader_s=300) as opened:
        yield opened


@pytest.fixture
async def halls() -> AsyncIterator[Open]:
    """Opens halls with limits of the test's own."""
    async with AsyncExitStack() as opened:
        yield lambda **limits: opened.enter_async_context(open_hall(**limits))
