"""A server that answers with what a provider really answered, from recorded traffic.

    with replaying() as replay:
        replay.exchange = recorded(...)[0]     # what the next requests are answered with
        ...                                    # send it to http://127.0.0.1:{replay.port}
        replay.asked, replay.path, replay.headers

The recordings are read where they lie, and tests that need them skip where they are not at hand.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

FOLDER = Path(os.environ.get("TOLLKEEPER_RECORDINGS") or Path(__file__).parents[3] / "shared" / "recordings")
CHUNK_BYTES = 211
"""Streams come in chunks of this size: a prime, so that events are cut everywhere."""
needs_recordings = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded provider traffic is not here")


def recorded(wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The recorded exchanges that are wanted, as they stand in the files; none where there are no files."""
    paths = sorted(FOLDER.glob("*.jsonl")) if FOLDER.is_dir() else []
    lines = (line for path in paths for line in path.read_bytes().splitlines())
    return [exchange for line in lines if wanted(exchange := orjson.loads(line))]


def id_of(exchange: dict[str, Any]) -> str:
    """A test's name for an exchange."""
    return f"{exchange['provider']}-{exchange['id']}"


def answer_of(exchange: dict[str, Any]) -> tuple[bytes, bytes]:
    """(content type, body) as the provider sent them."""
    if "stream" in exchange:
        return b"text/event-stream; charset=utf-8", exchange["stream"].encode()
    if "response" in exchange:
        return b"application/json", orjson.dumps(exchange["response"])
    return b"text/plain", exchange["text"].encode()


class Replay:
    """Answers every request with the exchange put before it.

    Of the last request: `asked` is its body, `path` its target, `headers` what it carried, in lower case.
    `extra` are headers that are sent beside the content type; `cut` ends the connection after so many bytes
    of a streamed body, without its end.
    """

    def __init__(self) -> None:
        self.exchange: dict[str, Any] = {}
        self.extra: list[tuple[str, str]] = []
        self.cut: int | None = None
        self.asked: Any = None
        self.path = ""
        self.headers: list[tuple[str, str]] = []
        self.port = 0

    def header(self, name: str) -> list[str]:
        """Every value that the last request had for a header."""
        return [value for found, value in self.headers if found == name]

    async def serve(self, reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while True:
                await self._read(reading)
                kind, body = answer_of(self.exchange)
                head = [("content-type", kind.decode()), *self.extra]
                lines = "".join(f"{name}: {value}\r\n" for name, value in head)
                writing.write(f"HTTP/1.1 {self.exchange['status']} X\r\n{lines}".encode())
                if "stream" not in self.exchange:
                    writing.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
                    await writing.drain()
                    continue
                writing.write(b"transfer-encoding: chunked\r\n\r\n")
                for start in range(0, len(body) if self.cut is None else self.cut, CHUNK_BYTES):
                    part = body[start : start + CHUNK_BYTES]
                    writing.write(b"%x\r\n%s\r\n" % (len(part), part))
                    await writing.drain()
                if self.cut is not None:
                    return
                writing.write(b"0\r\n\r\n")
                await writing.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writing.close()

    async def _read(self, reading: asyncio.StreamReader) -> None:
        head = (await reading.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        self.path = head[0].split(" ")[1]
        self.headers = [(name.lower(), value.strip()) for name, _, value in pairs]
        length = int((self.header("content-length") or ["0"])[0])
        self.asked = orjson.loads(await reading.readexactly(length)) if length else None


@contextmanager
def replaying() -> Iterator[Replay]:
    """The server, in a thread of its own."""
    replay, ready, stop = Replay(), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        server = await asyncio.start_server(replay.serve, "127.0.0.1", 0)
        replay.port = server.sockets[0].getsockname()[1]
        loops.append(asyncio.get_running_loop())
        ready.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(60)
    yield replay
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(10)
