"""The three far ends of a worker that are not there: a socket that leads to a function, a ledger that grants
everything, a provider that answers with given bytes. For `wholerequest.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from struct import pack
from typing import Any

import orjson

from benchmarks.hotpath import REPORTED, streamed_answer
from budgets.scripts import Script
from budgets.wire import Argument, Wire, packed

MODEL = "bench-1kb"
OK, CLOSED = b"+OK\r\n", b"+ok\r\n"


class Socket(asyncio.Transport):
    """A connection whose other end is a function: what is written goes to it, at once."""

    def __init__(self, written: Callable[[bytes], None]) -> None:
        super().__init__()
        self._written = written

    def write(self, data: Any) -> None:
        """See asyncio."""
        self._written(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses, as a TCP socket has them."""
        return ("127.0.0.1", 4_000) if name in ("peername", "sockname") else default

    def get_write_buffer_size(self) -> int:
        """See asyncio: nothing ever waits."""
        return 0

    def is_closing(self) -> bool:
        """See asyncio."""
        return False

    def close(self) -> None:
        """See asyncio."""

    abort = close


class LedgerServer:
    """A ledger that grants everything and acknowledges every close; its keys and lists are those given."""

    def __init__(self, documents: dict[bytes, bytes]) -> None:
        self._documents = documents
        loop = asyncio.get_running_loop()
        self.wire = Wire(loop, 5.0)
        self.wire.connection_made(Socket(self._answer))
        self._opens = True

    def command(self, *args: Argument) -> asyncio.Future[Any]:
        """See RedisConnection."""
        return self.wire.send(packed(*args))

    def script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> asyncio.Future[Any]:
        """See RedisConnection."""
        return self.wire.send(packed("EVALSHA", script.sha, len(keys), *keys, *args), script)

    def run_id_for(self, key: str) -> str:
        """See RedisConnection."""
        return "0" * 40

    def _answer(self, command: bytes) -> None:
        reply = OK
        if command.split(b"\r\n", 3)[2] == b"EVALSHA":
            reply = CLOSED
            if self._opens:
                reply = b"$16\r\n" + pack("<2q", time.time_ns() // 1_000_000, 10**15) + b"\r\n"
            self._opens = not self._opens
        elif b"GET" in command:
            name = command.split(b"\r\n")[4]
            found = self._documents.get(name)
            reply = b"$-1\r\n" if found is None else b"$%d\r\n%b\r\n" % (len(found), found)
        asyncio.get_running_loop().call_soon(self.wire.data_received, reply)


class Provider:
    """Dials nowhere; a request written to it is answered with the pieces given, each in a turn of the event
    loop after the one in which the last was passed on, as when they come one by one."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    async def connect(self, build: Callable[[], Any], connect_s: float, total_at: float) -> Any:
        """See `dial.Dials`."""
        protocol = build()
        loop = asyncio.get_running_loop()

        def come(number: int) -> None:
            if number < len(self._pieces):
                protocol.data_received(self._pieces[number])
                loop.call_soon(loop.call_soon, come, number + 1)

        def answer(_: bytes) -> None:
            loop.call_soon(come, 0)

        protocol.connection_made(Socket(answer))
        return protocol


def whole_answer() -> list[bytes]:
    """A chat completion of about 1 KB, as one read brings it."""
    message = {"role": "assistant", "content": "the price of every answer is known. " * 20}
    document = {
        "id": "chatcmpl-C9bench01",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": REPORTED,
    }
    body = orjson.dumps(document)
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
        b"openai-processing-ms: 12\r\ncontent-length: %d\r\n\r\n"
    )
    return [head % len(body) + body]


def streamed_answers() -> list[bytes]:
    """The head of a stream, and each of its 200 chunks as a read of its own."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%b\r\n" % (len(each), each) for each in streamed_answer()), b"0\r\n\r\n"]
