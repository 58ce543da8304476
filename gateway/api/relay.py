"""Relay: what a worker does with a request to the read and management API: it carries it to the api process
and its answer back, byte for byte, and does nothing else for it. (What is said of a compressed body goes by
names of its own in between: gateway.api.hop.)

The whole body is read first, within the front door's bounds, so that a client that sends slowly occupies no
connection to the api process. While that process is started again, connections wait in the supervisor's
socket; who waits too long, or whose connection broke before the answer began, is told to come back. A
question (GET, HEAD) is asked once more over a fresh connection; what may have changed something is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

import structlog

from gateway.answers import send_whole
from gateway.api import hop
from gateway.api.answers import error_of, raw
from gateway.client import Receive, Send
from gateway.errors import BadRequest, GatewayError, TooLarge, Unavailable, UpstreamTimeout
from gateway.transport.answer import PooledAnswer
from gateway.transport.errors import (
    ConnectFailed,
    ConnectTimeout,
    FirstByteTimeout,
    MalformedRequest,
    PoolExhausted,
    TotalTimeout,
    TransportError,
)
from gateway.transport.options import TransportOptions
from gateway.transport.pool import PooledTransport
from gateway.transport.port import Headers, Timeouts
from metering.ids import new_id

NAME = "api.sock"
ADDRESS, ACCEPTS, ENCODING = hop.ADDRESS.encode(), hop.ACCEPTS.encode(), hop.ENCODING.encode()
CONNECTIONS_MAX = 256
CONNECT_S = 10.0
FULL_S = 0.005
"""How long until a connection is tried again that found too many others waiting."""
IDLE_S = 30.0
ROUNDS_MAX = 2
_NOT_PASSED = frozenset(
    (
        *(b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"te"),
        *(b"accept-encoding", b"proxy-connection", b"proxy-authorization", b"expect", b"trailer", ADDRESS),
        ACCEPTS,
    )
)
"""Of one hop, or set by the transport and by us."""
_NOT_PASSED_BACK = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"trailer"))
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))

P = TypeVar("P", bound=asyncio.Protocol)

log = structlog.get_logger(component="api relay")


class UnixDialer:
    """Opens connections to one unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    async def connect(self, build: Callable[[], P], connect_s: float, total_at: float) -> P:
        """A protocol with its connection made. Raises ConnectFailed and its kinds, TotalTimeout."""
        loop = asyncio.get_running_loop()
        until = min(loop.time() + connect_s, total_at)
        raw_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            raw_socket.setblocking(False)
            async with asyncio.timeout_at(until):
                await self._reach(raw_socket)
                _, protocol = await loop.create_connection(build, sock=raw_socket)
        except TimeoutError:
            raw_socket.close()
            if until >= total_at:
                raise TotalTimeout("the api process: not connected in time", request_sent=False) from None
            raise ConnectTimeout("the api process: not connected in time") from None
        except OSError as error:
            raw_socket.close()
            raise ConnectFailed(f"the api process cannot be reached: {error}") from None
        except BaseException:
            raw_socket.close()
            raise
        return protocol

    async def _reach(self, raw_socket: socket.socket) -> None:
        """Connect, which a unix socket does at once or not at all: where too many wait to be accepted it says
        EAGAIN, which the loop would take for a connection under way, and then for one that was made."""
        while True:
            try:
                raw_socket.connect(self._path)
                return
            except BlockingIOError:
                await asyncio.sleep(FULL_S)


class Relay:
    """The way from one worker to the api process behind the socket at `path`; None: there is none."""

    def __init__(self, path: Path | None, *, answer_s: float, body_bytes_max: int) -> None:
        self._pool: PooledTransport | None = None
        if path is not None:
            options = TransportOptions(
                "http://api.internal", max_connections=CONNECTIONS_MAX, pool_wait_s=5.0
            )
            self._pool = PooledTransport(options, UnixDialer(path))
        self._timeouts = Timeouts(CONNECT_S, answer_s, IDLE_S, 10 * answer_s)
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request, to its end."""
        answer: PooledAnswer | None = None
        try:
            body = await _whole_body(receive, self._body_bytes_max)
            if body is None:
                return
            answer = await self._asked(scope, body, receive)
            if answer is None:
                return
        except GatewayError as error:
            status, headers, content = error_of(error, scope["path"], new_id())
            await send_whole(
                send, status, raw(headers, content), b"" if scope["method"] == "HEAD" else content
            )
            return
        await _pass_back(answer, receive, send)

    async def aclose(self) -> None:
        """Drop the connections."""
        if self._pool is not None:
            await self._pool.aclose()

    async def _asked(
        self, scope: MutableMapping[str, Any], body: bytes, receive: Receive
    ) -> PooledAnswer | None:
        """The head of the answer has come; None where the client left meanwhile."""
        asking = asyncio.ensure_future(self._ask(scope, body))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return await asking if asking.done() else None
        finally:
            leaving.cancel()
            if not asking.done():
                asking.cancel()
                with contextlib.suppress(asyncio.CancelledError, GatewayError):
                    (await asking).close()

    async def _ask(self, scope: MutableMapping[str, Any], body: bytes) -> PooledAnswer:
        if self._pool is None:
            raise Unavailable("This worker has no api process.", code="api_unavailable")
        method = scope["method"]
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        headers = _passed(scope["headers"])
        client = scope.get("client")
        if client:
            headers.append((ADDRESS, client[0].encode("ascii", "replace")))
        rounds = ROUNDS_MAX if method in _SAFE else 1
        for turn in range(1, rounds + 1):
            try:
                return await self._pool.send(
                    method.encode(), target, headers, body, timeouts=self._timeouts, fresh=turn > 1
                )
            except MalformedRequest as error:
                raise BadRequest(f"This request cannot be passed on: {error}.") from None
            except (FirstByteTimeout, TotalTimeout):
                raise UpstreamTimeout("The answer took too long.", code="api_timeout") from None
            except TransportError as error:
                if turn == rounds:
                    raise _away(error) from None
        raise AssertionError("the last round returns or raises")


def _away(error: TransportError) -> Unavailable:
    """What a client is told of a connection that came to nothing."""
    log.warning("api_unavailable", reason=str(error), request_sent=error.request_sent)
    if isinstance(error, PoolExhausted):
        return Unavailable("Too many questions wait already; try again.", code="api_busy")
    known = "" if not error.request_sent else " Whether this request was carried out is not known."
    return Unavailable(f"The API is being started again; try again.{known}", code="api_unavailable")


async def _whole_body(receive: Receive, limit: int) -> bytes | None:
    """The body; None where the client left before its end."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(f"The body is larger than the {limit} bytes that this gateway reads.")
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _passed(headers: Headers) -> Headers:
    """The client's headers without those of one hop, and those that it names as such; what it accepts."""
    named = {
        word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")
    }
    passed = [each for each in headers if each[0] not in _NOT_PASSED and each[0] not in named]
    accepted = [value for name, value in headers if name == b"accept-encoding"]
    return [*passed, (ACCEPTS, b",".join(accepted))] if accepted else passed


async def _pass_back(answer: PooledAnswer, receive: Receive, send: Send) -> None:
    """Head and body to the client, until the end or until it leaves."""
    headers = [
        (b"content-encoding" if name == ENCODING else name, value)
        for name, value in answer.headers
        if name not in _NOT_PASSED_BACK
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.complete:  # the usual case: head and body came together
        await send({"type": "http.response.body", "body": await answer.chunk()})
        return
    leaving = asyncio.ensure_future(_left(receive))
    leaving.add_done_callback(lambda _: answer.close())
    try:
        while data := await answer.chunk():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except TransportError as error:
        if not leaving.done():
            # What was begun cannot be taken back: the connection is cut, so that nobody takes it for whole.
            log.warning("answer_broke_off", reason=str(error))
            raise
    finally:
        leaving.cancel()
        answer.close()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
