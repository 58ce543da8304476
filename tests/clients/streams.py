"""Streams in every shape that their format allows, and a server that sends them in pieces."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

LETTERS = 'aé ß漢字かな한국어עברית🎉👩‍👩‍👧🇩🇪é\t\\"{}:[]\u2028\x85\r\n'
ENDS = (b"\n", b"\r\n", b"\r")
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
ASIDES = (b": waiting", b"event: message", b"id: 7", b"retry: 3000", b":")


@dataclass(frozen=True, slots=True)
class Stream:
    """`sent`: all bytes. `shown`: those without the usage event that only the gateway asked for.

    `text` is what its chunks say; `usage_apart` tells that an event with nothing but usage is in it.
    """

    sent: bytes
    shown: bytes
    text: str
    usage_apart: bool


def any_stream(chance: random.Random) -> Stream:
    """A stream with any letters, line ends, comments, fields and order of usage."""
    usual_end = chance.choice(ENDS)
    mixed = chance.random() < 0.2
    events: list[tuple[bytes, bool]] = []
    texts = ["".join(chance.choices(LETTERS, k=chance.randint(0, 12))) for _ in range(chance.randint(0, 8))]
    where = chance.choice(("apart", "in the last", "in each", "nowhere"))

    def end() -> bytes:
        return chance.choice(ENDS[:2]) if mixed else usual_end

    def add(document: Any, *, ours: bool = False) -> None:
        data = document if isinstance(document, bytes) else _json(document, chance)
        lines = [b"data:" + chance.choice((b" ", b"")) + data]
        while chance.random() < 0.1:
            lines.insert(chance.randint(0, len(lines)), chance.choice(ASIDES))
        closing = end()
        events.append((b"".join(line + closing for line in lines) + closing, ours))

    for number, text in enumerate(texts):
        counted = where == "in each"
        more = {"usage": {**USAGE, "completion_tokens": number} if counted else None}
        add({"model": "m-1", "choices": [{"delta": {"content": text}, "finish_reason": None}], **more})
    last = {"usage": USAGE} if where in ("in the last", "in each") else {}
    add({"model": "m-1", "choices": [{"delta": {}, "finish_reason": "stop"}], **last})
    if where == "apart":
        add({"model": "m-1", "choices": [], "usage": USAGE}, ours=True)
    add(b"[DONE]")
    bom = b"\xef\xbb\xbf" if chance.random() < 0.1 else b""
    return Stream(
        sent=bom + b"".join(event for event, _ in events),
        shown=bom + b"".join(event for event, ours in events if not ours),
        text="".join(texts),
        usage_apart=where == "apart",
    )


def _json(document: Any, chance: random.Random) -> bytes:
    """Compact or spaced, letters as they are or escaped: providers do all of it."""
    if chance.random() < 0.5:
        return orjson.dumps(document)
    return json.dumps(document, ensure_ascii=chance.random() < 0.5).encode()


def cut_up(data: bytes, chance: random.Random) -> list[bytes]:
    """The same bytes in pieces of any sizes, down to single bytes."""
    most = chance.choice((1, 2, 3, 7, 40, 400, max(1, len(data))))
    parts = []
    at = 0
    while at < len(data):
        size = chance.randint(1, most)
        parts.append(data[at : at + size])
        at += size
    return parts


@dataclass
class Sender:
    """Answers a request whose body has `user: NAME` with the pieces put under that name."""

    pieces: dict[str, Sequence[bytes]] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    """Names whose answers are not ended: the connection is closed behind the last piece."""
    port: int = 0

    async def answer(self, reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        writing.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reading.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                name = orjson.loads(await reading.readexactly(length))["user"]
                writing.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n")
                writing.write(b"transfer-encoding: chunked\r\n\r\n")
                for piece in self.pieces[name]:
                    writing.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writing.drain()
                    await asyncio.sleep(0)
                if name in self.cut:
                    break
                writing.write(b"0\r\n\r\n")
                await writing.drain()
        writing.close()


@contextmanager
def sending() -> Iterator[Sender]:
    """The server in a thread of its own, for the length of a `with`."""
    sender, ready, over = Sender(), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        server = await asyncio.start_server(sender.answer, "127.0.0.1", 0)
        sender.port = server.sockets[0].getsockname()[1]
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
        yield sender
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join(10)
