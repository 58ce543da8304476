"""What the API says: JSON with exact numbers, and errors in the shape of their path.

/api/...      {"error": "text", "code": "not_found"}
/api/v1/...   {"success": false, "error": {"code": "not_found", "message": "text", "detail": null}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from accounts.key import PREFIX
from gateway.api.endpoint import PLATFORM
from gateway.api.fields import moment_text
from gateway.errors import BadRequest, GatewayError

_KEY = re.compile(rf"{PREFIX}[0-9A-Za-z]{{8,}}")


class Conflict(GatewayError):
    """What is there stands against it."""

    status = 409
    type = "invalid_request_error"
    default_code = "conflict"

    def __init__(self, message: str, *, code: str | None = None, data: BaseModel | None = None) -> None:
        """`data`: told beside the error on platform paths."""
        super().__init__(message, code=code)
        self.data = data


class Removed(BadRequest):
    """Single events that the question needs were removed for their age."""

    default_code = "events_removed"

    def __init__(self, reason: str, complete_since_ms: int) -> None:
        """`reason`: which, and what can be asked instead."""
        since = moment_text(complete_since_ms)
        super().__init__(f"{reason.capitalize()}. All events are there since {since}.", param="date_from")
        self.details = {"complete_since": since}


def encoded(document: Any) -> bytes:
    """JSON; a Decimal is a number with all its digits."""
    return orjson.dumps(document, default=_exact)


def body_of(model: BaseModel | None, *, platform: bool) -> bytes:
    """The body of a success."""
    if model is None:
        return b""
    document = model.model_dump(by_alias=True)
    return encoded({"success": True, "data": document} if platform else document)


def error_of(error: GatewayError, path: str, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a refusal at this path."""
    message = _KEY.sub("obs_[redacted]", error.message)
    document: dict[str, Any]
    if path.startswith(PLATFORM):
        told: dict[str, Any] = {"code": error.code, "message": message, "detail": error.param}
        told |= {to_camel(name): detail for name, detail in error.details.items()}
        document = {"success": False, "error": told}
        data = getattr(error, "data", None)
        if data is not None:
            document["data"] = data.model_dump(by_alias=True)
    else:
        document = {"error": message, "code": error.code}
        if error.param is not None:
            document["param"] = error.param
        document |= error.details
    headers = {
        "content-type": "application/json",
        "x-request-id": request_id,
        "x-should-retry": "true" if error.should_retry else "false",
    }
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return error.status, headers, encoded(document)


def raw(headers: Mapping[str, str], body: bytes) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them, with the body's length."""
    told = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return [*told, (b"content-length", b"%d" % len(body))]


def _exact(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f").encode())
    raise TypeError
