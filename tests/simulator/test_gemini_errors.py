"""What Google refuses, and how its own client takes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types

from simulator.process import Simulator
from tests.simulator.gemini import WEATHER, ask, at_google


@pytest.fixture(scope="module")
def official(running_simulator: Simulator) -> Iterator[genai.Client]:
    client = at_google(running_simulator)
    yield client
    client.close()


@pytest.fixture
def gemini(simulator: Simulator, official: genai.Client) -> genai.Client:
    return official


STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


@pytest.mark.parametrize("code", STATUSES)
def test_every_error_is_its_own_status_and_free(
    gemini: genai.Client, simulator: Simulator, code: int
) -> None:
    with pytest.raises(errors.ClientError if code < 500 else errors.ServerError) as caught:
        ask(gemini, f"[[simulate: status={code}]]")
    assert (caught.value.code, caught.value.status) == (code, STATUSES[code])
    assert caught.value.message
    assert simulator.total_nano() == 0


def test_a_limit_says_when_to_come_back(gemini: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(gemini, "[[simulate: status=429 retry_after=7]]")
    details = caught.value.details["error"]["details"]
    (wait,) = [each for each in details if each["@type"].endswith("google.rpc.RetryInfo")]
    assert wait["retryDelay"] == "7s"
    assert any(each["@type"].endswith("google.rpc.QuotaFailure") for each in details)


def test_an_error_in_the_middle_of_a_stream_is_raised(gemini: genai.Client, simulator: Simulator) -> None:
    pieces = gemini.models.generate_content_stream(
        model="gemini-2.5-flash", contents="[[simulate: error_in_stream=2 reasoning=0]]"
    )
    with pytest.raises(errors.ServerError) as caught:
        list(pieces)
    assert caught.value.status == "UNAVAILABLE"
    # Two documents of four tokens each
    assert simulator.bill()["requests"][0]["completion_tokens"] == 8


@pytest.mark.parametrize(
    ("contents", "more", "message"),
    [
        ("Hi", {"max_output_tokens": 70_000}, "maxOutputTokens value of 70000"),
        ("Hi", {"thinking_config": {"thinking_level": "LOW"}}, "Thinking level is not supported"),
        ("Hi", {"model": "gemini-2.5-pro", "thinking_config": {"thinking_budget": 0}}, "Budget 0 is invalid"),
        ("Hi", {"thinking_config": {"thinking_budget": 40_000}}, "The thinking budget 40000 is invalid"),
        ("Hi", {"response_schema": {"type": "OBJECT"}}, "Response schema is not supported"),
        ("Hi", {"cached_content": "cachedContents/x"}, "CachedContent not found"),
        (
            "Hi",
            {
                "tools": [WEATHER],
                "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["x"]}},
            },
            "allowed_function_names",
        ),
        (
            types.Content(
                role="user", parts=[types.Part.from_function_response(name="get_weather", response={})]
            ),
            {},
            "number of function response parts is equal",
        ),
        (types.Part.from_bytes(data=b"x", mime_type="audio/wav"), {}, "Unsupported MIME type: audio/wav"),
    ],
)
def test_what_google_refuses_is_refused(
    gemini: genai.Client, simulator: Simulator, contents: Any, more: Any, message: str
) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(gemini, contents, **more)
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert message in caught.value.message
    assert simulator.total_nano() == 0


def test_an_unknown_model_and_one_for_something_else_are_not_found(gemini: genai.Client) -> None:
    for model in ("gemini-9", "gemini-embedding-001"):
        with pytest.raises(errors.ClientError) as caught:
            ask(gemini, model=model)
        assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("version", "headers", "query", "code", "status"),
    [
        ("v1beta", {}, "", 403, "PERMISSION_DENIED"),
        ("v1beta", {"x-goog-api-key": "obs_leaked"}, "", 400, "INVALID_ARGUMENT"),
        ("v1beta", {}, "?key=AIza-x", 200, None),
        ("v1beta", {"authorization": "Bearer ya29.x"}, "", 200, None),
        ("v1beta1/projects/p/locations/l/publishers/google", {}, "?key=AIza-x", 401, "UNAUTHENTICATED"),
        ("v1/projects/p/locations/l/publishers/google", {"authorization": "Bearer ya29.x"}, "", 200, None),
    ],
)
def test_credentials_are_checked(
    simulator: Simulator, version: str, headers: dict[str, str], query: str, code: int, status: str | None
) -> None:
    address = f"{simulator.root}/{version}/models/gemini-2.5-flash:generateContent{query}"
    answer = httpx2.post(address, json={"contents": [{"parts": [{"text": "Hi"}]}]}, headers=headers)
    assert answer.status_code == code
    assert answer.json().get("error", {}).get("status") == status


@pytest.mark.parametrize("words", ["status=503", "statsu=503"])
def test_an_array_has_its_errors_in_an_array(http: httpx2.Client, simulator: Simulator, words: str) -> None:
    body = {"contents": [{"parts": [{"text": f"[[simulate: {words}]]"}]}]}
    path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
    (member,) = http.post(path, json=body).json()
    assert member == http.post(f"{path}?alt=sse", json=body).json()
    assert member["error"]["code"] == (503 if words == "status=503" else 400)


def test_a_key_in_the_query_is_not_shown(http: httpx2.Client, simulator: Simulator) -> None:
    http.post("/v1beta/models/gemini-2.5-flash:generateContent?alt=sse&key=AIza-secret", json={})
    (received,) = simulator.received()
    assert received["query"] == "alt=sse&key=****cret"


def test_an_unknown_field_and_a_missing_one_are_named(http: httpx2.Client) -> None:
    path = "/v1beta/models/gemini-2.5-flash:generateContent"
    unknown = http.post(path, json={"contents": [{"parts": [{"text": "Hi"}]}], "max_tokens": 1}).json()[
        "error"
    ]
    assert 'Unknown name "max_tokens"' in unknown["message"]
    assert unknown["details"][0]["fieldViolations"][0]["field"] == "max_tokens"
    missing = http.post(path, json={}).json()["error"]
    assert "contents is not specified" in missing["message"]
