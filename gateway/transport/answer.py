"""One answer of the native pool: filled by its connection, read by its caller, each at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.transport.encoding import BodyDecoder, decoded
from gateway.transport.errors import ConnectionLost, FramingFault, ResponseTooLarge, TransportError
from gateway.transport.port import Answer, Framing, Headers


class Source(Protocol):
    """What an unfinished answer needs of its connection."""

    def drained(self) -> None:
        """The buffer was emptied."""

    def close(self) -> None:
        """Nobody reads on."""


class PooledAnswer:
    """See `port.Answer`. From `begin` on, the methods belong to the connection."""

    __slots__ = (
        "_chunks",
        "_decoder",
        "_ended",
        "_loop",
        "_source",
        "_take",
        "_waiter",
        "begun",
        "buffered",
        "connection_reused",
        "error",
        "framing",
        "headers",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Source, *, reused: bool) -> None:
        self.status = 0
        self.headers: Headers = []
        self.framing: Framing = "close"
        self.connection_reused = reused
        self.buffered = 0
        """Bytes that have arrived and were not read."""
        self.begun = False
        """The head has arrived."""
        self.error: TransportError | None = None
        """Why no more will come."""
        self._loop = loop
        self._source: Source | None = source
        self._decoder: BodyDecoder | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], bool] | None = None  # who is given what arrives, while it is poured
        self._chunks: list[bytes] = []
        self._ended = False

    @property
    def complete(self) -> bool:
        arrived = self._ended and self.error is None
        return arrived and (self._decoder is None or self._decoder.finished)

    def header(self, name: bytes) -> bytes | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read(self, limit: int) -> bytes:
        if self._ended and self._decoder is None:  # the usual case: it is all here
            if self.buffered > limit:
                raise ResponseTooLarge(limit)
            return self._taken() if self._chunks else b""
        return await whole_body(self, limit)

    async def chunk(self) -> bytes:
        if self._decoder is None:
            return await self._raw_chunk()
        try:
            return await decoded(self._decoder, self._raw_chunk)
        except FramingFault as fault:
            self.close()
            self.error = fault
            raise

    async def pour(self, take: Callable[[bytes], bool]) -> None:
        if self._decoder is not None or (self._chunks and not take(self._taken())):
            return
        self._take = take
        try:
            while self._pouring and not self._ended:
                if self.error is not None:
                    raise self.error
                await self.news()
        finally:
            self._take = None

    def close(self) -> None:
        source = self._source
        if source is not None:
            self.fail(ConnectionLost("the answer was closed by its reader", head_received=self.begun))
            source.close()

    def begin(self, status: int, headers: Headers, framing: Framing, decoder: BodyDecoder | None) -> None:
        """The head is complete."""
        self.status = status
        self.headers = headers
        self.framing = framing
        self._decoder = decoder
        self.begun = True
        if self._waiter is not None:
            self._wake(self._waiter)

    def feed(self, data: bytes) -> None:
        """Body bytes have arrived."""
        if self._take is not None:
            self._hand_on(self._take, data)
            return
        self._chunks.append(data)
        self.buffered += len(data)
        if self._waiter is not None:
            self._wake(self._waiter)

    def end(self) -> None:
        """The framing's end has come; the connection is free for others."""
        self._ended = True
        self._source = None
        if self._waiter is not None:
            self._wake(self._waiter)

    def fail(self, error: TransportError) -> None:
        """No more will come. The first fault stays."""
        if self.error is None:
            self.error = error
        self._source = None
        if self._waiter is not None:
            self._wake(self._waiter)

    def news(self) -> asyncio.Future[None]:
        """Done when the connection has something to tell."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    @property
    def _pouring(self) -> bool:
        return self._take is not None

    async def _raw_chunk(self) -> bytes:
        while not self._chunks:
            if self.error is not None:
                raise self.error
            if self._ended:
                return b""
            await self.news()
        return self._taken()

    def _taken(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.buffered = 0
        source = self._source
        if source is not None:
            source.drained()
        return data

    def _hand_on(self, take: Callable[[bytes], bool], data: bytes) -> None:
        waiter = self._waiter
        try:
            if take(data):
                return
        except Exception as error:  # noqa: BLE001 - its reader's fault, and for its reader to hear of
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
        self._take = None
        if waiter is not None:
            self._wake(waiter)

    def _wake(self, waiter: asyncio.Future[None]) -> None:
        self._waiter = None
        if not waiter.done():  # else the wait was cancelled
            waiter.set_result(None)


async def whole_body(answer: Answer, limit: int) -> bytes:
    """Read an answer to its end, within `limit` bytes, of which its promise is asked first.

    Closes the answer when it is too large and when the wait is cancelled.
    """
    promised = answer.header(b"content-length") if answer.framing == "length" else None
    parts: list[bytes] = []
    total = 0
    try:
        if promised is not None and not answer.complete and int(promised) > limit:
            raise ResponseTooLarge(limit)
        while part := await answer.chunk():
            total += len(part)
            if total > limit:
                raise ResponseTooLarge(limit)
            parts.append(part)
    except (asyncio.CancelledError, ResponseTooLarge):
        answer.close()
        raise
    return parts[0] if len(parts) == 1 else b"".join(parts)
