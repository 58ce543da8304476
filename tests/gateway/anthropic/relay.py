"""A relay between the gateway and a provider that keeps what the provider answered, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

READ_BYTES = 65_536


@dataclass
class Relay:
    """`port` is where the gateway connects; `received` has the provider's bytes of each connection."""

    target: tuple[str, int]
    port: int = 0
    received: list[bytearray] = field(default_factory=list)

    async def carry(self, reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        """One connection, there and back."""
        there, back = await asyncio.open_connection(*self.target)
        kept = bytearray()
        self.received.append(kept)
        await asyncio.gather(_pass(reading, back, None), _pass(there, writing, kept))

    def bodies(self) -> dict[str, bytes]:
        """The body of every whole answer by its `request-id`."""
        found: dict[str, bytes] = {}
        for kept in self.received:
            raw = bytes(kept)
            while raw:
                head, _, raw = raw.partition(b"\r\n\r\n")
                lines = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
                fields = {name.lower(): value for name, _, value in lines}
                if fields.get(b"transfer-encoding") == b"chunked":
                    body, raw = _dechunked(raw)
                else:
                    length = int(fields[b"content-length"])
                    body, raw = raw[:length], raw[length:]
                found[fields[b"request-id"].decode()] = body
        return found


def _dechunked(raw: bytes) -> tuple[bytes, bytes]:
    """(body, what follows it)."""
    parts = []
    while True:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        parts.append(raw[:length])
        raw = raw[length + 2 :]
        if not length:
            return b"".join(parts), raw


async def _pass(reading: asyncio.StreamReader, writing: asyncio.StreamWriter, kept: bytearray | None) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reading.read(READ_BYTES):
            if kept is not None:
                kept += data
            writing.write(data)
            await writing.drain()
    writing.close()


@contextmanager
def relay_to(host: str, port: int) -> Iterator[Relay]:
    """The relay, in a thread of its own."""
    relay, ready, stop = Relay((host, port)), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        server = await asyncio.start_server(relay.carry, "127.0.0.1", 0)
        relay.port = server.sockets[0].getsockname()[1]
        loops.append(asyncio.get_running_loop())
        ready.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(60)
    yield relay
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(10)
