"""A relay between clients and the gateway that counts requests on the wire, by the name they carry.

What an SDK says of its tries is one thing; what really arrived is another.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

NAME = "X-Trial"
READ_BYTES = 65_536


@dataclass
class Wire:
    """`root` is where clients connect; `tries` counts requests by their X-Trial header."""

    target: tuple[str, int]
    port: int = 0
    tries: Counter[str] = field(default_factory=Counter)

    @property
    def base_url(self) -> str:
        """What an SDK takes as its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def carry(self, reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        """One client's connection, there and back."""
        try:
            there, back = await asyncio.open_connection(*self.target)
        except OSError:
            writing.close()
            return
        await asyncio.gather(self._up(reading, back), _pass(there, writing))

    async def _up(self, reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reading.readuntil(b"\r\n\r\n")
                fields = _fields(head)
                self.tries[fields.get(NAME.lower(), "")] += 1
                writing.write(head)
                left = int(fields.get("content-length", "0"))
                while left:
                    part = await reading.read(min(left, READ_BYTES))
                    if not part:
                        return
                    left -= len(part)
                    writing.write(part)
                await writing.drain()
        writing.close()


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def _pass(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reading.read(READ_BYTES):
            writing.write(data)
            await writing.drain()
    writing.close()


@contextmanager
def wire_to(host: str, port: int) -> Iterator[Wire]:
    """A relay in a thread of its own, for the length of a `with`."""
    wire = Wire((host, port))
    ready, loops, over = threading.Event(), [], asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
        wire.port = server.sockets[0].getsockname()[1]
        loops.append(asyncio.get_running_loop())
        ready.set()
        async with server:
            await over.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield wire
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join(10)
