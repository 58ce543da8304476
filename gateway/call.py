"""One request's way, from its first byte to its cost event. Read this page first.

    body and key -> attribution -> route and candidates -> ceiling -> ledger.open -> attempts -> relay
    -> price -> ledger.close

One task, the ASGI call itself, owns the request from before the open to after the close, and nobody cancels
it: deadlines and stops close the upstream, and the owner settles what came of it.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from time import time
from typing import Any

from budgets.ledger import Opened
from gateway import answers
from gateway.admission import Caller
from gateway.attribution import Headers, note_query_key
from gateway.client import Client, Receive
from gateway.dialects import Exchange, Surface
from gateway.dialects.exchange import RawHeaders, parse_object
from gateway.endings import end_refused, end_streamed, end_whole, end_without_answer
from gateway.errors import BadRequest, GatewayError, NotFound, TooLarge, Unavailable
from gateway.forwarding.attempts import Reached, Walk
from gateway.forwarding.candidates import candidates
from gateway.opening import admit, find_key, open_request, where_it_is_kept
from gateway.parts import Parts
from gateway.request import Request
from metering.event import CostEvent
from metering.ids import new_id
from metering.money import nano_to_usd
from routing.table import Route


async def serve(
    parts: Parts,
    surface: Surface,
    place: Mapping[str, Any],
    scope: MutableMapping[str, Any],
    client: Client,
) -> None:
    """Serve one proxied request; every way out sends one complete answer.

    `place`: what its path says beside the surface (`{"model": ...}`).
    """
    event = CostEvent(id=new_id(), surface=surface.name, started_ms=int(time() * 1_000))
    try:
        request, opened = await _accept(parts, surface, place, event, scope, client.receive)
    except GatewayError as error:
        parts.repeats.refused(event.id)
        parts.metrics.denied(surface.name, error.code)
        await answers.send_whole(client.send, *answers.refusal(error, event.id, surface.dialect))
        return
    parts.running[request.id] = request
    request.when_left = parts.repeats.left
    try:
        await _carry_out(parts, request, opened, client)
    finally:
        del parts.running[request.id]
        parts.room.freed()
        parts.repeats.ended(request)
        parts.metrics.ended(event)


# From the first byte to the open record.


async def _accept(
    parts: Parts,
    surface: Surface,
    place: Mapping[str, Any],
    event: CostEvent,
    scope: MutableMapping[str, Any],
    receive: Receive,
) -> tuple[Request, Opened]:
    """Everything that may still refuse the request without a cost event."""
    if parts.draining:
        raise Unavailable("This gateway is shutting down; try again.", code="draining")
    headers = parts.headers.read(scope["headers"])
    if scope["query_string"]:
        if surface.key_in_query:
            note_query_key(headers, scope["query_string"])
        if surface.query:
            place = surface.asked(place, scope["query_string"])
    key = await find_key(parts, headers, surface.scope)
    raw = await _read_body(headers, receive, parts.body_bytes_max)
    call = surface.call(parse_object(raw), **place)
    if surface.dialect.passes:
        call.passed = surface.dialect.passed(scope["headers"])
    route = parts.routes.find(call.model)
    if route is None:
        raise NotFound(
            f"The model `{call.model}` does not exist here. GET /v1/models lists those that do.",
            code="model_not_found",
            param="model",
        )
    caller, route = await admit(parts, key, headers, call, route)
    sticky = _sticky(route, caller, headers) if route.order == "sticky" else None
    account = key.account_id
    found = candidates(call, route, parts.upstreams, parts.prices, event.started_ms, sticky, account)
    if call.continues is not None:
        found = await where_it_is_kept(parts, caller.key, call, found)
    _describe(event, caller, headers, call, route)
    if headers.retry_count or headers.idempotency_key is not None:
        await parts.repeats.begin(caller.key, headers, event, call, parts.running)
    return await open_request(parts, event, caller, headers, call, route, found)


async def _read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The whole body, at most `limit` bytes of it, whatever Content-Length claims."""
    if headers.content_encoding not in (None, b"identity"):
        raise BadRequest(
            "Compressed bodies are not accepted.", param="Content-Encoding", code="invalid_header"
        )
    too_large = f"The body is larger than {limit} bytes."
    if headers.content_length is not None and headers.content_length > limit:
        raise TooLarge(too_large)
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        body: bytes = message["body"]
        if len(body) > limit:
            raise TooLarge(too_large)
        return body
    parts, size = [], 0
    while message["type"] == "http.request":
        size += len(message["body"])
        if size > limit:
            raise TooLarge(too_large)
        parts.append(message["body"])
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise BadRequest("The connection was closed before the body was complete.", code="incomplete_body")


def _sticky(route: Route, caller: Caller, headers: Headers) -> str | None:
    """Whom a sticky route must recognise again."""
    return {
        "customer": caller.customer,
        "feature": caller.feature,
        "user": headers.user,
        "trace": headers.trace_id,
    }[route.sticky_by]


def _describe(event: CostEvent, caller: Caller, headers: Headers, call: Exchange, route: Route) -> None:
    """What is known of the request before it runs, as its event will tell it."""
    key = caller.key
    event.account_id, event.key_id = key.account_id, key.id
    event.customer, event.feature = caller.customer, caller.feature
    event.task_id, event.trace_id = headers.task_id, headers.trace_id
    event.workspace, event.user = headers.workspace, headers.user
    event.properties = headers.properties
    event.route = call.model
    event.route_final = route.alias
    event.model_requested = call.model
    event.stream = call.stream


# From the open record to the cost event.


async def _carry_out(parts: Parts, request: Request, opened: Opened, client: Client) -> None:
    """Reach a candidate, pass its answer on, and settle; the request has exactly one end below."""
    own = _own_headers(request, opened)
    event, walk = request.event, Walk(request)
    try:
        reached = await walk.reach()
        while True:
            event.provider, event.model = reached.candidate.target.provider, reached.candidate.target.model
            event.http_status = reached.answer.status
            head = own + _route_headers(request, reached)
            if reached.refusal is not None:
                await end_refused(parts, request, reached, head, client.send)
                return
            if request.call.stream and _is_stream(request, reached):
                broken = await end_streamed(parts, request, reached, walk, head, client)
            else:
                broken = await end_whole(parts, request, reached, head, client.send)
            if broken is None:
                return
            reached = await walk.reach_on(reached, broken)
    except GatewayError as error:
        await end_without_answer(parts, request, error, client.send)


def _is_stream(request: Request, reached: Reached) -> bool:
    kind = reached.answer.header(b"content-type") or b""
    return kind.split(b";", 1)[0].strip().lower() == request.surface.dialect.stream_type


def _own_headers(request: Request, opened: Opened) -> RawHeaders:
    event = request.event
    head: RawHeaders = [
        *answers.id_headers(event.id, request.surface.dialect),
        (b"observe-task-id", (event.task_id or event.id).encode()),
        (b"observe-route", (event.route_final or "").encode()),
    ]
    if opened.remaining_nano is not None:
        head.append((b"observe-budget-remaining-usd", nano_to_usd(max(0, opened.remaining_nano)).encode()))
    return head


def _route_headers(request: Request, reached: Reached) -> RawHeaders:
    head: RawHeaders = [
        (b"observe-provider", reached.candidate.target.provider.encode()),
        (b"observe-model", reached.candidate.target.model.encode()),
        (b"observe-attempts", b"%d" % len(request.attempts)),
    ]
    if reached.candidate.maximum is not None:
        request.event.max_output_written = reached.candidate.maximum[1]
        head.append((b"observe-max-tokens", b"%d" % reached.candidate.maximum[1]))
    return head
