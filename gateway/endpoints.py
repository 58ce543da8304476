"""Everything clients may call besides the proxied paths: models, metrics, health, and a clear 404.

Each endpoint stands in one table with the scope that its callers need, so that none can be without one by
mistake: `None` is written out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from accounts.key import KeyRecord
from accounts.scope import METRICS_READ, MODELS_READ, PROXY
from budgets.ledger import LedgerUnavailable
from gateway.admission import (
    credential,
    may_ask_for,
    may_be_served,
    may_serve,
    require_route,
    require_scope,
)
from gateway.answers import refusal
from gateway.api import entitlementtable
from gateway.api.answers import error_of
from gateway.api.endpoint import Endpoint as TableEndpoint
from gateway.api.entitlements import EntitlementEndpoints
from gateway.api.pathnames import plain, route_path
from gateway.attribution import note_query_key
from gateway.dialects import anthropic_lists, gemini_lists
from gateway.dialects.anthropic import ANTHROPIC
from gateway.dialects.anthropic import VERSION as ANTHROPIC_VERSION
from gateway.dialects.anthropic_messages import MessagesCall
from gateway.dialects.dialect import Dialect
from gateway.dialects.gemini import GEMINI
from gateway.dialects.openai import OPENAI
from gateway.errors import BadKey, GatewayError, NotFound, Unavailable, WrongMethod
from gateway.forwarding.candidates import reachable, spoken
from gateway.parts import Parts
from gateway.responses import ResponseEndpoints
from metering.ids import new_id
from routing.target import Target

PUBLISHED = 1_735_689_600
"""`created` of every listed model: 2025-01-01, since providers' dates are not the gateway's to invent."""
API = "/api/"
"""Below it is the read and management API, which a process of its own answers."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_A_MESSAGE = MessagesCall("messages", {}, "")


Public = Callable[[HttpRequest], Awaitable[Response]]
ForKey = Callable[[HttpRequest, KeyRecord], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and a path, and the scope that a key needs there; None: no key is asked for."""

    method: str
    path: str
    scope: str | None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The application for what is not proxied, and the endpoints that it serves."""

    application: Starlette
    endpoints: tuple[Endpoint, ...]

    def relayed(self, path: str) -> bool:
        """Whether the api process answers this path: what is below /api, but for what workers answer."""
        return path.startswith(API) and not any(
            isinstance(route, Route) and route.path.startswith(API) and route.path_regex.match(path)
            for route in self.application.routes
        )


def build_endpoints(parts: Parts, proxied: frozenset[str]) -> Endpoints:
    """What is not proxied, over the worker's parts."""
    answers, entitlements = _Answers(parts), EntitlementEndpoints(parts)
    responses = ResponseEndpoints(parts)
    open_to_all: dict[Endpoint, Public] = {
        Endpoint("GET", "/health/live", None): answers.live,
        Endpoint("GET", "/health/ready", None): answers.ready,
    }
    with_a_key: dict[Endpoint, ForKey] = {
        Endpoint("GET", "/v1/models", MODELS_READ): answers.models,
        Endpoint("GET", "/v1/models/{model:path}", MODELS_READ): answers.model,
        Endpoint("GET", "/v1beta/models", MODELS_READ): answers.models,
        Endpoint("GET", "/v1beta/models/{model:path}", MODELS_READ): answers.model,
        Endpoint("GET", "/v1/responses/{answer}", PROXY): responses.retrieve,
        Endpoint("GET", "/v1/responses/{answer}/input_items", PROXY): responses.input_items,
        Endpoint("POST", "/v1/responses/{answer}/cancel", PROXY): responses.cancel,
        Endpoint("DELETE", "/v1/responses/{answer}", PROXY): responses.delete,
        Endpoint("GET", "/metrics", METRICS_READ): answers.metrics,
        _below_api(entitlementtable.CHECK): entitlements.check,
        _below_api(entitlementtable.EVALUATE): entitlements.evaluate,
        _below_api(entitlementtable.SHOW): entitlements.show,
        _below_api(entitlementtable.FEATURES): entitlements.features,
        _below_api(entitlementtable.PLAN): entitlements.plan,
    }
    routes = [Route(each.path, answer, methods=[each.method]) for each, answer in open_to_all.items()]
    routes += [
        Route(_routed(each.path), answers.guarded(each.scope, answer), methods=[each.method])
        for each, answer in with_a_key.items()
        if each.scope is not None
    ]
    application = Starlette(
        routes=routes,
        exception_handlers={
            GatewayError: _told(lambda _request, error: error),
            404: _told(lambda request, _error: _not_found(request, proxied)),
            405: _told(lambda request, _error: WrongMethod(_wrong_method(request))),
        },
    )
    return Endpoints(application, (*open_to_all, *with_a_key))


def _below_api(each: TableEndpoint) -> Endpoint:
    return Endpoint(each.method, each.path, each.scope)


def _routed(path: str) -> str:
    return route_path(path) if path.startswith(API) else path


def _json(document: Any, status: int = 200) -> Response:
    request_id = new_id()
    headers = {"x-request-id": request_id, "request-id": request_id, "content-type": "application/json"}
    return Response(orjson.dumps(document), status, headers)


def _told(fault: Callable[[HttpRequest, Any], GatewayError]) -> Callable[[HttpRequest, Exception], Response]:
    def answer(request: HttpRequest, error: Exception) -> Response:
        if request.scope["path"].startswith(API):
            return _told_below_api(request, fault(request, error), getattr(error, "headers", None) or {})
        status, headers, body = refusal(fault(request, error), new_id(), _spoken(request))
        response = Response(body, status)
        response.raw_headers = headers
        return response

    return answer


def _told_below_api(request: HttpRequest, error: GatewayError, known: Mapping[str, str]) -> Response:
    """A refusal as the api process tells its own. `known`: headers of it, such as which methods there are."""
    allowed = {"allow": ", ".join(sorted({*known["Allow"].split(", "), "OPTIONS"}))} if known else {}
    if known and request.method == "OPTIONS":
        return Response(status_code=204, headers={**allowed, "x-request-id": new_id()})
    status, headers, body = error_of(error, request.scope["path"], new_id())
    return Response(body, status, {**headers, **allowed})


def _not_found(request: HttpRequest, proxied: frozenset[str]) -> GatewayError:
    if request.url.path in proxied:
        return WrongMethod(f"{_wrong_method(request)} Use POST.")
    return NotFound(
        f"Unknown request URL: {request.method} {request.url.path}. Tollkeeper serves POST to "
        f"{', '.join(sorted(path for path in proxied if '{' not in path))}, to Google's paths below /v1beta "
        "and /v1, and GET /v1/models.",
        code="unknown_url",
    )


def _wrong_method(request: HttpRequest) -> str:
    return f"{plain(request.scope['path'])} does not answer to {request.method}."


class _Answers:
    """The endpoints, over the worker's parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def live(self, _request: HttpRequest) -> Response:
        """The process runs and its loop turns."""
        return _json({"status": "live"})

    async def ready(self, _request: HttpRequest) -> Response:
        """Requests can be served: the ledger answers, and no shutdown is under way."""
        if self._parts.draining:
            raise Unavailable("This gateway is shutting down.", code="draining")
        try:
            await self._parts.ping()
        except LedgerUnavailable as error:
            raise Unavailable(f"The ledger cannot be reached: {error}.") from None
        return _json({"status": "ready"})

    async def models(self, request: HttpRequest, key: KeyRecord) -> Response:
        """What this key may ask for."""
        listed = [
            (name, owner)
            for name, owner in self._parts.routes.names()
            if may_ask_for(key, name) and may_be_served(key, self._targets(name))
        ]
        dialect = _spoken(request)
        if dialect is ANTHROPIC:
            names = [name for name, _ in listed if self._answers_messages(key, name)]
            return _json(anthropic_lists.page(names, request.query_params))
        if dialect is GEMINI:
            models = [(name, self._operations(name)) for name, _ in listed]
            return _json(gemini_lists.page(models, request.query_params))
        return _json({"object": "list", "data": [_model(name, owner) for name, owner in listed]})

    def _answers_messages(self, key: KeyRecord, name: str) -> bool:
        """Whether a model is of use to Anthropic's clients, which know only their own format."""
        route = self._parts.routes.find(name)
        found = () if route is None else spoken(_A_MESSAGE, route, self._parts.upstreams)
        return any(may_serve(key, target) for target in found)

    def _targets(self, name: str) -> tuple[Target, ...]:
        """The targets that serve a name, in whichever dialect."""
        route = self._parts.routes.find(name)
        return () if route is None else reachable(route, self._parts.upstreams)

    async def model(self, request: HttpRequest, key: KeyRecord) -> Response:
        """One model by name."""
        name = request.path_params["model"]
        require_route(key, name)
        route = self._parts.routes.find(name)
        if route is None:
            raise NotFound(f"The model `{name}` does not exist here.", code="model_not_found", param="model")
        dialect = _spoken(request)
        if dialect is ANTHROPIC:
            return _json(anthropic_lists.one_model(name))
        if dialect is GEMINI:
            return _json(gemini_lists.one_model((name, self._operations(name))))
        return _json(_model(name, route.targets[0].provider))

    def _operations(self, name: str) -> frozenset[str]:
        """What a route's targets can be asked."""
        upstreams = self._parts.upstreams
        return frozenset().union(*(upstreams[each.provider].operations for each in self._targets(name)))

    async def metrics(self, _request: HttpRequest, _key: KeyRecord) -> Response:
        """What all workers and the recorder count, in Prometheus' text format."""
        return Response(await self._parts.scrape(), 200, {"content-type": METRICS_TYPE})

    def guarded(self, scope: str, answer: ForKey) -> Public:
        """An endpoint for keys with this scope only."""

        async def ask(request: HttpRequest) -> Response:
            return await answer(request, await self._authenticate(request, scope))

        return ask

    async def _authenticate(self, request: HttpRequest, scope: str) -> KeyRecord:
        found = self._parts.headers.read(request.headers.raw)
        if _spoken(request) is GEMINI:
            note_query_key(found, request.scope["query_string"])
        try:
            record = await self._parts.keys.find_fresh(credential(found))
        except LedgerUnavailable:
            raise Unavailable("The key store cannot be reached; try again.") from None
        if record is None:
            raise BadKey("Incorrect API key provided: no such Tollkeeper key.")
        require_scope(record, scope)
        return record


def _spoken(request: HttpRequest) -> Dialect:
    """Three dialects have a list of models, two of them at one address.

    Anthropic's clients always name their version, and Google's send their key in a header of their own.
    """
    if ANTHROPIC_VERSION.decode() in request.headers:
        return ANTHROPIC
    google = request.url.path.startswith("/v1beta") or "x-goog-api-key" in request.headers
    return GEMINI if google else OPENAI


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": PUBLISHED, "owned_by": owner}
