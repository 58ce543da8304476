"""Cohere's dialect: ids that are UUIDs, bearer keys, and errors that are `{"id", "message"}`.

Formats: https://docs.cohere.com/reference/chat and https://docs.cohere.com/reference/errors.
"""

from __future__ import annotations

from uuid import UUID

import orjson

from simulator.dialect import Dialect
from simulator.errors import Refusal
from simulator.openai import bearer, refused_key
from simulator.wire import Reply, Request

PATHS = ("/v2/", "/v1/rerank")
ROLES = ("user", "assistant", "system", "tool")
_MESSAGES = {
    400: "invalid request: the request is not valid",
    401: "invalid api token",
    402: "please add or update your payment method at https://dashboard.cohere.com/billing",
    403: "you do not have access to this resource",
    404: "model not found, make sure the correct model ID was used and that you have access to the model.",
    422: "invalid request: the request cannot be processed",
    429: "you have exceeded the rate limit, please wait and try again later",
    498: "the request or the answer holds a deny-listed token",
    499: "request cancelled",
    500: "internal server error, this has been reported to our developers.",
    501: "not implemented",
    503: "service unavailable, please try again later",
    504: "gateway timeout, please try again later",
}


class Cohere(Dialect):
    """Errors, credentials and headers as Cohere's."""

    def claims(self, request: Request) -> bool:
        return request.path.startswith(PATHS)

    def request_id(self, serial: str) -> str:
        return str(UUID(serial))

    def credential(self, request: Request) -> str:
        key = bearer(request)
        if not key:
            raise Refusal(401, "no api key supplied")
        if refused_key(key):
            raise Refusal(401, _MESSAGES[401])
        return key

    def unreadable(self) -> Refusal:
        return Refusal(400, "invalid request: the body is not a JSON object")

    def headers(self, request_id: str, processing_ms: int) -> bytes:
        return (
            b"x-debug-trace-id: %b\r\nx-envoy-upstream-service-time: %d\r\n"
            b"access-control-expose-headers: X-Debug-Trace-ID\r\n"
        ) % (request_id.replace("-", "").encode(), processing_ms)

    def refused(self, refusal: Refusal, request_id: str) -> Reply:
        return Reply(refusal.status, _error(refusal.message, request_id), headers=refusal.headers)

    def wanted(self, status: int, *, code: str | None, headers: tuple[tuple[str, str], ...]) -> Refusal:
        message = _MESSAGES.get(status, _MESSAGES[500 if status >= 500 else 400])
        return Refusal(status, message if code is None else f"{code}: {message}", headers=headers)

    def fault(self, request_id: str) -> bytes:
        return _error(_MESSAGES[500], request_id)


COHERE = Cohere()


def _error(message: str, request_id: str) -> bytes:
    return orjson.dumps({"id": request_id, "message": message})
