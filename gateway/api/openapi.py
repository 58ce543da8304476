"""The OpenAPI 3.1 document of the table of endpoints: what is served is what is written there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api.answers import encoded
from gateway.api.endpoint import ANY, Answer, Call, Endpoint

PATH = "/api/openapi.json"
_PLACE = re.compile(r"\{(\w+)(?::\w+)?\}")
_REF = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "What is wrong, for a person"},
        "code": {"type": "string", "description": "What is wrong, for a program"},
        "param": {"type": "string", "description": "The field or header that it is about"},
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
_USUAL = {
    400: "The query or the body is not as it must be; the error names the field",
    401: "No usable key was given",
    403: "The key lacks the scope, or is bound to a customer or feature",
    404: "There is nothing of the key's account by this name",
    413: "The body is larger than is read here",
    500: "This gateway failed",
    503: "The store or the ledger cannot be reached at the moment; try again",
    504: "The answer took too long",
}


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The whole document."""
    table = sorted(endpoints, key=lambda each: (each.path, each.method))
    asked = {each.body for each in table if each.body is not None}
    told = {model for each in table for model in (each.answer, *each.more.values()) if model is not None}
    wanted: list[tuple[type[BaseModel], Any]] = [
        *((model, "validation") for model in sorted(asked, key=_name)),
        *((model, "serialization") for model in sorted(told, key=_name)),
    ]
    schemas, definitions = models_json_schema(wanted, ref_template=_REF)
    definitions = _numbered(definitions)
    components = {"Error": _ERROR, "PlatformError": _PLATFORM_ERROR, **definitions.get("$defs", {})}
    paths: dict[str, dict[str, Any]] = {}
    for each in table:
        place = paths.setdefault(_PLACE.sub(r"{\1}", each.path), {})
        place[each.method.lower()] = _operation(each, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tollkeeper",
            "version": _version(),
            "summary": "What customers and features cost and earn, and the terms they are served on",
            "description": "Money is told twice: in dollars as an exact decimal number, and in nano-USD as a "
            "text. What is unknown is null with a reason, never 0. Every answer has x-request-id.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The gateway that serves this document"}],
        "tags": [{"name": tag} for tag in sorted({each.tag for each in table})],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "headers": {
                "RequestId": {"description": "Names this request in the log", "schema": {"type": "string"}}
            },
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An obs_ key; its scopes decide what it may ask",
                }
            },
        },
    }


@lru_cache(maxsize=1)
def served() -> bytes:
    """The document of what the api process serves, as JSON."""
    from gateway.api.table import ENDPOINTS

    return encoded(document(ENDPOINTS))


def _answer(_call: Call) -> Answer:
    return Answer(stream=iter((served(),)))


OPENAPI = Endpoint(
    "GET",
    PATH,
    None,
    "This API as an OpenAPI 3.1 document",
    "openapi",
    _answer,
    bound="open",
    media=("application/json",),
)


def _operation(each: Endpoint, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": each.summary, "tags": [each.tag], "operationId": _id(each)}
    if described := _described(each):
        operation["description"] = described
    parameters = [*_places(each), *_query(each)]
    if parameters:
        operation["parameters"] = parameters
    if each.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[each.body, "validation"]}},
        }
    operation["responses"] = {**_successes(each, schemas), **_refusals(each)}
    operation["security"] = [] if each.scope is None else [{"key": []}]
    if each.scope not in (None, ANY):
        operation["x-required-scope"] = each.scope
    return operation


def _numbered(schema: Any) -> Any:
    """The schema with exact defaults as the numbers that they are: pydantic writes a Decimal as a text."""
    if isinstance(schema, list):
        return [_numbered(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _numbered(part) for name, part in schema.items()}
    if found.get("type") == "number" and isinstance(found.get("default"), str):
        found["default"] = Decimal(found["default"])
    return found


def _described(each: Endpoint) -> str:
    scope = {None: "No key is asked for.", ANY: "Any key may ask."}.get(
        each.scope, f"The key needs the scope `{each.scope}`."
    )
    bound = {
        "own": " A key that is bound to a customer or feature sees that one only.",
        "refused": " Refused to keys that are bound to a customer or feature.",
        "open": "",
    }[each.bound]
    return " ".join(
        part for part in (each.description.strip(), scope + (bound if each.scope else "")) if part
    )


def _places(each: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PLACE.findall(each.path)
    ]


def _query(each: Endpoint) -> list[dict[str, Any]]:
    if each.query is None:
        return []
    schema = each.query.model_json_schema()
    found = []
    for name, field in schema.get("properties", {}).items():
        inner = {key: value for key, value in field.items() if key not in ("title", "description", "default")}
        kinds = [kind for kind in inner.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1:
            inner = kinds[0]  # in a query what is not told is not there: there is no null
        parameter: dict[str, Any] = {"name": name, "in": "query", "schema": inner}
        if field.get("default") is not None:
            inner["default"] = field["default"]
        if description := field.get("description") or inner.pop("description", None):
            parameter["description"] = description
        if name in schema.get("required", ()):
            parameter["required"] = True
        found.append(parameter)
    return found


def _successes(each: Endpoint, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    models: dict[int, type[BaseModel] | None] = {each.status: each.answer, **each.more}
    return {str(status): _success(each, model, schemas) for status, model in models.items()}


def _success(each: Endpoint, model: type[BaseModel] | None, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"description": "As asked", "headers": _HEADERS}
    content: dict[str, Any] = {media: {} for media in each.media}
    if model is not None:
        schema = schemas[model, "serialization"]
        content["application/json"] = {"schema": _enveloped(schema) if each.platform else schema}
    if content:
        told["content"] = content
    return told


def _enveloped(schema: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"success": {"const": True}, "data": schema},
        "required": ["success", "data"],
        "additionalProperties": False,
    }


def _refusals(each: Endpoint) -> dict[str, Any]:
    statuses = {400, 500, 503, 504}
    if each.scope is not None:
        statuses |= {401, 403} if each.scope != ANY or each.bound == "refused" else {401}
    if _PLACE.search(each.path):
        statuses.add(404)
    if each.method != "GET":
        statuses.add(413)
    told = {**{status: _USUAL[status] for status in statuses}, **each.refusals}
    reference = {"$ref": _REF.format(model="PlatformError" if each.platform else "Error")}
    return {
        str(status): {
            "description": told[status],
            "headers": _HEADERS,
            "content": {"application/json": {"schema": reference}},
        }
        for status in sorted(told)
    }


_HEADERS = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}


def _id(each: Endpoint) -> str:
    parts = [part for part in re.split(r"\W+", each.path.removeprefix("/api/")) if part]
    return "_".join([each.method.lower(), *parts])


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _version() -> str:
    try:
        return version("tollkeeper")
    except PackageNotFoundError:
        return "0"
