"""What holds for every endpoint of the api process, over a worker's relay and a real unix socket."""

from __future__ import annotations

import httpx2
import pytest

from tests.stack import Stack

DOCUMENT = "/api/openapi.json"


def test_the_document_is_served_without_a_key(http: httpx2.Client) -> None:
    answer = http.get(DOCUMENT)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert answer.json()["openapi"] == "3.1.0"
    assert DOCUMENT in answer.json()["paths"]


def test_head_and_options_and_other_methods(http: httpx2.Client) -> None:
    head = http.head(DOCUMENT)
    assert (head.status_code, head.content) == (200, b"")
    options = http.options(DOCUMENT)
    assert options.status_code == 204
    assert options.headers["allow"] == "GET, HEAD, OPTIONS"
    wrong = http.delete(DOCUMENT)
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "GET, HEAD, OPTIONS"
    assert wrong.json()["code"] == "method_not_allowed"
    assert all(each.headers["x-request-id"] for each in (head, options, wrong))


@pytest.mark.parametrize("path", ["/api/nothing", "/api/v1/nothing"])
def test_what_is_not_there_is_told_in_the_shape_of_its_path(http: httpx2.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    document = answer.json()
    if path.startswith("/api/v1/"):
        assert document["success"] is False
        assert document["error"]["code"] == "unknown_url"
    else:
        assert document["code"] == "unknown_url"


def test_an_unknown_query_field_is_named(http: httpx2.Client) -> None:
    answer = http.get(DOCUMENT, params={"pretty": "1"})
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["param"]) == ("unknown_field", "pretty")


def test_paths_of_workers_stay_with_them(stack: Stack, http: httpx2.Client) -> None:
    secret = stack.key(scopes=("billing.read",), default_customer="acme")
    answer = http.get("/api/plan", headers={"authorization": f"Bearer {secret}"})
    assert answer.status_code == 200
    assert answer.json()["customer"] == "acme"
