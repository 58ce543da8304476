"""The OpenAPI 3.1 document of the table of endpoints: what is served is what is written there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from gateway.api.answers import encoded
from gateway.api.components import (
    ERRORS,
    HEADERS,
    MONEY,
    SCHEMA,
    referring,
    refusal,
    share_parameters,
    usual_refusal,
    usual_refusals,
)
from gateway.api.endpoint import ANY, Answer, Call, Endpoint

PATH = "/api/openapi.json"
_PLACE = re.compile(r"\{(\w+)(?::\w+)?\}")


class _Untitled(GenerateJsonSchema):
    """Fields without titles: pydantic's only repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The whole document. What several operations share stands once, in `components`."""
    table = sorted(endpoints, key=lambda each: (each.path, each.method))
    asked = {each.body for each in table if each.body is not None}
    told = {model for each in table for model in (each.answer, *each.more.values()) if model is not None}
    wanted: list[tuple[type[BaseModel], Any]] = [
        *((model, "validation") for model in sorted(asked, key=_name)),
        *((model, "serialization") for model in sorted(told, key=_name)),
    ]
    schemas, definitions = models_json_schema(wanted, ref_template=SCHEMA, schema_generator=_Untitled)
    definitions = referring(_numbered(definitions), MONEY)
    models = {**ERRORS, **MONEY, **definitions.get("$defs", {})}
    paths: dict[str, dict[str, Any]] = {}
    for each in table:
        place = paths.setdefault(_PLACE.sub(r"{\1}", each.path), {})
        place[each.method.lower()] = _operation(each, schemas)
    parameters = share_parameters([operation for place in paths.values() for operation in place.values()])
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
            "schemas": dict(sorted(models.items())),
            "parameters": parameters,
            "responses": usual_refusals(),
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
    """The document of what is served, as JSON."""
    from gateway.api.table import TOLD

    return encoded(document(TOLD))


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
    parameters = [*_places(each), *_query(each), *_headers(each)]
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


def _headers(each: Endpoint) -> list[dict[str, Any]]:
    schema = {"type": "string", "pattern": "^[!-~]{1,128}$"}
    return [
        {"name": name, "in": "header", "schema": schema, "description": description}
        for name, description in each.headers.items()
    ]


def _successes(each: Endpoint, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    models: dict[int, type[BaseModel] | None] = {each.status: each.answer, **each.more}
    return {str(status): _success(each, model, schemas) for status, model in models.items()}


def _success(each: Endpoint, model: type[BaseModel] | None, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"description": "As asked", "headers": HEADERS}
    content: dict[str, Any] = {media: {} for media in each.media}
    if model is not None:
        schema = schemas[model, "serialization"]
        content["application/json"] = {"schema": _enveloped(each, model, schema) if each.platform else schema}
    if content:
        told["content"] = content
    return told


def _enveloped(each: Endpoint, model: type[BaseModel], schema: Any) -> dict[str, Any]:
    fields = model.model_json_schema(mode="serialization").get("properties", {})
    beside = {name: {**fields[name], "description": "As in `data`"} for name in each.beside}
    for field in beside.values():
        field.pop("title", None)
    return {
        "type": "object",
        "properties": {"success": {"const": True}, **beside, "data": schema},
        "required": ["success", *beside, "data"],
        "additionalProperties": False,
    }


def _refusals(each: Endpoint) -> dict[str, Any]:
    # A worker waits for nobody else; and of whom it knows nothing, nothing is asked.
    statuses = {400, 500, 503} if each.by_worker else {400, 500, 503, 504}
    if each.scope is not None:
        statuses |= {401, 403} if each.scope != ANY or each.bound == "refused" else {401}
    if _PLACE.search(each.path) and not each.by_worker:
        statuses.add(404)
    if each.method != "GET":
        statuses.add(413)
    usual = {
        str(status): usual_refusal(status, platform=each.platform)
        for status in statuses - each.refusals.keys()
    }
    own = {str(status): refusal(words, platform=each.platform) for status, words in each.refusals.items()}
    return dict(sorted({**usual, **own}.items()))


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
