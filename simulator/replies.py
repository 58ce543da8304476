"""Replies that need no model: refusals, errors on request, the list of models, and what was received."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import orjson

from simulator.directive import Directive
from simulator.errors import Refusal, unknown_model, wanted_refusal
from simulator.models import KNOWN, MODELS
from simulator.wire import HTML, Reply, Request

KNOWN_PATHS = (
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/moderations", "/v1/models",
    "/_simulator/bill", "/_simulator/open",
)  # fmt: skip


def json_reply(document: Any) -> Reply:
    """A JSON document with status 200."""
    return Reply(200, orjson.dumps(document))


def refused(refusal: Refusal) -> Reply:
    """The error document of a refusal."""
    return Reply(refusal.status, refusal.document(), headers=refusal.headers)


def wanted_reply(wish: Directive, credential: str) -> Reply | None:
    """The error or redirect that the directive asks for. `credential` is what the request came with."""
    if wish.redirect is not None:
        return Reply(307, b"", content_type=HTML, headers=(("location", wish.redirect),))
    if wish.status is None:
        return None
    headers = tuple(
        (name, value)
        for name, value in (("retry-after", wish.retry_after), ("retry-after-ms", wish.retry_after_ms))
        if value is not None
    )
    if wish.html:
        page = f"<html><head><title>{wish.status}</title></head><body>Simulated error</body></html>"
        return Reply(wish.status, page.encode(), content_type=HTML, headers=headers)
    wanted = wanted_refusal(wish.status, code=wish.code, headers=headers)
    if wish.tell_key:
        wanted.message += f" The key was {credential}."
    return refused(wanted)


def masked(key: str) -> str:
    """A credential that may be shown: its last four characters."""
    return f"****{key[-4:]}"


def models_reply(request: Request) -> Reply:
    """The list of models, or one."""
    if request.path == "/v1/models" and request.method in ("GET", "HEAD"):
        return json_reply({"object": "list", "data": [_model(name) for name in KNOWN]})
    if request.path.startswith("/v1/models/") and request.method in ("GET", "HEAD"):
        name = unquote(request.path.removeprefix("/v1/models/"))
        if name not in KNOWN:
            return refused(unknown_model(name))
        return json_reply(_model(name))
    raise no_such_path(request)


def _model(name: str) -> dict[str, Any]:
    owner = "openai" if name in MODELS and name.startswith("text-") else "system"
    return {"id": name, "object": "model", "created": KNOWN[name].created, "owned_by": owner}


def no_such_path(request: Request) -> Refusal:
    """404 for a path, or 405 for a method, that is not served."""
    if request.path in KNOWN_PATHS:
        message = (
            f"Not allowed to {request.method} on {request.path}. "
            "(HINT: Perhaps you meant to use a different HTTP method?)"
        )
        return Refusal(405, message, code="method_not_supported")
    return Refusal(404, f"Invalid URL ({request.method} {request.path})")


def shown(request: Request) -> dict[str, Any]:
    """A received request as a document, its credentials masked."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
    return {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": [
            (name, masked(value) if name in ("authorization", "x-api-key", "api-key") else value)
            for name, value in headers
        ],
        "body": request.body.decode(errors="replace"),
    }
