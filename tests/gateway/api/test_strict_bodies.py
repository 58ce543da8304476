"""A body's values are of the kinds that are declared: nothing is taken for what it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel

from accounts.scope import ADMIN
from gateway.api.endpoint import Endpoint
from gateway.api.ingestmodels import EventBody, IngestBody
from gateway.api.reading import read_body
from gateway.api.table import TOLD
from gateway.errors import BadRequest
from tests.gateway.api.asking import Asker
from tests.stack import Stack

READ_ONE_BY_ONE = (IngestBody, EventBody)
"""Whose events have a reader of their own, which says of each what is wrong with it."""
WRONG = {"boolean": ("yes", 1), "integer": ("3", 1.5, True), "number": ("3", True), "string": (3, True, [])}
"""What is declared -> what others would take for it."""


def kinds(schema: dict[str, Any]) -> set[str]:
    """Which kinds of JSON a field takes."""
    found = {schema["type"]} if "type" in schema else set()
    for each in schema.get("anyOf", ()):
        found |= kinds(each)
    return found - {"null"}


def fields() -> Iterator[Any]:
    for endpoint in TOLD:
        if endpoint.body is None or endpoint.body in READ_ONE_BY_ONE:
            continue
        for name, schema in endpoint.body.model_json_schema()["properties"].items():
            kind = kinds(schema)
            if len(kind) == 1 and kind & WRONG.keys():
                yield pytest.param(endpoint, name, kind.pop(), id=f"{endpoint.path} {name}")


def example(model: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = model.model_json_schema()["examples"][0]
    return dict(found)


@pytest.mark.parametrize(("endpoint", "name", "kind"), list(fields()))
def test_no_field_takes_another_kind(endpoint: Endpoint, name: str, kind: str) -> None:
    assert endpoint.body is not None
    for wrong in WRONG[kind]:
        body = json.dumps({**example(endpoint.body), name: wrong})
        with pytest.raises(BadRequest) as told:
            read_body(endpoint.body, body.encode())
        assert told.value.param == name
        assert f"{name}: " in told.value.message, told.value.message


@pytest.mark.wide
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"archived": "yes"}, "archived: write true or false, not a text."),
        ({"archived": 1}, "archived: write true or false, not a number."),
        ({"name": 7}, "name: write a text, not a number."),
        ({"name": {}}, "name: write a text, not an object."),
        ({"is_internal": []}, "is_internal: write true or false, not a list."),
    ],
)
def test_the_fault_says_what_is_wrong_and_nothing_changes(
    stack: Stack, http: httpx2.Client, body: dict[str, Any], said: str
) -> None:
    admin = Asker(http, stack.key(scopes=(ADMIN,)))
    stack.customers.add_customer("strict", name="As it was")
    told = admin.ask("PATCH", "/api/customers/strict", json=body, status=400)
    assert (told["error"], told["code"], told["param"]) == (said, "invalid_request", next(iter(body)))
    kept = admin.get("/api/customers/strict")
    assert (kept["name"], kept["archived_at"], kept["is_internal"]) == ("As it was", None, False)


@pytest.mark.wide
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"limits": [{"value": "3"}]}, "limits[0].value: write a number, such as 0.5, not a text."),
        ({"price": {"amount": "49"}}, "price.amount: write a number, such as 0.5, not a text."),
        (
            {"price": {"interval_months": 1.5}},
            "price.interval_months: write a whole number, not a number with a point.",
        ),
        ({"features": {"search": True}}, "features: write a list, not an object."),
        ({"limits": ["search"]}, "limits[0]: write an object, not a text."),
        ({"price": []}, "price: write an object, not a list."),
        ({"anchor": "3"}, "anchor: write a day of the month, 1 to 31, or the text subscription."),
        ({"anchor": 32}, "anchor: write a day of the month, 1 to 31, or the text subscription."),
    ],
)
def test_inner_fields_are_named_whole(http: httpx2.Client, stack: Stack, change: Any, said: str) -> None:
    admin = Asker(http, stack.key(scopes=(ADMIN,)))
    assert admin.post("/api/plans", {"plan": "strict", **change}, status=400)["error"] == said
    admin.get("/api/plans/strict", status=404)
