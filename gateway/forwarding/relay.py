"""Carries a streamed answer to the client while the tap reads along.

The first byte sent is the commit point: before it the request can still be refused or answered with an
error; after it, a stream that breaks gets an error event and no `[DONE]`. A client that hangs up is noticed
by `receive()`: the server lets sends to it succeed in silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import time

from gateway.client import Client, Receive, Send, Write
from gateway.dialects.exchange import RawHeaders
from gateway.errors import BadKey, UpstreamError
from gateway.forwarding.tap import StreamTap
from gateway.request import Request
from gateway.transport.errors import TransportError
from gateway.transport.errors import UpstreamTimeout as TransportTimeout
from gateway.transport.port import Answer
from routing.outcome import Outcome
from routing.refusal import first_words

_DONE = b"[DONE]"
DRAIN_S = 60.0
"""How long an answer nobody waits for is read on, where cancelling would not stop the provider's bill."""

COMMENTS_HELD_S = 10.0
"""How long comments that come before the first event are held back: what was sent forbids another target."""

_STOP_MESSAGES = {
    "lease_lost": (
        *("The gateway lost its hold on this request's budget; the answer was cut.", "server_error"),
        "lease_lost",
    ),
    "drained": ("The gateway is shutting down; the answer was cut.", "server_error", "draining"),
    "key_revoked": ("This API key was revoked; the answer was cut.", BadKey.type, BadKey.default_code),
}
"""Message, type and code of the error event that ends a stream."""


class NotBegun(Exception):
    """The stream broke off, or refused, before anything was sent: another target may still serve."""

    def __init__(self, error_class: str, outcome: Outcome) -> None:
        super().__init__(error_class)
        self.error_class = error_class
        self.outcome = outcome


@dataclass(slots=True)
class Ending:
    """How a stream ended. `started`: bytes went to the client, so its head cannot be taken back."""

    complete: bool
    started: bool
    client_gone: bool
    error_class: str | None = None


async def relay_stream(
    request: Request,
    answer: Answer,
    tap: StreamTap,
    head: tuple[int, RawHeaders],
    client: Client,
    *,
    cancel_stops_billing: bool,
    began: Callable[[], None],
    may_go_on: Callable[[Outcome], bool],
) -> Ending:
    """Pass the stream on until it ends, breaks, or the client leaves. Leaves the response open.

    `began` is called at its first event. Raises NotBegun when it broke off before anything was sent, or
    begins with an error after which another target might serve, as `may_go_on` tells.
    """
    watcher = asyncio.create_task(_watch(request, client.receive, close_upstream=cancel_stops_billing))
    request.reading(answer)
    started, fault, lost = False, None, Outcome.LOST
    try:
        first = await _first_events(request, answer, tap)
        if first and tap.error is not None and may_go_on(said := first_words(tap.error)):
            fault, lost = "error_in_stream", said
        elif first:
            began()
            await client.send({"type": "http.response.start", "status": head[0], "headers": head[1]})
            started = True
            await client.send({"type": "http.response.body", "body": first, "more_body": True})
            await _pass_on(request, answer, tap, client)
    except TransportError as error:
        fault = type(error).__name__
        lost = Outcome.TIMEOUT if isinstance(error, TransportTimeout) else Outcome.LOST
    finally:
        watcher.cancel()
    if request.stopped == "client_gone" and not cancel_stops_billing and fault is None:
        fault = await _drain(answer, tap)
    request.reading(None)
    answer.close()
    return await _end(request, tap, started, (fault, lost), client.send)


async def _first_events(request: Request, answer: Answer, tap: StreamTap) -> bytes:
    """What is to be sent first: up to an event with data, since until then another target may still serve.

    Nothing where it was stopped, or ended without one.
    """
    loop = asyncio.get_running_loop()
    patience = loop.time() + COMMENTS_HELD_S
    held = b""
    while True:
        data = await answer.chunk()
        held += tap.feed(data) if data else tap.end()
        if request.event.first_token_ms is None:
            request.event.first_token_ms = int(time() * 1_000)
        if request.stopped is not None:
            return b""
        begun = tap.looked or _DONE in held
        if not data:
            return held if begun else b""
        if held and (begun or loop.time() >= patience):
            return held


async def _pass_on(request: Request, answer: Answer, tap: StreamTap, client: Client) -> None:
    """The rest: written where it arrives as long as its client takes it as quickly, else waited for."""
    take = None if client.write is None else _taker(request, tap, client.write)
    while True:
        if take is not None:
            await answer.pour(take)
        data = await answer.chunk()
        out = tap.feed(data) if data else tap.end()
        if request.stopped is not None:
            return
        if out:
            await client.send({"type": "http.response.body", "body": out, "more_body": True})
        if not data:
            return


def _taker(request: Request, tap: StreamTap, write: Write) -> Callable[[bytes], bool]:
    """What reads along and writes on in the moment in which something arrives."""
    feed = tap.feed

    def take(data: bytes) -> bool:
        out = feed(data)
        return request.stopped is None and (not out or write(out))

    return take


async def _watch(request: Request, receive: Receive, *, close_upstream: bool) -> None:
    """Wait for the client to leave; the server also wakes this once the response is complete."""
    while (await receive())["type"] != "http.disconnect":
        pass
    request.stop("client_gone", close_upstream=close_upstream)


async def _drain(answer: Answer, tap: StreamTap) -> str | None:
    """Read the rest for its usage. The fault's name when it did not end properly, else None."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while data := await answer.chunk():
                tap.feed(data)
            tap.end()
    except TransportError as error:
        return type(error).__name__
    except TimeoutError:
        return "DrainTimeout"
    return None


async def _end(
    request: Request, tap: StreamTap, started: bool, ended: tuple[str | None, Outcome], send: Send
) -> Ending:
    fault, outcome = ended
    tap.conclude()
    complete = tap.done and tap.error is None
    gone = request.stopped == "client_gone"
    if not complete and fault is None and tap.error is None:
        fault = request.stopped or "EndedEarly"
    if not started and not gone and (not complete or fault is not None):
        raise NotBegun(fault or "error_in_stream", outcome)
    if complete or gone:
        return Ending(complete, started, gone, None if complete else fault)
    if tap.error is None:
        message, kind, code = _STOP_MESSAGES.get(
            request.stopped or "",
            ("The provider broke off in the middle of its answer.", UpstreamError.type, "upstream_error"),
        )
        body = request.surface.dialect.error_event(message, kind, code)
        await send({"type": "http.response.body", "body": body, "more_body": True})
    return Ending(complete, started, gone, fault or "error_in_stream")
