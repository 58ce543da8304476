"""Refusals in OpenAI's own shape: `{"error": {"message", "type", "param", "code"}}`.

Messages, types and codes are OpenAI's, so that official SDKs raise their own classes for them.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

KINDS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is not valid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Access is not allowed."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    408: ("server_error", "request_timeout", "The request took too long."),
    409: ("invalid_request_error", "conflict", "Another request changes the same thing."),
    422: ("invalid_request_error", "unprocessable", "The request cannot be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", "overloaded", "The engine is currently overloaded, please try again later."),
    529: ("overloaded_error", "overloaded", "Overloaded"),
}


class Refusal(Exception):
    """The request is answered with an error document and costs nothing."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind
        self.headers = headers

    def document(self) -> bytes:
        """The error's body."""
        return error_document(self.message, kind=self.kind, code=self.code, param=self.param)


def error_document(
    message: str, *, kind: str = "invalid_request_error", code: str | None = None, param: str | None = None
) -> bytes:
    """An error body in OpenAI's shape."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def wanted_refusal(status: int, *, code: str | None, headers: tuple[tuple[str, str], ...]) -> Refusal:
    """The error of a directive `status=N`."""
    fallback = KINDS[500] if status >= 500 else KINDS[400]
    kind, usual_code, message = KINDS.get(status, fallback)
    if code == "insufficient_quota":
        kind, message = code, "You exceeded your current quota, please check your plan and billing details."
    return Refusal(status, message, code=code or usual_code, kind=kind, headers=headers)


def wrong_type(param: str, expected: str, value: object) -> Refusal:
    """A field of the body has the wrong JSON type."""
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    found = "null" if value is None else names.get(type(value), "an object")
    return Refusal(
        400,
        f"Invalid type for '{param}': expected {expected}, but got {found} instead.",
        code="invalid_type",
        param=param,
    )


def unknown_value(param: str, value: object, known: Iterable[str]) -> Refusal:
    """A field holds none of the values that it may have."""
    return Refusal(
        400,
        f"Invalid value: '{value}'. Supported values are: {', '.join(map(repr, known))}.",
        code="invalid_value",
        param=param,
    )


def missing(param: str) -> Refusal:
    """A field that must be there is not."""
    return Refusal(
        400, f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )


def unknown_model(name: str) -> Refusal:
    """No such model here."""
    return Refusal(
        404,
        f"The model `{name}` does not exist or you do not have access to it.",
        code="model_not_found",
    )
