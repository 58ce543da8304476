"""OpenAI's dialect: `req_` ids, bearer keys, its headers, `{"error": {...}}`, and its lists of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator.dialect import Asked, Dialect, Whole
from simulator.directive import NONE, Directive
from simulator.errors import Refusal, error_document, unknown_model, wanted_refusal
from simulator.models import KNOWN, MODELS
from simulator.replies import json_reply, masked
from simulator.wire import Reply, Request

_USUAL = (
    b"openai-organization: simulated\r\nopenai-version: 2020-10-01\r\n"
    b"x-ratelimit-limit-requests: 10000\r\nx-ratelimit-limit-tokens: 30000000\r\n"
    b"x-ratelimit-remaining-requests: 9999\r\nx-ratelimit-remaining-tokens: 29999000\r\n"
    b"x-ratelimit-reset-requests: 6ms\r\nx-ratelimit-reset-tokens: 2ms\r\n"
    b"set-cookie: __cf_bm=simulated; path=/; HttpOnly; Secure; SameSite=None\r\n"
)


def bearer(request: Request) -> str:
    """The bearer key of a request; empty without one."""
    scheme, _, key = (request.header(b"authorization") or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


class OpenAI(Dialect):
    """Errors, credentials and headers as OpenAI's."""

    def request_id(self, serial: str) -> str:
        return f"req_{serial}"

    def credential(self, request: Request) -> str:
        key = bearer(request)
        if not key:
            raise Refusal(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header "
                "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        if refused_key(key):
            raise Refusal(401, f"Incorrect API key provided: {masked(key)}.", code="invalid_api_key")
        return key

    def unreadable(self) -> Refusal:
        return Refusal(
            400,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
            "your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not "
            "valid JSON.)",
        )

    def headers(self, request_id: str, processing_ms: int) -> bytes:
        return b"x-request-id: %b\r\nopenai-processing-ms: %d\r\n" % (
            request_id.encode(),
            processing_ms,
        ) + _USUAL  # fmt: skip

    def refused(self, refusal: Refusal, request_id: str) -> Reply:
        return Reply(refusal.status, refusal.document(), headers=refusal.headers)

    def wanted(self, status: int, *, code: str | None, headers: tuple[tuple[str, str], ...]) -> Refusal:
        return wanted_refusal(status, code=code, headers=headers)

    def fault(self, request_id: str) -> bytes:
        return error_document("The server had an error while processing your request.", kind="server_error")

    def no_such_path(self, request: Request, *, other_method: bool) -> Refusal:
        if other_method:
            message = (
                f"Not allowed to {request.method} on {request.path}. "
                "(HINT: Perhaps you meant to use a different HTTP method?)"
            )
            return Refusal(405, message, code="method_not_supported")
        return Refusal(404, f"Invalid URL ({request.method} {request.path})")


OPENAI = OpenAI()


def refused_key(key: str) -> bool:
    """Whether a key is none of this provider's: a gateway's own, or one made to be refused."""
    return key.startswith(("obs_", "sk-invalid"))


@dataclass(frozen=True, slots=True)
class ModelsCall:
    """A request for the list of models, or for one: `name`."""

    name: str | None
    directive: Directive = NONE


def read_models(asked: Asked) -> ModelsCall:
    """Which model is asked for. Raises Refusal when there is none of that name."""
    name = asked.names.get("model")
    if name is not None and name not in KNOWN:
        raise unknown_model(name)
    return ModelsCall(name)


def say_models(asked: Asked, call: ModelsCall, wish: Directive) -> Whole:
    """The list of models, or one."""
    if call.name is not None:
        return Whole(json_reply(_model(call.name)))
    return Whole(json_reply({"object": "list", "data": [_model(name) for name in KNOWN]}))


def _model(name: str) -> dict[str, Any]:
    owner = "openai" if name in MODELS and name.startswith("text-") else "system"
    return {"id": name, "object": "model", "created": KNOWN[name].created, "owned_by": owner}
