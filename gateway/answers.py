"""What the gateway itself says to a client: errors and headers, in the caller's dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable

from accounts.key import PREFIX
from gateway.client import Send
from gateway.dialects.dialect import Dialect
from gateway.dialects.exchange import RawHeaders
from gateway.dialects.openai import OPENAI
from gateway.errors import GatewayError
from metering.money import nano_to_usd

_JSON = (b"content-type", b"application/json")
_PASSED = frozenset(
    {b"content-type", b"openai-processing-ms", b"openai-version", b"retry-after", b"retry-after-ms"}
)
_PASSED_FAMILIES = (b"x-ratelimit-", b"anthropic-ratelimit-", b"x-amzn-bedrock-", b"x-amzn-errortype")
UPSTREAM_IDS = (b"x-request-id", b"request-id", b"x-amzn-requestid")
"""Where providers say which of their requests this was."""
_KEY = re.compile(rf"{PREFIX}[0-9A-Za-z]{{8,}}")
_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def refusal(error: GatewayError, request_id: str, dialect: Dialect = OPENAI) -> tuple[int, RawHeaders, bytes]:
    """Status, headers and body for a request that the gateway does not serve, in the caller's dialect."""
    message = _KEY.sub("obs_[redacted]", error.message)  # whoever put a key into a path or a model's name
    body = dialect.error_body(error, message, request_id)
    headers: RawHeaders = [
        _JSON,
        (b"content-length", b"%d" % len(body)),
        *id_headers(request_id, dialect),
        (b"x-should-retry", b"true" if error.should_retry else b"false"),
        *dialect.error_headers(error),
    ]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return error.status, headers, body


def id_headers(request_id: str, dialect: Dialect) -> RawHeaders:
    """The request's id, also where the dialect's SDKs look for it."""
    own = (b"x-request-id", request_id.encode())
    return [own] if dialect.id_header is None else [own, (dialect.id_header, own[1])]


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
        if name in _PASSED or name.startswith(_PASSED_FAMILIES):
            if not _UNSAFE.search(value):
                kept.append((name, value))
        elif name in UPSTREAM_IDS and not _UNSAFE.search(value):
            kept.append((b"x-upstream-request-id", value))
    return kept


def cost_header(cost_nano: int | None) -> tuple[bytes, bytes]:
    """`Observe-Cost-Usd`: decimal dollars, or the word unknown."""
    return b"observe-cost-usd", nano_to_usd(cost_nano).encode() if cost_nano is not None else b"unknown"
