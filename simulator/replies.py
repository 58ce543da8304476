"""Replies that need no model: errors on request, and what was received."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from simulator.directive import Directive
from simulator.wire import HTML, Reply, Request

if TYPE_CHECKING:
    from simulator.dialect import Asked

CREDENTIAL_HEADERS = frozenset(
    ("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-amz-security-token")
)
_KEY_IN_QUERY = re.compile(r"(?<![^&])key=([^&]*)")


def json_reply(document: Any) -> Reply:
    """A JSON document with status 200."""
    return Reply(200, orjson.dumps(document))


def wanted_reply(asked: Asked, wish: Directive) -> Reply | None:
    """The error or redirect that the directive asks for."""
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
    wanted = asked.dialect.wanted(wish.status, code=wish.code, headers=headers)
    if wish.tell_key:
        wanted.message += f" The key was {asked.credential}."
    return asked.dialect.refused(wanted, asked.request_id)


def masked(key: str) -> str:
    """A credential that may be shown: its last four characters."""
    return f"****{key[-4:]}"


def shown(request: Request) -> dict[str, Any]:
    """A received request as a document, its credentials masked."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
    return {
        "method": request.method,
        "path": request.path,
        "query": _KEY_IN_QUERY.sub(lambda found: f"key={masked(found[1])}", request.query),
        "headers": [
            (name, masked(value) if name in CREDENTIAL_HEADERS else value) for name, value in headers
        ],
        "body": request.body.decode(errors="replace"),
    }
