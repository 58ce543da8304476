"""What the gateway itself says to a client: errors and headers, in the caller's dialect."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

import orjson

from accounts.key import PREFIX
from gateway.errors import GatewayError
from metering.money import nano_to_usd

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_PASSED = frozenset(
    {b"content-type", b"openai-processing-ms", b"openai-version", b"retry-after", b"retry-after-ms"}
)
_KEY = re.compile(rf"{PREFIX}[0-9A-Za-z]{{8,}}")
_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def error_body(
    message: str,
    kind: str,
    param: str | None,
    code: str | None,
    details: Mapping[str, object] = MappingProxyType({}),
) -> bytes:
    """The JSON of one error in OpenAI's shape."""
    error = {"message": message, "type": kind, "param": param, "code": code, **details}
    return orjson.dumps({"error": error})


def error_event(message: str, kind: str, code: str) -> bytes:
    """An error as an event of a running stream; SDKs raise on it."""
    return b"data: " + error_body(message, kind, None, code) + b"\n\n"


def refusal(error: GatewayError, request_id: str) -> tuple[int, RawHeaders, bytes]:
    """Status, headers and body for a request that the gateway does not serve."""
    message = _KEY.sub("obs_[redacted]", error.message)  # whoever put a key into a path or a model's name
    body = error_body(message, error.type, error.param, error.code, error.details)
    headers: RawHeaders = [
        _JSON,
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        (b"x-should-retry", b"true" if error.should_retry else b"false"),
    ]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return error.status, headers, body


async def send_whole(send: Send, status: int, headers: RawHeaders, body: bytes) -> None:
    """One complete answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def passed_headers(upstream: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """The provider's headers that a client may see; its request id under a name of its own.

    Never cookies, organisation or server headers: they are about our account there, not the client's.
    """
    kept: RawHeaders = []
    for name, value in upstream:
        if name in _PASSED or name.startswith(b"x-ratelimit-"):
            if not _UNSAFE.search(value):
                kept.append((name, value))
        elif name == b"x-request-id" and not _UNSAFE.search(value):
            kept.append((b"x-upstream-request-id", value))
    return kept


def cost_header(cost_nano: int | None) -> tuple[bytes, bytes]:
    """`Observe-Cost-Usd`: decimal dollars, or the word unknown."""
    return b"observe-cost-usd", nano_to_usd(cost_nano).encode() if cost_nano is not None else b"unknown"
