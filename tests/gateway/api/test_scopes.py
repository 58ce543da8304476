"""Every endpoint of the table with every scope: none is open by mistake, and none is closed to its own."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from functools import cache

import httpx2
import pytest
from pydantic import BaseModel

from accounts.scope import ADMIN, SCOPES
from gateway.api.endpoint import ANY, Endpoint
from gateway.api.reading import read_body
from gateway.api.table import TOLD
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack

PUBLIC = {"/api/openapi.json", "/api/signup"}
EVERY = (pytest.mark.slow, pytest.mark.shares)
GUARDED = [each for each in TOLD if each.scope is not None]


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    """On one engine: who may ask is decided before any database is."""
    with running_stack(simulated_settings(simulator), api=True) as started:
        yield started


@cache
def body_of(model: type[BaseModel] | None) -> bytes | None:
    """The example that its model gives; an endpoint without a body takes none."""
    if model is None:
        return None
    examples = model.model_json_schema().get("examples")
    assert examples, f"give {model.__name__} an example: the document shows it, and tests send it"
    return json.dumps(examples[0]).encode()


def ask(http: httpx2.Client, endpoint: Endpoint, secret: str | None) -> httpx2.Response:
    path = re.sub(r"\{\w+\}", "x", endpoint.path)
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    return http.request(endpoint.method, path, content=body_of(endpoint.body), headers=headers)


def own(endpoint: Endpoint) -> set[str]:
    """The scopes that it serves."""
    return set(SCOPES) if endpoint.scope == ANY else {str(endpoint.scope), ADMIN}


@pytest.fixture(scope="module")
def keys(stack: Stack) -> dict[str, str]:
    """A secret for each scope, with nothing but that scope."""
    return {scope: stack.key(scopes=(scope,)) for scope in SCOPES}


@pytest.mark.parametrize("others", [1, pytest.param(len(SCOPES), marks=EVERY)])
def test_each_endpoint_refuses_other_scopes(http: httpx2.Client, keys: dict[str, str], others: int) -> None:
    """So many others, each of which has its turn."""
    turns, refused = itertools.cycle(SCOPES), set()
    for endpoint in GUARDED:
        for scope in sorted({*itertools.islice(turns, others)} - own(endpoint)):
            answer = ask(http, endpoint, keys[scope])
            where = (endpoint.method, endpoint.path, scope, answer.status_code, answer.text[:300])
            assert answer.status_code == 403, where
            assert "insufficient_scope" in answer.text, where
            refused.add(scope)
    assert refused == set(SCOPES) - {ADMIN}


@pytest.mark.wide
def test_each_endpoint_serves_the_scope_it_names(http: httpx2.Client, keys: dict[str, str]) -> None:
    for endpoint in GUARDED:
        for scope in sorted(own(endpoint)):
            answer = ask(http, endpoint, keys[scope])
            where = (endpoint.method, endpoint.path, scope, answer.status_code, answer.text[:300])
            assert answer.status_code not in (401, 405), where
            assert "insufficient_scope" not in answer.text, where
            assert answer.status_code < 500, where


def test_only_what_is_meant_for_all_answers_without_a_key(http: httpx2.Client) -> None:
    for endpoint in TOLD:
        if endpoint.scope is None:
            assert endpoint.path in PUBLIC
        else:
            answer = ask(http, endpoint, None)
            assert (answer.status_code, "invalid_api_key" in answer.text) == (401, True), endpoint.path


@pytest.mark.wide
def test_a_bound_key_is_refused_where_all_customers_are_told_of(stack: Stack, http: httpx2.Client) -> None:
    for binding in ({"customer": "acme"}, {"feature": "search"}):
        secret = stack.key(scopes=(ADMIN,), **binding)
        for endpoint in GUARDED:
            answer = ask(http, endpoint, secret)
            refused = answer.status_code == 403 and "bound_key" in answer.text
            assert refused is (endpoint.bound == "refused"), (endpoint.path, binding, answer.text[:300])


def test_every_body_has_an_example_that_it_takes() -> None:
    for endpoint in TOLD:
        if endpoint.body is not None:
            read_body(endpoint.body, body_of(endpoint.body) or b"")
