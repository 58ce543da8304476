"""The port: what the gateway needs of a transport, whichever one is configured.

Two forms exist: the native pool (`pool.py`) and the one over aiohttp (`aiohttp_transport.py`); one contract
suite holds both to these sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Headers = list[tuple[bytes, bytes]]
Framing = Literal["length", "chunked", "close"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Patience in seconds, each counted separately.

    connect_s: name look-up, TCP and TLS. first_byte_s: from the connection being ready to the complete head
    of the answer, so sending a large body counts into it. idle_s: between two arrivals of body bytes, not
    counted while our own reader is behind. total_s: from `send` to the last byte, whatever happens.
    """

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 900.0


class Answer(Protocol):
    """One answer: its head has arrived, its body may still be arriving."""

    status: int
    headers: Headers
    """Names in lower case, in the order and number received, trailers not included."""
    framing: Framing
    """How the end is told. "close": the connection's end, which proves nothing."""
    connection_reused: bool

    @property
    def complete(self) -> bool:
        """The body has arrived to the end that its framing names (read or not)."""

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header given in lower case."""

    async def read(self, limit: int) -> bytes:
        """The whole (rest of the) body.

        Raises ResponseTooLarge above `limit` bytes, ConnectionLost, UpstreamTimeout, FramingFault; the
        connection is dropped then, and when the awaiting task is cancelled.
        """

    async def chunk(self) -> bytes:
        """All body bytes that have arrived, waiting for at least one; b"" at the end, again and again.

        Bytes that arrived before a fault are handed out before the fault is raised. A cancelled wait loses
        nothing: call again, or `close`. One reader at a time.
        """

    async def pour(self, take: Callable[[bytes], bool]) -> None:
        """Hand what arrives to `take` in the moment in which it does, without waking the reader for it.

        Until the body ends, or `take` returns False: that piece it had, what follows is for `chunk` again. A
        transport may return at once, having handed out nothing. Raises as `chunk` does, and what `take` does.
        """

    def close(self) -> None:
        """Be done with it: drops the connection unless the answer is complete. Safe to repeat.

        What had arrived and was not read may still come from `chunk`, before it raises: the provider bills
        it, so a reader may want to count it.
        """


class Transport(Protocol):
    """Sends requests to one origin."""

    async def send(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes,
        *,
        timeouts: Timeouts,
        fresh: bool = False,
    ) -> Answer:
        """Send one request and wait for the head of its answer. Redirects are answers; nothing is retried.

        `target` is the whole path with its query ("/v1/chat/completions"). `headers` are complete but for
        Host, Content-Length and `Accept-Encoding: identity`, which are added here; those, Connection and
        Transfer-Encoding are refused. `fresh` insists on a new connection.
        A cancelled `send` drops its connection. Every answer must be read to its end or closed.
        Raises a TransportError.
        """

    async def aclose(self) -> None:
        """Drop all connections; running requests fail with ConnectionLost."""
