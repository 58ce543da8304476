"""Each row of the error table, as Anthropic's client meets it: its own class, and how often it asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import pytest

from accounts.key import mint
from accounts.policy import Policy
from accounts.terms import NewLimit
from gateway.settings import ServerSettings, Settings, TimeoutSettings
from simulator.process import Simulator
from tests.gateway.anthropic.conftest import DOLLAR, HAIKU, Client, said, settings
from tests.stack import Stack, running_stack, wait_until

BODY_BYTES_MAX = 65_536


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    timeouts = TimeoutSettings(connect_s=20, first_byte_s=2, idle_s=30, total_s=120)
    found = settings(simulator.root, timeouts=timeouts, retries={"attempts": 0})
    small = Settings(providers=found.providers, server=ServerSettings(body_bytes_max=BODY_BYTES_MAX))
    with running_stack(small) as started:
        yield started


@dataclass(frozen=True)
class Row:
    """One case: what is asked, and what the client must make of it. `tries` with two repetitions allowed."""

    name: str
    error: type[anthropic.APIStatusError]
    status: int
    kind: str
    code: str | None
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    tries: int = 1
    key: str = "well"


def wish(directive: str) -> dict[str, Any]:
    return {"messages": said("Hello", directive)}


ROWS = (
    Row("unknown key", anthropic.AuthenticationError, 401, "authentication_error", "invalid_api_key",
        key="unknown"),
    Row("no key of ours", anthropic.AuthenticationError, 401, "authentication_error", "invalid_api_key",
        key="foreign"),
    Row("two keys", anthropic.AuthenticationError, 401, "authentication_error", "conflicting_credentials",
        headers={"Observe-Key": "obs_another"}),
    Row("budget spent", anthropic.PaymentRequiredError, 402, "billing_error", "budget_exceeded", key="spent"),
    Row("no scope", anthropic.PermissionDeniedError, 403, "permission_error", "insufficient_scope",
        key="reader"),
    Row("another's customer", anthropic.PermissionDeniedError, 403, "permission_error",
        "customer_not_allowed", headers={"Observe-Customer": "bolt"}, key="bound"),
    Row("unknown model", anthropic.NotFoundError, 404, "not_found_error", "model_not_found",
        body={"model": "claude-nonesuch"}),
    Row("wrong type", anthropic.BadRequestError, 400, "invalid_request_error", "invalid_type",
        body={"system": 3}),
    Row("headers that disagree", anthropic.BadRequestError, 400, "invalid_request_error",
        "attribution_conflict", headers={"Observe-Customer": "acme", "X-Customer-Id": "bolt"}),
    Row("no bound", anthropic.BadRequestError, 400, "invalid_request_error", "unbounded_request",
        body={"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    Row("no price", anthropic.BadRequestError, 400, "invalid_request_error", "model_not_priced",
        body={"model": "anthropic/claude-nonesuch"}),
    Row("too large", anthropic.ContentTooLargeError, 413, "request_too_large", "request_too_large",
        body={"system": "x" * BODY_BYTES_MAX}),
    Row("rate", anthropic.RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded", key="slow"),
    Row("the provider refuses the request", anthropic.BadRequestError, 400, "invalid_request_error", None,
        body=wish("status=400")),
    Row("the provider finds it too large", anthropic.ContentTooLargeError, 413, "request_too_large", None,
        body=wish("status=413")),
    Row("the provider's limit of requests", anthropic.RateLimitError, 429, "rate_limit_error", None,
        body=wish("status=429 retry_after=0"), tries=3),
    Row("the provider refuses our key", anthropic.InternalServerError, 502, "api_error", "upstream_error",
        body=wish("status=401")),
    Row("our account at the provider is empty", anthropic.InternalServerError, 502, "api_error",
        "upstream_error", body=wish("status=402")),
    Row("the provider fails", anthropic.InternalServerError, 502, "api_error", "upstream_error",
        body=wish("status=500")),
    Row("the provider is overloaded", anthropic.InternalServerError, 502, "api_error", "upstream_error",
        body=wish("status=529")),
    Row("the provider is overloaded before a stream", anthropic.InternalServerError, 502, "api_error",
        "upstream_error", body={**wish("status=529"), "stream": True}),
    Row("the provider breaks off", anthropic.InternalServerError, 502, "api_error", "upstream_error",
        body=wish("reset_after_bytes=0")),
    Row("the provider is silent", anthropic.GatewayTimeoutError, 504, "timeout_error", "upstream_timeout",
        body=wish("hang=before_headers")),
)  # fmt: skip


@pytest.fixture(scope="module")
def keys(stack: Stack) -> dict[str, str]:
    slow, _ = stack.keyring.create(
        "slow", limits=[NewLimit("minute", 1, kind="requests_per_minute")], assertion="any"
    )
    found = {
        "well": stack.key(limits={"month": 100 * DOLLAR}),
        "unknown": mint()[0],
        "foreign": "sk-ant-not-ours",
        "spent": stack.key(limits={"month": 1}),
        "reader": stack.key(scopes=("usage.read",)),
        "bound": stack.key(assertion="none", customer="acme"),
        "slow": slow,
    }
    while ask(stack, slow).status_code == 200:
        pass
    return found


def ask(stack: Stack, secret: str) -> httpx2.Response:
    body = {"model": HAIKU, "max_tokens": 5, "messages": said("Hello")}
    return httpx2.post(f"{stack.base_url}/messages", json=body, headers={"x-api-key": secret}, timeout=60)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_client_raises_its_own_class(row: Row, keys: dict[str, str], client: Client) -> None:
    tries = []
    watching = httpx2.Client(event_hooks={"response": [lambda answer: tries.append(answer.status_code)]})
    retries = 0 if row.code == "rate_limit_exceeded" else 2
    claude = client(keys[row.key], max_retries=retries, http_client=watching)
    asked: dict[str, Any] = {"model": HAIKU, "max_tokens": 50, "messages": said("Hello"), **row.body}
    with pytest.raises(anthropic.APIStatusError) as told:
        claude.messages.create(**asked, extra_headers=row.headers)
    error = told.value
    assert type(error) is row.error
    assert (error.status_code, error.type) == (row.status, row.kind)
    assert error.error_code == row.code
    assert error.request_id == error.response.headers["x-request-id"]
    assert tries == [row.status] * row.tries
    if row.status == 429:
        assert float(error.response.headers["retry-after"]) >= 0


def test_a_customer_without_a_plan_and_a_gateway_that_shuts_down(simulator: Simulator) -> None:
    with running_stack(settings(simulator.root)) as stack:
        stack.plans.set_policy(Policy(unknown="deny"))
        tries: list[int] = []
        watching = httpx2.Client(event_hooks={"response": [lambda answer: tries.append(answer.status_code)]})
        root = stack.base_url.removesuffix("/v1")
        asked: dict[str, Any] = {"model": HAIKU, "max_tokens": 5, "messages": said("Hello")}
        claude = anthropic.Anthropic(base_url=root, api_key=stack.key(), max_retries=2, http_client=watching)
        with pytest.raises(anthropic.PermissionDeniedError) as told:
            claude.messages.create(**asked, extra_headers={"Observe-Customer": "unknown"})
        assert told.value.error_code == "entitlement_denied"
        stack.loop.call_soon_threadsafe(stack.gateway.drain)
        wait_until(lambda: stack.gateway.parts.draining)
        with claude, pytest.raises(anthropic.ServiceUnavailableError) as away:
            claude.messages.create(**asked)
        assert (away.value.type, away.value.error_code) == ("overloaded_error", "draining")
        assert away.value.response.headers["x-should-retry"] == "true"
        assert away.value.response.headers["retry-after"] == "1"
        assert away.value.request_id == away.value.response.headers["x-request-id"]
        assert tries == [403, 503, 503, 503]


def test_what_is_held_by_a_stream_that_runs_is_asked_for_again(stack: Stack, client: Client) -> None:
    secret = stack.key(limits={"month": 20_000_000})
    asked: dict[str, Any] = {"model": HAIKU, "max_tokens": 3_000, "messages": said("Hello", "pace_ms=500")}
    running = client(secret).messages.create(**asked, stream=True)
    with running:
        next(iter(running))
        with pytest.raises(anthropic.RateLimitError) as told:
            client(secret).messages.create(**asked)
    assert told.value.error_code == "budget_reserved"
    assert told.value.response.headers["x-should-retry"] == "true"
    assert int(told.value.response.headers["retry-after"]) >= 1


def test_a_path_that_is_not_there_and_a_wrong_method_are_told_in_the_dialect(stack: Stack) -> None:
    root = stack.base_url.removesuffix("/v1")
    headers = {"x-api-key": stack.key(), "anthropic-version": "2023-06-01"}
    for method, path, status, kind in (
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("GET", "/v1/models/claude-nonesuch", 404, "not_found_error"),
    ):
        answer = httpx2.request(method, root + path, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["type"]) == (status, "error")
        assert answer.json()["error"]["type"] == kind
        assert answer.json()["request_id"] == answer.headers["request-id"]
    plain = httpx2.get(f"{root}/v1/models/claude-nonesuch", headers={"x-api-key": stack.key()}, timeout=60)
    assert plain.json()["error"]["code"] == "model_not_found"
    assert "type" not in plain.json()
