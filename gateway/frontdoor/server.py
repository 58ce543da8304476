"""Uvicorn's server as our processes run it: signals are theirs, and they hear when its listeners close."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn


class Server(uvicorn.Server):
    """`on_closed` is called when it accepts no more connections."""

    on_closed: Callable[[], object]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # After this turn of the loop: uvicorn has closed its listeners by then.
        asyncio.get_running_loop().call_soon(self.on_closed)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it has a wheel, else the standard loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
