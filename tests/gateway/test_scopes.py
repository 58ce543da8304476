"""Every endpoint with every scope, as the router itself tells them: none is open by mistake."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from accounts.scope import ADMIN, MODELS_READ, PROXY, SCOPES
from gateway.api.pathnames import route_path
from tests.stack import Stack

BODIES = {
    "/v1/chat/completions": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]},
    "/v1/completions": {"model": "gpt-3.5-turbo-instruct", "prompt": "hello"},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "hello"},
    "/v1/moderations": {"input": "hello"},
    "/api/v1/client/entitlements/check": {"customerReferenceId": "acme", "featureKey": "search"},
}
BODIES["/api/v1/client/entitlements"] = BODIES["/api/v1/client/entitlements/check"]
PARTS = {
    "{customer}": "acme",
    "{feature}": "search",
    "{model:path}": "gpt-4o-mini",
    "{model}": "gpt-4o-mini",
    "{project}": "ours",
    "{location}": "global",
    "{answer}": "resp_1",
}
FEW = {PROXY, ADMIN, MODELS_READ}
PUBLIC = {"/health/live", "/health/ready"}


@pytest.fixture(scope="module")
def keys(stack: Stack) -> dict[str, str]:
    """A secret for each scope, with nothing but that scope."""
    return {scope: stack.key(scopes=(scope,), default_customer="acme") for scope in SCOPES}


@contextmanager
def client(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.base_url.removesuffix("/v1"), timeout=60) as opened:
        yield opened


def address(path: str) -> str:
    for part, value in PARTS.items():
        path = path.replace(part, value)
    assert "{" not in path, f"give {path} an example above"
    return path


@pytest.mark.parametrize("others", [1, pytest.param(len(SCOPES), marks=pytest.mark.wide)])
def test_each_endpoint_serves_the_scope_it_names_and_no_other(
    stack: Stack, keys: dict[str, str], others: int
) -> None:
    """Each with its own scope, with the one for all, and with so many others, each of which has its turn."""
    walked, turns = 0, itertools.cycle(keys)
    with client(stack) as http:
        for endpoint in stack.gateway.endpoints:
            if endpoint.scope is None:
                continue
            assert endpoint.scope in SCOPES
            for scope in sorted({endpoint.scope, ADMIN, *itertools.islice(turns, others)}):
                secret = keys[scope]
                answer = http.request(
                    endpoint.method,
                    address(endpoint.path),
                    json=BODIES.get(endpoint.path, {}) if endpoint.method == "POST" else None,
                    headers={"authorization": f"Bearer {secret}"},
                )
                where = (endpoint, scope, answer.text)
                if scope in (endpoint.scope, ADMIN):
                    # Where the stack's provider does not speak a dialect, the request is refused for that.
                    served = answer.status_code < 400 or endpoint.path not in BODIES
                    assert served, where
                    assert answer.status_code not in (401, 403), where
                else:
                    assert answer.status_code == 403, where
                    assert "insufficient_scope" in answer.text, where
                    assert answer.headers["x-should-retry"] == "false"
                walked += 1
    assert walked >= len(SCOPES) * min(5, 1 + others)


def test_no_endpoint_with_a_scope_answers_without_a_key(stack: Stack) -> None:
    with client(stack) as http:
        for endpoint in stack.gateway.endpoints:
            answer = http.request(endpoint.method, address(endpoint.path), json={})
            if endpoint.scope is None:
                assert endpoint.path in PUBLIC
                assert answer.status_code == 200
            else:
                assert answer.status_code == 401, endpoint
                assert "invalid_api_key" in answer.text.lower()


def test_whatever_the_router_knows_is_in_the_table(stack: Stack) -> None:
    """A route that was added beside the table would escape the tests above."""
    named = {(endpoint.method, endpoint.path) for endpoint in stack.gateway.endpoints}
    table = named | {(method, route_path(path)) for method, path in named}
    for route in stack.gateway._rest.routes:
        for method in set(route.methods) - {"HEAD"}:  # type: ignore[attr-defined]
            assert (method, route.path) in table  # type: ignore[attr-defined]


def test_metrics_are_served_to_those_who_may_read_them(stack: Stack, keys: dict[str, str]) -> None:
    with client(stack) as http:
        answer = http.get("/metrics", headers={"authorization": f"Bearer {keys['metrics.read']}"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert "tollkeeper_requests_total" in answer.text
