"""The document of the API is a valid one, is complete, and is the one that is committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from accounts.scope import SCOPES
from gateway.api.endpoint import ANY
from gateway.api.entitlementtable import ENTITLEMENTS
from gateway.api.openapi import document, served
from gateway.api.table import TOLD
from tests.stack import Stack

COMMITTED = Path(__file__).parents[3] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(served())
    return found


def followed(told: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what it refers to."""
    found: Any = told
    for name in part["$ref"].removeprefix("#/").split("/") if "$ref" in part else ():
        found = found[name]
    return part if found is told else found  # type: ignore[no-any-return]


def test_the_committed_document_is_the_served_one(told: dict[str, Any], http: httpx2.Client) -> None:
    assert json.loads(COMMITTED.read_text()) == told, "stale: run scripts/build-docs"
    assert http.get("/api/openapi.json").json() == told


@pytest.mark.wide
def test_it_is_valid(told: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(told).validate()  # type: ignore[no-untyped-call]


def test_every_endpoint_is_told_with_its_scope_and_its_refusals(told: dict[str, Any]) -> None:
    for each in TOLD:
        operation = told["paths"][each.path][each.method.lower()]
        assert operation["summary"], each.path
        assert (operation["security"] == []) is (each.scope is None), each.path
        if each.scope not in (None, ANY):
            assert each.scope in SCOPES, each.path
            assert f"`{each.scope}`" in operation["description"], each.path
        statuses = set(operation["responses"])
        assert str(each.status) in statuses
        assert {"400", "500", "503"} <= statuses
        assert {str(status) for status in each.more} <= statuses
        assert ({"401"} <= statuses) is (each.scope is not None)
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                schema = followed(told, answer)["content"]["application/json"]["schema"]["$ref"]
                assert schema.endswith("PlatformError" if each.platform else "/Error"), (each.path, status)
    assert sum(len(place) for place in told["paths"].values()) == len(TOLD)


def test_operations_and_models_have_names_of_their_own(told: dict[str, Any]) -> None:
    """Such as programs that write clients can use for functions and classes."""
    operations = [operation for place in told["paths"].values() for operation in place.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(each.isidentifier() for each in (*ids, *told["components"]["schemas"]))
    tags = {each["name"] for each in told["tags"]}
    assert all(len(operation["tags"]) == 1 and tags.issuperset(operation["tags"]) for operation in operations)
    # Two models of one name get their modules' names before theirs.
    assert not [name for name in told["components"]["schemas"] if "__" in name]


def test_money_is_told_twice(told: dict[str, Any]) -> None:
    """Wherever an answer has an amount in dollars, its exact form stands beside it."""
    walked = 0
    for name, schema in told["components"]["schemas"].items():
        for field, part in schema.get("properties", {}).items():
            if field.endswith(("_nano", "Nano")):
                dollars = field.removesuffix("_nano").removesuffix("Nano")
                assert dollars in schema["properties"], (name, field)
                kinds = json.dumps(part)
                assert '"string"' in kinds or "schemas/Nano" in kinds, (name, field)
                walked += 1
    assert walked or len(document(TOLD)["paths"]) == 1


def test_what_operations_share_is_told_once(told: dict[str, Any]) -> None:
    """Every shared part is used; no refusal or parameter that several operations have is repeated."""
    text, parts = json.dumps(told), told["components"]
    for kind in ("parameters", "schemas", "headers"):
        for name in parts[kind]:
            assert f'"#/components/{kind}/{name}"' in text, (kind, name)
    operations = [operation for place in told["paths"].values() for operation in place.values()]
    written = [
        json.dumps(answer)
        for operation in operations
        for answer in operation["responses"].values()
        if "$ref" not in answer
    ]
    for answer in parts["responses"].values():
        assert json.dumps(answer) not in written
    for parameter in parts["parameters"].values():
        assert not [each for each in operations if parameter in each.get("parameters", ())]
        assert followed(told, {"$ref": f"#/components/parameters/{shared_as(parameter)}"}) == parameter


def shared_as(parameter: dict[str, Any]) -> str:
    return parameter["name"] if parameter["in"] == "query" else f"{parameter['in']}_{parameter['name']}"


def test_what_workers_answer_themselves_is_told_too(stack: Stack, told: dict[str, Any]) -> None:
    """Each endpoint below /api that a worker's own router knows, with its body and its headers."""
    served = {(each.method, each.path) for each in stack.gateway.endpoints if each.path.startswith("/api/")}
    assert served == {(each.method, each.path) for each in ENTITLEMENTS}
    check = told["paths"]["/api/v1/client/entitlements/check"]["post"]
    answer = check["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["required"] == ["success", "allowed", "data"]
    (header,) = told["paths"]["/api/plan"]["get"]["parameters"]
    assert (header["name"], header["in"]) == ("Observe-Customer", "header")
    of_one = told["paths"]["/api/v1/client/entitlements/{customer}/{feature}"]["get"]["responses"]
    assert set(of_one) == {"200", "204", "400", "401", "403", "500", "503"}
    assert "content" not in of_one["204"]
