"""The configured alternative: httpx-aiohttp's transport behind the same port and with the same faults.

What it cannot do as the native pool does: `fresh` uses a second pool without reuse; connections have no
maximum life; an idempotent request on a kept connection that was closed is repeated silently by aiohttp; body
bytes that arrived in one piece with a fault may be lost. The contract suite lists these differences.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx2
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp.httpx2 import AiohttpTransport

from gateway.transport.address import resolve
from gateway.transport.aiohttp_answer import AiohttpAnswer
from gateway.transport.errors import (
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    FirstByteTimeout,
    FramingFault,
    PoolExhausted,
    Reason,
    ReusedConnectionClosed,
    TlsFailed,
    TotalTimeout,
    TransportClosed,
    TransportError,
)
from gateway.transport.options import CLOCK_GRAIN_S, Origin, TransportOptions
from gateway.transport.port import Headers, Timeouts
from gateway.transport.request import RequestWriter
from gateway.transport.tls import client_context

_OURS_TO_SET = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(slots=True)
class _Journey:
    """How far one request has come, as aiohttp's tracing tells; moves the deadline with each step."""

    timeouts: Timeouts
    total_at: float
    scope: asyncio.Timeout
    step: str = "pool"
    reused: bool = False
    response: aiohttp.ClientResponse | None = None

    def enter(self, step: str, patience_s: float) -> None:
        self.step = step
        if not self.scope.expired():
            self.scope.reschedule(min(asyncio.get_running_loop().time() + patience_s, self.total_at))

    @property
    def connected(self) -> bool:
        return self.step == "answer"


_journey: contextvars.ContextVar[_Journey] = contextvars.ContextVar("journey")


class _KnownResponse(aiohttp.ClientResponse):
    """Makes itself known to its journey: the port closes synchronously, httpx2's stream cannot."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        _journey.get().response = self
        return await super().start(connection)


class _GuardedResolver(AbstractResolver):
    """Resolves as the native pool does, guard included."""

    def __init__(self, origin: Origin, *, allow_private: bool) -> None:
        self._origin = origin
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address.ip,
                port=port,
                family=address.family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await resolve(self._origin, allow_private=self._allow_private)
        ]

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class _Clients:
    """The transports in use: one that keeps connections, one that never does. Built in the event loop."""

    kept: AiohttpTransport | None = None
    fresh: AiohttpTransport | None = None
    sessions: list[aiohttp.ClientSession] = field(default_factory=list)


class AiohttpPortTransport:
    """See `port.Transport`. Belongs to the event loop of its first request."""

    def __init__(self, options: TransportOptions) -> None:
        """Raises UnusableOptions."""
        self._options = options
        self._origin = options.parsed_origin()
        self._private_allowed = options.private_allowed(self._origin)
        self._label = str(self._origin)
        self._writer = RequestWriter(self._origin.authority)
        self._tls = client_context(options) if self._origin.secure else None
        self._clients = _Clients()
        self._closed = False

    async def send(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes,
        *,
        timeouts: Timeouts,
        fresh: bool = False,
    ) -> AiohttpAnswer:
        """See `port.Transport.send`."""
        self._writer.head(method, target, headers, len(body))  # the same refusals before anything is sent
        if self._closed:
            raise TransportClosed
        if self._origin.literal is not None:  # aiohttp asks the resolver for names only
            await resolve(self._origin, allow_private=self._private_allowed)
        request = httpx2.Request(
            method.decode("ascii"),
            f"{self._label}{target.decode('ascii')}",
            headers=[*headers, (b"Accept-Encoding", b"identity")],
            content=body,
        )
        now = asyncio.get_running_loop().time()
        total_at = now + timeouts.total_s
        journey: _Journey | None = None
        try:
            async with asyncio.timeout_at(min(now + self._options.pool_wait_s, total_at)) as scope:
                journey = _Journey(timeouts, total_at, scope)
                token = _journey.set(journey)
                try:
                    await self._client(fresh=fresh).handle_async_request(request)
                finally:
                    _journey.reset(token)
        except TimeoutError:
            assert journey is not None
            raise self._overdue(journey) from None
        except (aiohttp.ClientError, httpx2.HTTPError, OSError) as error:
            assert journey is not None
            raise self._fault(error, journey) from error
        assert journey.response is not None
        try:
            return AiohttpAnswer(
                journey.response,
                label=self._label,
                head_only=method == b"HEAD",
                head_bytes_max=self._options.head_bytes_max,
                reused=journey.reused,
                idle_s=timeouts.idle_s,
                total_at=total_at,
            )
        except FramingFault:
            journey.response.close()
            raise

    async def aclose(self) -> None:
        """See `port.Transport.aclose`."""
        self._closed = True
        for session in self._clients.sessions:
            await session.close()

    def _client(self, *, fresh: bool) -> AiohttpTransport:
        clients = self._clients
        if fresh:
            clients.fresh = clients.fresh or self._build(reuse=False)
            return clients.fresh
        clients.kept = clients.kept or self._build(reuse=True)
        return clients.kept

    def _build(self, *, reuse: bool) -> AiohttpTransport:
        options = self._options
        resolver = _GuardedResolver(self._origin, allow_private=self._private_allowed)
        connector = aiohttp.TCPConnector(
            limit=options.max_connections,
            ssl=self._tls if self._tls is not None else True,
            resolver=resolver,
            use_dns_cache=False,
            force_close=not reuse,
            keepalive_timeout=options.idle_connection_s if reuse else None,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            response_class=_KnownResponse,
            skip_auto_headers=_OURS_TO_SET,
            trace_configs=[self._trace()],
            read_bufsize=options.buffer_bytes_max // 2,  # aiohttp pauses at twice this
            max_line_size=options.head_bytes_max,
            max_field_size=options.head_bytes_max,
        )
        self._clients.sessions.append(session)
        # The session decides about TLS; httpx-aiohttp would otherwise load the system's trust for nothing.
        unused = self._tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return AiohttpTransport(verify=unused, trust_env=False, client=session)

    def _trace(self) -> aiohttp.TraceConfig:
        async def connecting(_: aiohttp.ClientSession, __: SimpleNamespace, ___: object) -> None:
            journey = _journey.get()
            journey.enter("connect", journey.timeouts.connect_s)

        async def connected(_: aiohttp.ClientSession, __: SimpleNamespace, ___: object) -> None:
            journey = _journey.get()
            journey.enter("answer", journey.timeouts.first_byte_s)

        async def reused(_: aiohttp.ClientSession, __: SimpleNamespace, ___: object) -> None:
            journey = _journey.get()
            journey.reused = True
            journey.enter("answer", journey.timeouts.first_byte_s)

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(connecting)
        trace.on_connection_create_end.append(connected)
        trace.on_connection_reuseconn.append(reused)
        return trace

    def _overdue(self, journey: _Journey) -> TransportError:
        if asyncio.get_running_loop().time() + CLOCK_GRAIN_S >= journey.total_at:
            return TotalTimeout(
                f"{self._label} did not finish within the total time", request_sent=journey.connected
            )
        if journey.step == "pool":
            limit = self._options.max_connections
            return PoolExhausted(f"{self._label}: all {limit} connections stayed busy; raise max_connections")
        if journey.step == "connect":
            return ConnectTimeout(f"{self._label}: not connected within {journey.timeouts.connect_s:g} s")
        return FirstByteTimeout(f"{self._label} did not begin to answer in time")

    def _fault(self, error: BaseException, journey: _Journey) -> TransportError:
        """Our name for what aiohttp (or httpx-aiohttp over it) said before the head was complete."""
        origin = error.__cause__ if isinstance(error, httpx2.HTTPError) and error.__cause__ else error
        said = f"{self._label}: {_first_line(origin)}"
        if isinstance(origin, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError)):
            return TlsFailed(said)
        if isinstance(origin, aiohttp.ClientResponseError):
            return FramingFault(_reason(_first_line(origin)), said)
        if not journey.connected:
            return ConnectFailed(said)
        if journey.reused:
            return ReusedConnectionClosed(said)
        return ConnectionLost(said, head_received=False)


def _reason(complaint: str) -> Reason:
    """Our word for what aiohttp's parser says; it tells faults apart by their text alone."""
    if "Content-Length" in complaint or "Transfer-Encoding" in complaint:
        return "bad_length"
    if "Got more than" in complaint:
        return "oversized_head"
    if "chunk" in complaint:
        return "bad_chunk"
    return "bytes_after_end" if "Data after" in complaint else "bad_head"


def _first_line(error: BaseException) -> str:
    """What went wrong without the excerpt of the wire that aiohttp appends."""
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return text.split("\n")[0].rstrip(":")
