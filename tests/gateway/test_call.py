"""One request's way, tried from outside: ends of every kind leave one event and nothing held."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.client import HTTPResponse
from time import sleep
from typing import Any

import httpx2
import orjson
import pytest

from gateway import request
from gateway.dialects import SURFACES
from gateway.settings import TimeoutSettings
from metering.money import nano_to_usd
from metering.usage.reading import NOTHING, Reading
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack, wait_until

MODEL = "gpt-4o-mini"
DOLLAR = 10**9


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    return stack.key(limits={"month": 100 * DOLLAR})


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.base_url, timeout=60) as client:
        yield client


def body(directive: str = "", **fields: Any) -> dict[str, Any]:
    text = f"Hello there. [[simulate: {directive}]]" if directive else "Hello there."
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


def post(http: httpx2.Client, secret: str, document: Any, **headers: str) -> httpx2.Response:
    return http.post(
        "/chat/completions", json=document, headers={"Authorization": f"Bearer {secret}", **headers}
    )


def nothing_is_held(stack: Stack, secret: str) -> None:
    wait_until(lambda: stack.open_requests() == 0)
    assert all(row.get("reserved", 0) == 0 for row in stack.counters(secret).values())


def test_what_was_spent_is_what_the_events_say(
    http: httpx2.Client, stack: Stack, simulator: Simulator
) -> None:
    secret = stack.key(limits={"day": DOLLAR, "month": DOLLAR, "lifetime": DOLLAR})
    ids = [post(http, secret, body("tokens=30")).headers["x-request-id"] for _ in range(5)]
    costs = [stack.event(request_id).cost_nano for request_id in ids]
    billed = [simulator.bill(request_id)["requests"][0]["nano"] for request_id in ids]
    assert costs == billed
    counters = stack.counters(secret)
    assert len(counters) == 3
    assert {row["spent"] for row in counters.values()} == {sum(billed)}
    nothing_is_held(stack, secret)


def test_the_remaining_budget_is_told(http: httpx2.Client, stack: Stack) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    answer = post(http, secret, body("tokens=5", max_tokens=10))
    assert answer.headers["observe-budget-remaining-usd"].startswith("0.99")


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_fails_is_a_502_that_cost_nothing(
    http: httpx2.Client, stack: Stack, secret: str, stream: bool
) -> None:
    answer = post(http, secret, body("status=500", stream=stream))
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_error"
    assert answer.headers["x-should-retry"] == "false"
    event = stack.event(answer.headers["x-request-id"])
    assert (event.status, event.cost_nano, event.cost_status) == ("failed", 0, "free")
    assert [attempt.http_status for attempt in event.attempts] == [500, 500]
    nothing_is_held(stack, secret)


def test_a_refusal_that_the_caller_can_mend_passes_in_the_providers_words(
    http: httpx2.Client, stack: Stack, secret: str
) -> None:
    answer = post(http, secret, body("status=400"))
    assert answer.status_code == 400
    assert answer.headers["x-should-retry"] == "false"
    assert stack.event(answer.headers["x-request-id"]).error_code == "upstream_400"


def test_a_provider_that_asks_for_patience_is_heard(http: httpx2.Client, stack: Stack, secret: str) -> None:
    answer = post(http, secret, body("status=429 retry_after=7"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_our_own_refused_credential_is_not_the_callers_fault(
    http: httpx2.Client, stack: Stack, secret: str
) -> None:
    assert post(http, secret, body("status=401")).status_code == 502


@pytest.fixture
def impatient(simulator: Simulator) -> Iterator[Stack]:
    brief = TimeoutSettings(connect_s=20, first_byte_s=1, idle_s=20, total_s=60)
    with running_stack(simulated_settings(simulator, timeouts=brief)) as started:
        yield started


def test_a_silent_provider_is_a_504_whose_cost_is_doubted(impatient: Stack) -> None:
    stack, secret = impatient, impatient.key(limits={"month": DOLLAR})
    with httpx2.Client(base_url=stack.base_url, timeout=60) as http:
        answer = post(http, secret, body("hang=before_headers", max_tokens=100))
    assert answer.status_code == 504
    event = stack.event(answer.headers["x-request-id"])
    assert (event.cost_status, event.usage_source) == ("estimated", "estimated")
    assert event.cost_nano is not None
    assert event.cost_upper_nano is not None
    assert 0 < event.cost_nano < event.cost_upper_nano == event.held_nano
    (row,) = stack.counters(secret).values()
    assert row["spent"] + row["doubted"] == event.held_nano
    nothing_is_held(stack, secret)


def test_a_cut_stream_ends_with_an_error_event_and_its_bill_is_covered(
    http: httpx2.Client, stack: Stack, simulator: Simulator
) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    answer = post(http, secret, body("tokens=40 close_after_chunks=20", stream=True, max_tokens=100))
    assert answer.status_code == 200
    events = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
    assert "[DONE]" not in events
    assert orjson.loads(events[-1])["error"]["code"] == "upstream_error"
    event = stack.event(answer.headers["x-request-id"])
    assert (event.status, event.cost_status) == ("cut", "estimated")
    billed = simulator.bill(event.id)["requests"][0]["nano"]
    (row,) = stack.counters(secret).values()
    assert row["spent"] <= billed <= row["spent"] + row["doubted"]
    assert event.cost_nano == pytest.approx(billed, rel=0.5)


def test_a_stream_without_done_is_told_apart_from_a_whole_one(
    http: httpx2.Client, stack: Stack, secret: str
) -> None:
    answer = post(http, secret, body("tokens=5 no_done", stream=True))
    assert "error" in answer.text
    assert stack.event(answer.headers["x-request-id"]).status == "cut"


def test_an_error_inside_a_stream_passes_and_is_a_failure(
    http: httpx2.Client, stack: Stack, secret: str
) -> None:
    answer = post(http, secret, body("tokens=8 error_in_stream=3", stream=True))
    assert answer.text.count('"error"') == 1
    event = stack.event(answer.headers["x-request-id"])
    assert (event.status, event.outcome, event.error_code) == ("cut", "failure", "error_in_stream")


@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_never_came_is_counted_and_said_to_be_estimated(
    http: httpx2.Client, stack: Stack, secret: str, simulator: Simulator, stream: bool
) -> None:
    answer = post(http, secret, body("tokens=30 no_usage", stream=stream))
    event = stack.event(answer.headers["x-request-id"])
    assert (event.usage_source, event.cost_status, event.status) == ("estimated", "estimated", "succeeded")
    assert event.cost_nano is not None
    assert event.cost_nano > 0


def test_a_client_that_hangs_up_stops_the_provider(stack: Stack, simulator: Simulator) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    port = int(stack.base_url.rsplit(":", 1)[1].split("/")[0])
    document = orjson.dumps(body("tokens=2000 pace_ms=5", stream=True, max_tokens=3000))
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (secret.encode(), len(document), document)
        )
        received = b""
        while received.count(b"data:") < 5:
            received += raw.recv(65_536)
    request_id = received.split(b"x-request-id: ")[1].split(b"\r\n")[0].decode()
    event = stack.event(request_id)
    assert (event.status, event.outcome) == ("cancelled", "unknown")
    wait_until(lambda: simulator.open()["streams"] == 0)
    billed = simulator.bill(request_id)["requests"][0]["nano"]
    (row,) = stack.counters(secret).values()
    assert billed <= row["spent"] + row["doubted"]
    nothing_is_held(stack, secret)


def test_a_client_that_reads_late_holds_the_provider_back_and_misses_nothing(
    stack: Stack, simulator: Simulator
) -> None:
    secret = stack.key(limits={"month": 100 * DOLLAR})
    tokens = 120_000  # some 25 MB: more than the kernel keeps between the three
    asked = body(f"tokens={tokens} pace_ms=0", stream=True, max_completion_tokens=tokens) | {"model": "gpt-5"}
    document = orjson.dumps(asked)
    port = int(stack.base_url.rsplit(":", 1)[1].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (secret.encode(), len(document), document)
        )
        answer = HTTPResponse(raw)
        answer.begin()
        sleep(1.5)
        assert simulator.open()["streams"] == 1, "nobody has read it: what is held of it is bounded"
        stream = answer.read()
    request_id = answer.headers["x-request-id"]
    assert stream.endswith(b"data: [DONE]\n\n")
    event = stack.event(request_id)
    assert (event.status, event.cost_status) == ("succeeded", "priced")
    assert event.usage is not None
    said = event.usage["output_tokens"] - event.usage["reasoning_output_tokens"]
    assert stream.count(b'"delta":{"content":') == said > tokens - 1_000
    assert event.cost_nano == simulator.bill(request_id)["requests"][0]["nano"]
    nothing_is_held(stack, secret)


def test_without_a_budget_of_plenty_the_assumed_maximum_is_written_and_said(
    http: httpx2.Client, stack: Stack
) -> None:
    secret = stack.key(limits={"month": DOLLAR // 100})
    answer = post(http, secret, body("tokens=10000"))
    assert answer.headers["observe-max-tokens"] == "4096"
    event = stack.event(answer.headers["x-request-id"])
    assert event.truncated_by == "gateway"
    assert event.usage is not None
    assert event.usage["output_tokens"] == 4096


def test_with_ample_budget_nothing_is_written(http: httpx2.Client, stack: Stack, secret: str) -> None:
    answer = post(http, secret, body("tokens=5"))
    assert "observe-max-tokens" not in answer.headers


def test_what_is_left_is_used_down_to_a_useful_answer(http: httpx2.Client, stack: Stack) -> None:
    secret = stack.key(limits={"month": 600_000})
    answer = post(http, secret, body("tokens=10000"))
    assert answer.status_code == 200
    assert 256 <= int(answer.headers["observe-max-tokens"]) < 4096
    (row,) = stack.counters(secret).values()
    assert row["spent"] <= 600_000
    assert post(http, secret, body("tokens=10000")).status_code == 402


def test_an_exact_count_is_tried_where_the_free_bound_does_not_fit(http: httpx2.Client, stack: Stack) -> None:
    long = "counting words " * 2_000
    secret = stack.key(limits={"month": 1_500_000})
    document = {"model": MODEL, "messages": [{"role": "user", "content": long}], "max_tokens": 10}
    assert post(http, secret, document).status_code == 200


def test_an_unpriced_model_runs_without_a_budget_and_its_cost_is_unknown(
    http: httpx2.Client, stack: Stack
) -> None:
    secret = stack.key()
    document = {**body("served=gpt-4o-mini"), "model": "simulated/house-model"}
    answer = post(http, secret, document)
    event = stack.event(answer.headers["x-request-id"])
    if answer.status_code == 200:
        assert event.cost_status in ("priced", "unpriced")
    hard = stack.key(limits={"month": DOLLAR})
    refused = post(http, hard, document)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_not_priced")


def test_a_request_without_bound_is_refused_on_a_hard_budget_only(
    http: httpx2.Client, stack: Stack, secret: str
) -> None:
    document = body(web_search_options={})
    refused = post(http, secret, document)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unbounded_request")
    assert post(http, stack.key(), document).status_code == 200


def test_a_connection_that_went_stale_is_replaced_once(
    http: httpx2.Client, stack: Stack, secret: str, simulator: Simulator
) -> None:
    assert post(http, secret, body("tokens=3 stale_next")).status_code == 200
    answer = post(http, secret, body("tokens=3"))
    assert answer.status_code == 200
    event = stack.event(answer.headers["x-request-id"])
    assert [attempt.kind for attempt in event.attempts] == ["primary", "reconnect"]
    assert event.attempts[0].status == "unknown"
    nothing_is_held(stack, secret)


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_type"),
        (b'{"model": "gpt-4o-mini", "messages": "x"}', 400, "invalid_type"),
        (b'{"model": "gpt-4o-mini", "messages": [], "n": 1}', 400, "empty_array"),
        (b'{"model": "nope", "messages": [{"role": "user", "content": "x"}]}', 404, "model_not_found"),
        (b'{"x": "' + b"a" * 40_000_000 + b'"}', 413, "request_too_large"),
    ],
    ids=["broken", "array", "wrong-type", "empty", "unknown-model", "40-MB"],
)
def test_bad_input_is_told_clearly_and_leaves_nothing(
    http: httpx2.Client, stack: Stack, document: bytes, status: int, code: str
) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    before = len(stack.events())
    answer = http.post(
        "/chat/completions",
        content=document,
        headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
    )
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]
    assert answer.headers["x-should-retry"] == "false"
    assert len(stack.events()) == before
    assert stack.open_requests() == 0


def test_a_request_without_a_key_is_refused_before_its_body_is_read(stack: Stack) -> None:
    port = int(stack.base_url.rsplit(":", 1)[1].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        assert raw.recv(65_536).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "header", [b"Observe-Customer: a\x00b", b"Observe-Customer: a\rb", b"Observe-Customer: a\x7fb"]
)
def test_control_characters_in_headers_are_refused(stack: Stack, secret: str, header: bytes) -> None:
    port = int(stack.base_url.rsplit(":", 1)[1].split("/")[0])
    document = orjson.dumps(body())
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (secret.encode(), header, len(document), document)
        )
        answer = b""
        while part := raw.recv(65_536):
            answer += part
            if answer.endswith(b"}"):
                break
    head, _, error = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert orjson.loads(error)["error"]["type"] == "invalid_request_error"


def test_a_revoked_key_is_refused_at_once(http: httpx2.Client, stack: Stack) -> None:
    secret = stack.key()
    assert post(http, secret, body("tokens=3")).status_code == 200
    stack.revoke(secret)
    before = len(stack.events())
    answer = post(http, secret, body("tokens=3"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert len(stack.events()) == before


def test_a_limit_set_on_a_running_key_holds_for_its_next_request(http: httpx2.Client, stack: Stack) -> None:
    secret = stack.key()
    assert post(http, secret, body("tokens=3")).status_code == 200
    stack.set_limit(secret, "day", 10)
    assert post(http, secret, body("tokens=3")).status_code == 402
    stack.set_limit(secret, "day", DOLLAR)
    assert post(http, secret, body("tokens=3")).status_code == 200


def test_other_paths_and_methods_are_told_in_the_callers_dialect(http: httpx2.Client) -> None:
    for method, path, status in (
        ("GET", "/chat/completions", 405),
        ("POST", "/nothing", 404),
        ("GET", "/", 404),
        ("DELETE", "/models", 405),
    ):
        answer = http.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_health_is_told(http: httpx2.Client, stack: Stack) -> None:
    root = stack.base_url.removesuffix("/v1")
    assert http.get(f"{root}/health/live").json() == {"status": "live"}
    assert http.get(f"{root}/health/ready").json() == {"status": "ready"}


def test_json_that_does_not_parse_is_a_failure_of_the_answer(
    http: httpx2.Client, stack: Stack, secret: str
) -> None:
    document = body("tokens=5")
    document["response_format"] = {"type": "json_object"}
    document["max_tokens"] = 2
    answer = post(http, secret, document)
    event = stack.event(answer.headers["x-request-id"])
    assert (event.status, event.outcome, event.outcome_reason) == ("succeeded", "failure", "invalid_json")


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_tells_its_cost_in_a_last_comment_to_who_asks(
    http: httpx2.Client, stack: Stack, secret: str, asked: bool
) -> None:
    answer = post(http, secret, body("tokens=5", stream=True), **{"Observe-Include-Cost": str(asked).lower()})
    event = stack.event(answer.headers["x-request-id"])
    last = answer.text.rstrip().rsplit("\n", 1)[-1]
    assert last == (f": observe-cost-usd {nano_to_usd(event.cost_nano or 0)}" if asked else "data: [DONE]")


def test_a_service_tier_without_a_price_is_charged_by_default_and_its_upper_figure_stays_in_doubt(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The answer names a tier that the price list of the model does not know.
    chat = SURFACES["chat.completions"]

    def of_another_tier(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
        return chat.read(document, before)._replace(service_tier="express")

    another = SURFACES | {chat.name: replace(chat, read=of_another_tier)}
    monkeypatch.setattr(request, "SURFACES", another)
    with running_stack(simulated_settings(simulator)) as other:
        secret = other.key(limits={"month": DOLLAR})
        with httpx2.Client(base_url=other.base_url, timeout=60) as client:
            answer = post(client, secret, body("tokens=20", max_tokens=50))
        event = other.event(answer.headers["x-request-id"])
        assert event.cost_status == "priced"
        assert event.cost_nano is not None
        assert event.cost_upper_nano is not None
        assert event.cost_nano < event.cost_upper_nano <= event.held_nano
        assert event.doubted_nano == event.cost_upper_nano - event.cost_nano
        (row,) = other.counters(secret).values()
        assert (row["spent"], row["doubted"]) == (event.cost_nano, event.doubted_nano)
