"""The ASGI application of the api process: the table's endpoints, each behind the same checks.

    path -> method -> key -> scope -> query -> body -> handler, in a thread or at once -> answer

What a handler raises is told in the shape of its path. The caller's address comes from the worker that
relayed the request: nobody else reaches this process' socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, MutableMapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import sqlalchemy as sa
import structlog
from pydantic import BaseModel
from redis.exceptions import RedisError
from starlette.concurrency import iterate_in_threadpool
from starlette.routing import Route, Router

from accounts.key import KeyRecord
from accounts.keycache import KeyCache
from budgets.ledger import LedgerUnavailable
from gateway.admission import credential, require_scope
from gateway.api import hop, metrics
from gateway.api.answers import Removed, body_of, error_of, raw
from gateway.api.endpoint import ANY, Answer, Call, Endpoint
from gateway.api.parts import ApiParts
from gateway.api.pathnames import apart, plain, route_path
from gateway.api.reading import read_body, read_query
from gateway.attribution import HeaderTable
from gateway.client import Receive, Send
from gateway.errors import (
    BadKey,
    BadRequest,
    Forbidden,
    GatewayError,
    NotFound,
    TooLarge,
    Unavailable,
    WrongMethod,
)
from metering.eventstore import EventsRemoved, StoreUnavailable
from metering.ids import new_id

WAITING_MAX = 256
"""Questions that may wait for a thread; one more is told to come back."""
Scope = MutableMapping[str, Any]

log = structlog.get_logger(component="api")


class Api:
    """The application. `keys` reads keys where workers read them; `threads`: questions answered at once."""

    def __init__(
        self, parts: ApiParts, keys: KeyCache, endpoints: Iterable[Endpoint], *, threads: int
    ) -> None:
        self.endpoints = tuple(endpoints)
        self._parts = parts
        self._keys = keys
        self._headers = HeaderTable(parts.settings.attribution)
        self._readers = ThreadPoolExecutor(threads, "api reader")
        self._threads = threads
        self._running = 0
        places: dict[str, dict[str, Endpoint]] = {}
        for each in self.endpoints:
            methods = places.setdefault(each.path, {})
            if each.method in methods:
                raise ValueError(f"{each.method} {each.path} is in the table twice")
            methods[each.method] = each
        # Most are found by their path as it is; only those with places in them are looked for one by one.
        self._plain = {path: _Place(self, places[path]) for path in places if "{" not in path}
        patterns = sorted(places.keys() - self._plain.keys(), key=_plain_first)
        routes = [Route(route_path(path), _Place(self, places[path])) for path in patterns]
        self._router = Router(routes, redirect_slashes=False, default=self._nothing_here)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = apart(scope)
        place = self._plain.get(asked["path"])
        if place is None:
            await self._router(asked, receive, send)
            return
        asked["path_params"] = {}
        await place(asked, receive, send)

    def close(self) -> None:
        """Wait for the questions that are being answered."""
        self._readers.shutdown()

    async def _nothing_here(self, scope: Scope, receive: Receive, send: Send) -> None:
        where = f"{scope['method']} {plain(scope['path'])}"
        error = NotFound(f"Unknown request URL: {where}.", code="unknown_url")
        await refuse(send, scope, error, new_id())

    async def serve(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """One request to an endpoint, to its end."""
        request_id, began, status = new_id(), perf_counter(), 500
        try:
            call = await self._call(endpoint, scope, receive, request_id)
            answer = await self._answered(endpoint, call)
            status = await _tell(send, scope, endpoint, answer, request_id)
        except GatewayError as error:
            status = error.status
            await refuse(send, scope, error, request_id)
        finally:
            metrics.told(endpoint, status, perf_counter() - began)

    async def _call(self, endpoint: Endpoint, scope: Scope, receive: Receive, request_id: str) -> Call:
        key = None if endpoint.scope is None else await self._authenticated(endpoint, scope)
        for value in scope["path_params"].values():
            if "\0" in value:
                raise NotFound("There is nothing at this address.")
        query = read_query(endpoint.query, scope["query_string"])
        body = None
        if endpoint.method not in ("GET", "HEAD"):
            sent = await _whole_body(scope, receive, endpoint.body_bytes_max)
            body = await self._understood(endpoint.body, sent)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        headers["accept-encoding"] = headers.get(hop.ACCEPTS, "")
        return Call(
            parts=self._parts,
            request_id=request_id,
            path=scope["path_params"],
            query=query,
            body=body,
            headers=headers,
            address=headers.get(hop.ADDRESS, ""),
            caller=key,
        )

    async def _understood(self, model: type[BaseModel] | None, body: bytes) -> BaseModel | None:
        """The body as its model; a long one is read in a thread, so that no one waits for it."""
        if len(body) < 16 * 1024:
            return read_body(model, body)
        return await asyncio.get_running_loop().run_in_executor(self._readers, read_body, model, body)

    async def _authenticated(self, endpoint: Endpoint, scope: Scope) -> KeyRecord:
        secret = credential(self._headers.read(scope["headers"]))
        try:
            key = await self._keys.find_fresh(secret)
        except LedgerUnavailable:
            raise Unavailable("The key store cannot be reached; try again.") from None
        if key is None:
            raise BadKey("Incorrect API key provided: no such Tollkeeper key.")
        if endpoint.scope not in (None, ANY):
            require_scope(key, endpoint.scope)
        bound = key.customer is not None or key.feature is not None
        if bound and endpoint.bound == "refused":
            raise Forbidden(
                "This key is bound to a customer or a feature, and this endpoint tells of all of them.",
                code="bound_key",
            )
        return key

    async def _answered(self, endpoint: Endpoint, call: Call) -> Answer:
        """What the handler says, from the thread where it belongs; its faults as errors."""
        if self._running >= WAITING_MAX + self._threads:
            raise Unavailable("Too many questions wait already; try again.", code="api_busy")
        self._running += 1
        try:
            if endpoint.quick(call):
                found = endpoint.handler(call)
            else:
                pool: Executor = self._parts.writer.pool if endpoint.writes else self._readers
                found = await asyncio.get_running_loop().run_in_executor(pool, endpoint.handler, call)
            if isinstance(found, Future):
                found = await asyncio.wrap_future(found)
        except GatewayError:
            raise
        except EventsRemoved as error:
            raise Removed(str(error), error.complete_since_ms) from None
        except StoreUnavailable as error:
            log.warning("store_unavailable", path=endpoint.path, reason=str(error))
            raise Unavailable(
                "The event store cannot be reached; try again.", code="store_unavailable"
            ) from None
        except sa.exc.OperationalError as error:
            log.warning("store_unavailable", path=endpoint.path, reason=str(error.orig))
            raise Unavailable(
                "The database cannot be reached; try again.", code="store_unavailable"
            ) from None
        except (RedisError, LedgerUnavailable) as error:
            log.warning("ledger_unavailable", path=endpoint.path, reason=str(error))
            raise Unavailable("The ledger cannot be reached; try again.") from None
        except Exception as error:
            log.exception("request_failed", path=endpoint.path, request_id=call.request_id)
            raise GatewayError("This gateway failed; its log says why.") from error
        finally:
            self._running -= 1
        return found if isinstance(found, Answer) else Answer(found)


@dataclass(frozen=True, slots=True)
class _Place:
    """What is served at one path."""

    api: Api
    methods: Mapping[str, Endpoint]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        endpoint = self.methods.get("GET" if method == "HEAD" else method)
        if endpoint is not None:
            await self.api.serve(endpoint, scope, receive, send)
            return
        allowed = {
            "allow": ", ".join(
                sorted({*self.methods, "OPTIONS", *(["HEAD"] if "GET" in self.methods else [])})
            )
        }
        if method == "OPTIONS":
            headers = {**allowed, "x-request-id": new_id()}
            await _send(send, scope, 204, headers, b"")
            return
        wrong = WrongMethod(f"{plain(scope['path'])} does not answer to {method}.")
        await refuse(send, scope, wrong, new_id(), allowed)


async def refuse(
    send: Send, scope: Scope, error: GatewayError, request_id: str, more: Mapping[str, str] | None = None
) -> None:
    """An error's answer, in the shape of its path."""
    status, headers, body = error_of(error, scope["path"], request_id)
    await _send(send, scope, status, {**headers, **(more or {})}, body)


async def _tell(send: Send, scope: Scope, endpoint: Endpoint, answer: Answer, request_id: str) -> int:
    status = answer.status or endpoint.status
    headers = {"x-request-id": request_id, **answer.headers}
    if answer.stream is None:
        body = answer.body
        if body is None:
            body = body_of(answer.model, platform=endpoint.platform)
        if body:
            headers["content-type"] = answer.media
        await _send(send, scope, status, headers, body)
        return status
    if "content-encoding" in headers:
        headers[hop.ENCODING] = headers.pop("content-encoding")
    told = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    told.append((b"content-type", answer.media.encode("latin-1")))
    await send({"type": "http.response.start", "status": status, "headers": told})
    if scope["method"] != "HEAD":
        async for part in iterate_in_threadpool(answer.stream):
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    return status


async def _send(send: Send, scope: Scope, status: int, headers: Mapping[str, str], body: bytes) -> None:
    told = raw(headers, body)
    if status == 204:
        told = [each for each in told if each[0] != b"content-length"]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _whole_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.lower() != b"identity":
            raise BadRequest("Send the body without Content-Encoding.", param="Content-Encoding")
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The connection ended before the body did.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(f"The body is larger than the {limit} bytes that are read here.")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _plain_first(path: str) -> list[tuple[bool, str]]:
    """Sorts /events/by-model before /events/{id}."""
    return [(part.startswith("{"), part) for part in path.split("/")]
