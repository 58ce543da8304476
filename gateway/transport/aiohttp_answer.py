"""One answer of the transport over aiohttp, read from aiohttp's own response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
from aiohttp import http_exceptions

from gateway.transport.answer import whole_body
from gateway.transport.encoding import decoded
from gateway.transport.errors import (
    ConnectionLost,
    FramingFault,
    IdleTimeout,
    Reason,
    TotalTimeout,
    TransportError,
)
from gateway.transport.head import judge
from gateway.transport.port import Headers


class AiohttpAnswer:
    """See `port.Answer`."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        *,
        label: str,
        head_only: bool,
        head_bytes_max: int,
        reused: bool,
        idle_s: float,
        total_at: float,
    ) -> None:
        """Raises FramingFault for a head that aiohttp lets pass and the port does not."""
        _check_head(response, head_bytes_max)
        self.status = response.status
        headers: Headers = [(name.lower(), value) for name, value in response.raw_headers]
        self.framing, self._decoder, self.headers = judge(self.status, headers, head_only=head_only)
        self.connection_reused = reused
        self._response = response
        self._label = label
        self._idle_s = idle_s
        self._total_at = total_at
        self._error: TransportError | None = None

    @property
    def complete(self) -> bool:
        content = self._response.content
        arrived = self._error is None and content.is_eof() and content.exception() is None
        return arrived and (self._decoder is None or self._decoder.finished)

    def header(self, name: bytes) -> bytes | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read(self, limit: int) -> bytes:
        return await whole_body(self, limit)

    async def chunk(self) -> bytes:
        if self._error is not None:
            raise self._error
        try:
            if self._decoder is None:
                return await self._raw_chunk()
            return await decoded(self._decoder, self._raw_chunk)
        except TransportError as error:
            self.close()
            self._error = error
            raise

    async def pour(self, take: Callable[[bytes], bool]) -> None:
        """Nothing: aiohttp tells nobody of what it reads."""

    def close(self) -> None:
        if not self.complete and self._error is None:
            self._error = ConnectionLost("the answer was closed by its reader", head_received=True)
        self._response.close()  # does nothing to a connection already given back

    async def _raw_chunk(self) -> bytes:
        until = min(asyncio.get_running_loop().time() + self._idle_s, self._total_at)
        try:
            async with asyncio.timeout_at(until) as scope:
                return await self._response.content.readany()
        except TimeoutError:
            if not scope.expired():
                raise
            if until >= self._total_at:
                raise TotalTimeout(f"{self._label} did not finish within the total time") from None
            raise IdleTimeout(f"{self._label} stopped sending for {self._idle_s:g} s") from None
        except (aiohttp.ClientError, http_exceptions.HttpProcessingError, OSError) as error:
            raise self._body_fault(error) from error
        except RuntimeError as error:
            if "closed" not in str(error):  # aiohttp's word for a session that was closed under a reader
                raise
            raise ConnectionLost("the transport was closed by its owner", head_received=True) from error

    def _body_fault(self, error: BaseException) -> TransportError:
        cause = error.__cause__
        clean = "Error(" not in str(error)  # else aiohttp appends what broke the connection
        if isinstance(error, aiohttp.ClientPayloadError) and clean:
            cut = isinstance(cause, http_exceptions.ContentLengthError) or "Not enough data" in str(cause)
            reason: Reason = "short_body" if cut or self.framing == "length" else "bad_chunk"
            return FramingFault(reason, f"{self._label}: {cause or error}")
        return ConnectionLost(f"{self._label} broke the connection in the body ({error})", head_received=True)


def _check_head(response: aiohttp.ClientResponse, bytes_max: int) -> None:
    """What aiohttp's parser lets pass and the port does not. Raises FramingFault."""
    if response.version is None or response.version.major != 1:
        raise FramingFault("bad_head", "an answer in another version than HTTP/1.x")
    if sum(len(name) + len(value) + 4 for name, value in response.raw_headers) > bytes_max:
        raise FramingFault("oversized_head", f"more than {bytes_max} bytes of head")
