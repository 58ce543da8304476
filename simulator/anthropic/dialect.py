"""Anthropic's ids, headers, credentials and errors."""

from __future__ import annotations

import time
from typing import Any

import orjson

from simulator.dialect import Dialect
from simulator.errors import Refusal
from simulator.openai import bearer, refused_key
from simulator.wire import Reply, Request

KINDS: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request is not valid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "The requested resource could not be found."),
    408: ("timeout_error", "The request took too long."),
    409: ("conflict_error", "Another request changes the same thing."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    422: ("invalid_request_error", "The request cannot be processed."),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    503: ("api_error", "Service unavailable"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}
"""Types and messages as https://docs.claude.com/en/api/errors lists them."""


def wrong(message: str) -> Refusal:
    """A request that Anthropic does not understand."""
    return Refusal(400, message)


class Anthropic(Dialect):
    """`req_` ids, `x-api-key`, a version of the API in a header, `{"type": "error", ...}`."""

    def __init__(self) -> None:
        self._second = 0
        self._limits = b""

    def claims(self, request: Request) -> bool:
        return request.header(b"anthropic-version") is not None

    def request_id(self, serial: str) -> str:
        return f"req_011C{serial[:10]}{serial[-12:]}"

    def credential(self, request: Request) -> str:
        key = request.header(b"x-api-key") or bearer(request)
        if not key:
            raise Refusal(401, "x-api-key header is required")
        if refused_key(key):
            raise Refusal(401, "invalid x-api-key")
        if not request.header(b"anthropic-version"):
            raise wrong("anthropic-version: header is required")
        return key

    def unreadable(self) -> Refusal:
        return wrong("The request body is not valid JSON: expected an object")

    def headers(self, request_id: str, processing_ms: int) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second, self._limits = second, _limits(second)
        return b"request-id: %b\r\n" % request_id.encode() + self._limits

    def refused(self, refusal: Refusal, request_id: str) -> Reply:
        kind, _ = KINDS.get(refusal.status, KINDS[500 if refusal.status >= 500 else 400])
        body = error_document(kind, refusal.message, request_id, code=refusal.code)
        headers = (*refusal.headers, ("x-should-retry", "true" if refusal.status >= 429 else "false"))
        return Reply(refusal.status, body, headers=headers)

    def wanted(self, status: int, *, code: str | None, headers: tuple[tuple[str, str], ...]) -> Refusal:
        _, message = KINDS.get(status, KINDS[500 if status >= 500 else 400])
        return Refusal(status, message, code=code, headers=headers)

    def fault(self, request_id: str) -> bytes:
        return error_document("overloaded_error", "Overloaded", request_id)

    def no_such_path(self, request: Request, *, other_method: bool) -> Refusal:
        return Refusal(405 if other_method else 404, "Method Not Allowed" if other_method else "Not Found")


def error_document(kind: str, message: str, request_id: str, *, code: str | None = None) -> bytes:
    """An error body in Anthropic's shape; `code` names its cause."""
    error: dict[str, object] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id})


def _limits(second: int) -> bytes:
    """Headers of the rate limits, which are full again in a second."""
    again = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second + 1))
    lines = ["anthropic-organization-id: 00000000-0000-4000-8000-000000000000"]
    for what, limit in (
        ("requests", 4_000), ("tokens", 2_400_000), ("input-tokens", 2_000_000), ("output-tokens", 400_000),
    ):  # fmt: skip
        name = f"anthropic-ratelimit-{what}"
        lines += [f"{name}-limit: {limit}", f"{name}-remaining: {limit - 1}", f"{name}-reset: {again}"]
    return "".join(f"{line}\r\n" for line in lines).encode()


class VertexAnthropic(Anthropic):
    """Anthropic's models at Google: a bearer token, and the version of the API in the body."""

    def claims(self, request: Request) -> bool:
        return "/publishers/anthropic/" in request.path

    def credential(self, request: Request) -> str:
        token = bearer(request)
        if not token or refused_key(token):
            raise Refusal(401, "Request had invalid authentication credentials.")
        return token

    def document(self, request: Request) -> dict[str, Any]:
        body = super().document(request)
        if body.get("anthropic_version") is None:
            raise wrong("anthropic_version: Field required")
        return body


ANTHROPIC = Anthropic()
VERTEX_ANTHROPIC = VertexAnthropic()


def checked(value: object, where: str, kind: type | tuple[type, ...], expected: str) -> None:
    """Raises Refusal, as Anthropic says it, unless `value` is of that JSON type."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise wrong(f"{where}: Input should be {expected}")
