"""Google's ids, headers, credentials and errors."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

import orjson

from simulator.dialect import Dialect
from simulator.errors import Refusal
from simulator.openai import bearer, refused_key
from simulator.wire import Reply, Request

JSON = b"application/json; charset=UTF-8"
_TYPE = "type.googleapis.com/google.rpc."
_SERVICE = "generativelanguage.googleapis.com"

STATUSES: dict[int, tuple[str, str]] = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "Requested entity was not found."),
    405: ("UNIMPLEMENTED", "The method is not allowed."),
    409: ("ABORTED", "The operation was aborted."),
    429: (
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    499: ("CANCELLED", "The operation was cancelled."),
    500: ("INTERNAL", "An internal error has occurred."),
    501: ("UNIMPLEMENTED", "Operation is not implemented, or supported, or enabled."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
"""Statuses and messages as https://ai.google.dev/gemini-api/docs/troubleshooting lists them."""


def wrong(message: str, field: str | None = None) -> Refusal:
    """A request that Google does not understand; `field` is what is wrong."""
    return Refusal(400, message, param=field)


def unknown_model(name: str, method: str) -> Refusal:
    """No such model, or it does something else."""
    return Refusal(
        404,
        f"models/{name} is not found for API version v1beta, or is not supported for {method}. Call "
        "ListModels to see the list of available models and their supported methods.",
    )


@lru_cache(maxsize=1024)
def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)


def part(document: Any, name: str) -> Any:
    """A member of a message: Google takes lowerCamelCase and snake_case. None when it is not there."""
    if not isinstance(document, dict):
        raise wrong(f"Invalid value for a message that should hold '{name}'.", name)
    value = document.get(name)
    return document.get(_snake(name)) if value is None else value


class Google(Dialect):
    """An API key in a header or the query, and `{"error": {code, message, status, details}}`."""

    vertex = False

    def __init__(self, *, array: bool = False) -> None:
        """With `array` an error is the only member of an array: streams that are arrays have it so."""
        self.array = array

    def claims(self, request: Request) -> bool:
        return request.path.startswith("/v1beta") or request.header(b"x-goog-api-key") is not None

    def request_id(self, serial: str) -> str:
        return f"{serial[:10]}{serial[-12:]}"

    def credential(self, request: Request) -> str:
        key = request.header(b"x-goog-api-key") or parse_qs(request.query).get("key", [""])[0]
        key = key or bearer(request)
        if not key:
            raise Refusal(
                403,
                "Method doesn't allow unregistered callers (callers without established identity). Please "
                "use API Key or other form of API consumer identity to call this API.",
            )
        if refused_key(key):
            raise Refusal(400, "API key not valid. Please pass a valid API key.", code="API_KEY_INVALID")
        return key

    def unreadable(self) -> Refusal:
        return wrong("Invalid JSON payload received. Expected an object.")

    def headers(self, request_id: str, processing_ms: int) -> bytes:
        return (
            b"vary: Origin, X-Origin, Referer\r\nx-xss-protection: 0\r\nx-frame-options: SAMEORIGIN\r\n"
            b"x-content-type-options: nosniff\r\nserver-timing: gfet4t7; dur=%d\r\n" % processing_ms
        )

    def refused(self, refusal: Refusal, request_id: str) -> Reply:
        body = _document(refusal)
        if self.array:
            body = b"[%b]" % body
        return Reply(refusal.status, body, content_type=JSON, headers=refusal.headers)

    def wanted(self, status: int, *, code: str | None, headers: tuple[tuple[str, str], ...]) -> Refusal:
        _, message = STATUSES.get(status, STATUSES[500 if status >= 500 else 400])
        return Refusal(status, message, code=code, headers=headers)

    def fault(self, request_id: str) -> bytes:
        return _document(self.wanted(503, code=None, headers=()))

    def no_such_path(self, request: Request, *, other_method: bool) -> Refusal:
        return Refusal(405 if other_method else 404, f"Not found: {request.method} {request.path}")


class Vertex(Google):
    """Gemini at Vertex AI: a bearer token, or an API key in express mode."""

    vertex = True

    def claims(self, request: Request) -> bool:
        return "/publishers/google/" in request.path

    def credential(self, request: Request) -> str:
        token = bearer(request) or request.header(b"x-goog-api-key") or ""
        if not token or refused_key(token):
            raise Refusal(
                401,
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
                "or other valid authentication credential.",
                code="ACCESS_TOKEN_TYPE_UNSUPPORTED" if token else "CREDENTIALS_MISSING",
            )
        return token


def _document(refusal: Refusal) -> bytes:
    """An error body in Google's shape, with the details that belong to it."""
    status, _ = STATUSES.get(refusal.status, STATUSES[500 if refusal.status >= 500 else 400])
    details: list[dict[str, Any]] = []
    if refusal.code is not None:
        info = {"reason": refusal.code, "domain": "googleapis.com", "metadata": {"service": _SERVICE}}
        details.append({"@type": f"{_TYPE}ErrorInfo", **info})
    if refusal.param is not None:
        violation = {"field": refusal.param, "description": refusal.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    wait = dict(refusal.headers).get("retry-after", "")
    if refusal.status == 429:
        details.append({"@type": f"{_TYPE}QuotaFailure", "violations": [{"quotaId": "SimulatedPerMinute"}]})
    if wait.isdecimal():
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{wait}s"})
    error: dict[str, Any] = {"code": refusal.status, "message": refusal.message, "status": status}
    if details:
        error["details"] = details
    return orjson.dumps({"error": error}, option=orjson.OPT_INDENT_2)


GOOGLE = Google()
GOOGLE_ARRAY = Google(array=True)
VERTEX = Vertex()
VERTEX_ARRAY = Vertex(array=True)
