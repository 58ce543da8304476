"""Names with slashes and other odd characters are asked for like any other, and errors are told in the shape
of their path, whichever process answers it."""

from __future__ import annotations

import re
from urllib.parse import quote

import httpx2
import pytest

from accounts.scope import ADMIN
from gateway.api.pathnames import HELD, apart, plain, route_path
from gateway.api.table import ENDPOINTS
from tests.gateway.api.asking import Asker
from tests.stack import Stack

pytestmark = pytest.mark.wide


@pytest.fixture
def admin(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=(ADMIN,), assertion="any"))


def test_a_written_slash_divides_and_an_encoded_one_does_not() -> None:
    def path(raw: str) -> str:
        return str(apart({"raw_path": raw.encode(), "path": "decoded"})["path"])

    assert path("/api/customers/a") == "decoded"
    held = path("/api/customers/a%2Fb%2fc%252Fd%20e/workspaces")
    assert held == f"/api/customers/a{HELD}b{HELD}c%2Fd e/workspaces"
    assert plain(held) == "/api/customers/a%2Fb%2Fc%2Fd e/workspaces"
    assert route_path("/api/tasks/{task}/outcome") == "/api/tasks/{task:tollkeeper_name}/outcome"


@pytest.mark.parametrize("name", ["team/one", "50%2F50", "a?b#c", "//"])
def test_a_customer_is_found_whatever_its_name_is(admin: Asker, name: str) -> None:
    where = f"/api/customers/{quote(name, safe='')}"
    admin.post("/api/customers", {"customer_id": name}, status=201)
    assert admin.get(where)["customer_id"] == name
    admin.post(f"{where}/workspaces", {"workspace": "eu/west"}, status=201)
    assert admin.get(f"{where}/workspaces/eu%2Fwest")["workspace"] == "eu/west"
    assert admin.patch(where, {"name": "Team"})["name"] == "Team"
    shown = admin.get(f"/api/v1/client/entitlements/{quote(name, safe='')}/search%2Fdeep")
    assert shown["data"]["customerReferenceId"] == name
    assert shown["data"]["featureKey"] == "search/deep"


def test_a_task_and_a_trace_are_found_whatever_their_names_are(admin: Asker) -> None:
    event = {"eventName": "x", "customerReferenceId": "c/1", "featureKey": "f/1", "costAmount": 1}
    event |= {"taskId": "run/7", "traceId": "flow/7"}
    assert admin.post("/api/events/ingest", {"events": [event]})["accepted"] == 1
    assert admin.post("/api/tasks/run%2F7/outcome", {"outcome": "failure"})["pending"] is False
    assert admin.get("/api/tasks/run%2F7")["outcome"] == "failure"
    assert len(admin.get("/api/events/trace/flow%2F7")["spans"]) == 1
    assert admin.get("/api/analytics/features/f%2F1")["requests"] == 1
    assert admin.get("/api/analytics/customer-pnl/c%2F1")["total"]["requests"] == 1
    assert admin.get("/api/tasks/run/7", status=404)["code"] == "unknown_url"


def test_what_is_not_there_is_told_as_it_was_asked_for(admin: Asker) -> None:
    told = admin.get("/api/nothing/a%2Fb", status=404)
    assert told["error"] == "Unknown request URL: GET /api/nothing/a%2Fb."
    told = admin.ask("PUT", "/api/customers/a%2Fb", status=405)
    assert told["error"] == "/api/customers/a%2Fb does not answer to PUT."
    told = admin.ask("PUT", "/api/v1/client/entitlements/a%2Fb", status=405)
    assert told["error"]["message"] == "/api/v1/client/entitlements/a%2Fb does not answer to PUT."
    assert admin.get("/api/customers/a%00b", status=404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/plan", 400, "missing_required_header"),
        ("DELETE", "/api/plan", 405, "method_not_allowed"),
        ("POST", "/api/v1/client/entitlements", 400, "invalid_request"),
        ("POST", "/api/v1/client/entitlements/check", 400, "invalid_request"),
        ("GET", "/api/v1/client/entitlements/a?page=1", 400, "unknown_field"),
        ("PATCH", "/api/v1/client/entitlements/a/b", 405, "method_not_allowed"),
    ],
)
def test_errors_of_workers_have_the_shape_of_their_path(
    admin: Asker, method: str, path: str, status: int, code: str
) -> None:
    told = admin.ask(method, path, status=status, json={} if method == "POST" else None)
    if path.startswith("/api/v1/"):
        assert (told["success"], told["error"]["code"]) == (False, code)
        assert set(told["error"]) == {"code", "message", "detail"}
    else:
        assert (told["code"], type(told["error"])) == (code, str)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/plan", "GET, HEAD, OPTIONS"),
        ("/api/v1/client/entitlements", "OPTIONS, POST"),
        ("/api/v1/client/entitlements/a/b", "GET, HEAD, OPTIONS"),
    ],
)
def test_workers_say_which_methods_there_are(http: httpx2.Client, path: str, allowed: str) -> None:
    options, wrong = http.options(path), http.request("PUT", path)
    assert (options.status_code, options.content, options.headers["allow"]) == (204, b"", allowed)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, allowed)


def test_every_path_is_routed_as_it_is_described(http: httpx2.Client) -> None:
    """Names with slashes at every place: the answer is the endpoint's, which asks for a key."""
    for each in ENDPOINTS:
        if each.scope is not None:
            path = re.sub(r"\{\w+\}", "a%2Fb", each.path)
            answer = http.request(each.method, path)
            assert answer.status_code == 401, (each.method, path, answer.text)
