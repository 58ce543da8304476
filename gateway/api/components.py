"""What several operations of the API's document share: errors and refusals, parameters, forms of money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

from gateway.api.answers import encoded
from gateway.api.fields import Nano, Usd

SCHEMA = "#/components/schemas/{model}"
_PARAMETER = "#/components/parameters/"
_RESPONSE = "#/components/responses/"
HEADERS = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
"""Of every answer."""
MONEY = {"Usd": TypeAdapter(Usd).json_schema(), "Nano": TypeAdapter(Nano).json_schema()}
"""The schemas of an amount's two forms."""
_COMPLETE_SINCE = {
    "type": "string",
    "format": "date-time",
    "description": "With the code events_removed: the moment since which all events are there",
}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "What is wrong, for a person"},
        "code": {"type": "string", "description": "What is wrong, for a program"},
        "param": {"type": "string", "description": "The field or header that it is about"},
        "complete_since": _COMPLETE_SINCE,
    },
    "required": ["error", "code"],
    "additionalProperties": False,
    "examples": [{"error": "Unknown query field: custmer.", "code": "unknown_field", "param": "custmer"}],
}
_PLATFORM_ERROR = {
    "type": "object",
    "properties": {
        "success": {"const": False},
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "detail": {"type": ["string", "null"], "description": "The field or header that it is about"},
                "completeSince": _COMPLETE_SINCE,
            },
            "required": ["code", "message", "detail"],
            "additionalProperties": False,
        },
        "data": {"type": "object", "description": "Of what was there already"},
    },
    "required": ["success", "error"],
    "additionalProperties": False,
    "examples": [
        {"success": False, "error": {"code": "not_found", "message": "No such task.", "detail": None}}
    ],
}
ERRORS = {"Error": _ERROR, "PlatformError": _PLATFORM_ERROR}
"""The schemas of what is told of a refusal."""
USUAL = {
    400: "The query or the body is not as it must be; the error names the field",
    401: "No usable key was given",
    403: "The key lacks the scope, or is bound to a customer or feature",
    404: "There is nothing of the key's account by this name",
    413: "The body is larger than is read here",
    500: "This gateway failed",
    503: "The store or the ledger cannot be reached at the moment; try again",
    504: "The answer took too long",
}
"""Statuses of refusals -> when they come."""


def usual_refusals() -> dict[str, Any]:
    """The refusals of `USUAL` as they stand among the components."""
    return {
        _refusal_name(status, platform): refusal(words, platform=platform)
        for platform in (False, True)
        for status, words in USUAL.items()
    }


def usual_refusal(status: int, *, platform: bool) -> dict[str, str]:
    """A reference to one of them."""
    return {"$ref": _RESPONSE + _refusal_name(status, platform)}


def refusal(words: str, *, platform: bool) -> dict[str, Any]:
    """A refusal told in the shape of its path."""
    reference = {"$ref": SCHEMA.format(model=_error(platform))}
    return {
        "description": words,
        "headers": HEADERS,
        "content": {"application/json": {"schema": reference}},
    }


def _error(platform: bool) -> str:
    return "PlatformError" if platform else "Error"


def _refusal_name(status: int, platform: bool) -> str:
    """The name of a usual refusal among the components."""
    return f"{_error(platform)}{status}"


def share_parameters(operations: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Parameters that several operations have in common, which then refer to them.

    Of several with one name the commonest is shared; others are told where they are.
    """
    lists = [operation["parameters"] for operation in operations if "parameters" in operation]
    uses = Counter(_text(each) for told in lists for each in told)
    shared: dict[str, Any] = {}
    for text, parameter in sorted({_text(each): each for told in lists for each in told}.items()):
        name = _shared_name(parameter)
        if uses[text] > 1 and (name not in shared or uses[text] > uses[_text(shared[name])]):
            shared[name] = parameter
    for told in lists:
        told[:] = [
            {"$ref": _PARAMETER + _shared_name(each)} if shared.get(_shared_name(each)) == each else each
            for each in told
        ]
    return dict(sorted(shared.items()))


def _shared_name(parameter: Mapping[str, Any]) -> str:
    return parameter["name"] if parameter["in"] == "query" else f"{parameter['in']}_{parameter['name']}"


def _text(parameter: Any) -> str:
    return encoded(parameter).decode()


def referring(schema: Any, shared: Mapping[str, Any]) -> Any:
    """The schema with references in place of the shared ones, which keep a description of their own."""
    if isinstance(schema, list):
        return [referring(each, shared) for each in schema]
    if not isinstance(schema, dict):
        return schema
    for name, known in shared.items():
        if schema.keys() == known.keys() and {**schema, "description": ""} == {**known, "description": ""}:
            own = {} if schema == known else {"description": schema["description"]}
            return {"$ref": SCHEMA.format(model=name), **own}
    return {name: referring(part, shared) for name, part in schema.items()}
