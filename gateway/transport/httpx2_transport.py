"""A transport of ours as an `httpx2` transport, for everything that is not on the hot path.

`httpx2.AsyncClient(transport=HttpxPortTransport(transport, origin))` then keeps the pool, the guard and the
TLS options of that provider, and raises httpx2's own exceptions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2

from gateway.transport import errors
from gateway.transport.options import Origin
from gateway.transport.port import Answer, Headers, Timeouts, Transport

_FOR_EVER_S = 86_400.0  # where httpx2 says None; a bound all the same
_SET_BELOW = frozenset({b"host", b"content-length", b"transfer-encoding", b"accept-encoding", b"connection"})
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})

_CLASSES: tuple[tuple[type[errors.TransportError], type[httpx2.TransportError]], ...] = (
    (errors.MalformedRequest, httpx2.LocalProtocolError),
    (errors.TransportClosed, httpx2.ConnectError),
    (errors.PoolExhausted, httpx2.PoolTimeout),
    (errors.ConnectTimeout, httpx2.ConnectTimeout),
    (errors.ConnectFailed, httpx2.ConnectError),
    (errors.ReusedConnectionClosed, httpx2.RemoteProtocolError),
    (errors.ConnectionLost, httpx2.ReadError),
    (errors.UpstreamTimeout, httpx2.ReadTimeout),
    (errors.FramingFault, httpx2.RemoteProtocolError),
)


class HttpxPortTransport(httpx2.AsyncBaseTransport):
    """Sends httpx2's requests through a transport of the port; other origins are refused."""

    def __init__(self, transport: Transport, origin: str, *, total_s: float = _FOR_EVER_S) -> None:
        self._transport = transport
        self._origin = Origin.parse(origin)
        self._total_s = total_s

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.AsyncBaseTransport`. A repeatable request survives the end of a kept connection."""
        self._check_origin(request)
        method = request.method
        send = _Sending(
            method=method.encode("ascii"),
            target=request.url.raw_path,
            headers=[pair for pair in request.headers.raw if pair[0].lower() not in _SET_BELOW],
            body=await request.aread(),
            timeouts=self._timeouts(request.extensions.get("timeout") or {}),
        )
        try:
            try:
                answer = await send.through(self._transport, fresh=False)
            except errors.ReusedConnectionClosed:
                if method not in _REPEATABLE:
                    raise
                answer = await send.through(self._transport, fresh=True)
        except errors.TransportError as error:
            raise _translated(error, request) from error
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_AnswerStream(answer, request),
            extensions={"http_version": b"HTTP/1.1"},
            request=request,
        )

    async def aclose(self) -> None:
        """Close the transport below."""
        await self._transport.aclose()

    def _check_origin(self, request: httpx2.Request) -> None:
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        asked = (url.scheme, url.host.strip("[]"), port)
        if asked != (self._origin.scheme, self._origin.host, self._origin.port):
            raise httpx2.UnsupportedProtocol(
                f"this client only reaches {self._origin}, not {url.scheme}://{url.netloc.decode('ascii')}",
                request=request,
            )

    def _timeouts(self, given: dict[str, Any]) -> Timeouts:
        read_s = given.get("read") or _FOR_EVER_S
        return Timeouts(
            connect_s=given.get("connect") or _FOR_EVER_S,
            first_byte_s=read_s,
            idle_s=read_s,
            total_s=self._total_s,
        )


class _Sending:
    """One request in the port's terms."""

    __slots__ = ("_body", "_headers", "_method", "_target", "_timeouts")

    def __init__(
        self, *, method: bytes, target: bytes, headers: Headers, body: bytes, timeouts: Timeouts
    ) -> None:
        self._method = method
        self._target = target
        self._headers = headers
        self._body = body
        self._timeouts = timeouts

    async def through(self, transport: Transport, *, fresh: bool) -> Answer:
        return await transport.send(
            self._method, self._target, self._headers, self._body, timeouts=self._timeouts, fresh=fresh
        )


class _AnswerStream(httpx2.AsyncByteStream):
    """The body of an answer as httpx2 iterates it."""

    def __init__(self, answer: Answer, request: httpx2.Request) -> None:
        self._answer = answer
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while data := await self._answer.chunk():
                yield data
        except errors.TransportError as error:
            raise _translated(error, self._request) from error

    async def aclose(self) -> None:
        self._answer.close()


def _translated(error: errors.TransportError, request: httpx2.Request) -> httpx2.RequestError:
    if isinstance(error, errors.FramingFault) and error.reason == "bad_encoding":
        return httpx2.DecodingError(str(error), request=request)
    for ours, theirs in _CLASSES:
        if isinstance(error, ours):
            return theirs(str(error), request=request)
    return httpx2.ReadError(str(error), request=request)
