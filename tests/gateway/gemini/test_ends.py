"""Streams of Google's that break off, refuse, or lose their client; arrays; and keys in the query."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest
from google.genai import errors

from gateway.settings import Settings
from metering.event import CostEvent
from simulator.process import Simulator
from tests.gateway.gemini.conftest import DOLLAR, FLASH, Client, providers, said
from tests.simulator.gemini import ask, stream
from tests.stack import Stack, running_stack, wait_until

pytestmark = pytest.mark.wide
STREAM = f"/v1beta/models/gemini/{FLASH}:streamGenerateContent"


@pytest.fixture(scope="module")
def cancelling(simulator: Simulator) -> Iterator[Stack]:
    """A gateway whose provider is said to stop billing when its connection is closed."""
    known = providers(simulator.root)
    known["gemini"]["cancel_stops_billing"] = True
    with running_stack(Settings.model_validate({"providers": known})) as started:
        yield started


def body(text: str, maximum: int | None = None) -> dict[str, Any]:
    config = {} if maximum is None else {"generationConfig": {"maxOutputTokens": maximum}}
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **config}


def post(stack: Stack, path: str, asked: Any, secret: str | None = None, **options: Any) -> httpx2.Response:
    headers = {**({} if secret is None else {"x-goog-api-key": secret}), **options.pop("headers", {})}
    root = stack.base_url.removesuffix("/v1")
    return httpx2.post(root + path, json=asked, headers=headers, timeout=60, **options)


def hang_up(stack: Stack, secret: str, directive: str, *, after: int) -> str:
    """Ask for a stream, read so many events, and leave; the request's id."""
    port = int(stack.base_url.rsplit(":", 1)[1].split("/")[0])
    document = orjson.dumps(body(said("Hello", directive), 3_000))
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(
            b"POST %s?alt=sse HTTP/1.1\r\nHost: x\r\nx-goog-api-key: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (STREAM.encode(), secret.encode(), len(document), document)
        )
        received = b""
        while received.count(b"data:") < after:
            received += raw.recv(65_536)
    return received.split(b"x-request-id: ")[1].split(b"\r\n")[0].decode()


def event_of(stack: Stack, secret: str) -> CostEvent:
    """The one event of a key; its client may be done before the gateway is."""
    own = stack.records[secret]
    (event,) = wait_until(lambda: [each for each in stack.events() if each.key_id == own])
    assert isinstance(event, CostEvent)
    return event


def billed(simulator: Simulator, request_id: str) -> int:
    (entry,) = simulator.bill(request_id)["requests"]
    return int(entry["nano"])


def test_a_client_that_leaves_is_billed_on_and_so_read_on(stack: Stack, simulator: Simulator) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    request_id = hang_up(stack, secret, "tokens=200 pace_ms=2 reasoning=7", after=3)
    event = stack.event(request_id)
    assert (event.status, event.usage_source, event.cost_status) == ("succeeded", "provider", "priced")
    assert event.cost_nano == billed(simulator, request_id)
    (row,) = stack.counters(secret).values()
    assert row == {"spent": event.cost_nano, "reserved": 0, "doubted": 0}


def test_where_closing_stops_the_bill_what_was_told_so_far_is_the_least(
    cancelling: Stack, simulator: Simulator
) -> None:
    secret = cancelling.key(limits={"month": DOLLAR})
    request_id = hang_up(cancelling, secret, "tokens=2000 pace_ms=20 reasoning=7", after=3)
    event = cancelling.event(request_id)
    assert (event.status, event.usage_source) == ("cancelled", "estimated")
    assert event.usage is not None
    assert 8 <= event.usage["output_tokens"] < 2_000
    (row,) = cancelling.counters(secret).values()
    assert row["spent"] == event.cost_nano
    assert row["reserved"] == 0
    assert row["doubted"] > 0
    assert row["spent"] + row["doubted"] >= billed(simulator, request_id)


def test_a_stream_that_breaks_off_ends_in_an_error_of_googles_shape(client: Client, stack: Stack) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    text = said("Hello", "tokens=40 close_after_chunks=4")
    came = client(secret).models.generate_content_stream(model=FLASH, contents=text)
    assert [bool(next(came).text) for _ in range(4)] == [True] * 4
    with pytest.raises(errors.ServerError) as broken:
        next(came)
    assert (broken.value.code, broken.value.status) == (502, "INTERNAL")
    event = event_of(stack, secret)
    assert (event.status, event.outcome, event.usage_source) == ("cut", "failure", "estimated")
    (row,) = stack.counters(secret).values()
    assert row["spent"] == event.cost_nano
    assert row["doubted"] > 0


def test_an_error_inside_a_stream_is_the_providers_own(client: Client, stack: Stack) -> None:
    secret = stack.key()
    with pytest.raises(errors.ServerError) as told:
        stream(client(secret), said("Hello", "tokens=40 error_in_stream=3"))
    assert told.value.code == 503
    event = event_of(stack, secret)
    assert (event.status, event.error_code) == ("cut", "error_in_stream")


def test_the_maximum_that_the_gateway_writes_holds(
    client: Client, stack: Stack, simulator: Simulator
) -> None:
    price = 2_500  # nano-dollars for a token of output
    secret = stack.key(limits={"month": 2_200 * price + 300_000})
    answer = ask(client(secret), said("Hello", "tokens=9000 reasoning=100"))
    assert answer.candidates[0].finish_reason == "MAX_TOKENS"
    event = event_of(stack, secret)
    assert event.max_output_written is not None
    assert event.truncated_by == "gateway"
    assert event.usage is not None
    assert event.usage["output_tokens"] == event.max_output_written
    asked = orjson.loads(simulator.received()[-1]["body"])
    assert asked["generationConfig"] == {"maxOutputTokens": event.max_output_written}
    assert event.cost_nano == billed(simulator, event.id)


@pytest.mark.parametrize("query", ["", "?alt=json", "?alt=sse&alt=json"])
def test_without_sse_a_stream_is_the_array_that_google_sends(
    stack: Stack, simulator: Simulator, query: str
) -> None:
    text = said("Hello", "tokens=30 reasoning=5 chunk_split=3")
    answer = post(stack, STREAM + query, body(text), stack.key())
    assert answer.headers["content-type"].startswith("application/json")
    asked = simulator.received()[-1]
    assert asked["path"] == f"/v1beta/models/{FLASH}:streamGenerateContent"
    direct = httpx2.post(simulator.root + asked["path"], json=body(text), headers={"x-goog-api-key": "k"})
    same = ("candidates", "usageMetadata", "modelVersion")
    assert [[each[name] for name in same] for each in answer.json()] == [
        [each[name] for name in same] for each in direct.json()
    ]
    event = stack.event(answer.headers["x-request-id"])
    assert (event.surface, event.stream, event.status) == ("generateContent", True, "succeeded")
    assert event.first_token_ms is not None
    assert event.usage_source == "provider"
    assert event.cost_nano == billed(simulator, event.id)


def test_an_array_that_breaks_off_is_closed_with_an_error(stack: Stack) -> None:
    text = said("Hello", "tokens=40 close_after_chunks=4")
    answer = post(stack, STREAM, body(text), stack.key())
    *elements, fault = answer.json()
    assert len(elements) == 4
    assert (fault["error"]["code"], fault["error"]["status"]) == (502, "INTERNAL")
    event = stack.event(answer.headers["x-request-id"])
    assert (event.status, event.usage_source) == ("cut", "estimated")


def test_a_cost_is_no_line_in_a_stream_that_googles_client_reads(client: Client, stack: Stack) -> None:
    pieces = stream(client(Observe_Include_Cost="true"), said("Hello", "tokens=8 reasoning=0"))
    assert len(pieces) == 3
    streamed = post(
        stack, f"{STREAM}?$alt=sse", body("Hello"), stack.key(), headers={"Observe-Include-Cost": "true"}
    )
    assert b"cost" not in streamed.content
    assert streamed.content.startswith(b"data: ")


def test_a_key_may_stand_in_the_query_and_goes_nowhere_else(stack: Stack, simulator: Simulator) -> None:
    secret = stack.key()
    path = f"/v1beta/models/{FLASH}:generateContent"
    answer = post(stack, f"{path}?key={secret}", body("Hello"))
    assert answer.status_code == 200
    arrived = simulator.received()[-1]
    assert secret not in repr(arrived)
    assert arrived["path"] == path
    assert secret not in repr(stack.event(answer.headers["x-request-id"]))
    assert post(stack, f"{path}?key={secret}", body("Hello"), secret).status_code == 200
    two = post(stack, f"{path}?key={secret}", body("Hello"), stack.key())
    assert two.status_code == 401
    assert two.json()["error"]["details"][0]["reason"] == "conflicting_credentials"
    for wrong in ("", "?key=", "?key=AIza", "?Key=" + secret):
        refused = post(stack, path + wrong, body("Hello"))
        assert refused.status_code == 401, wrong
        assert secret not in refused.text
    elsewhere = httpx2.post(f"{stack.base_url}/chat/completions?key={secret}", json={}, timeout=60)
    assert elsewhere.status_code == 401


def test_an_idempotency_key_is_for_one_model_and_one_verb(stack: Stack) -> None:
    secret = stack.key()
    headers = {"Idempotency-Key": "once"}
    path = f"/v1beta/models/{FLASH}"
    first = post(stack, f"{path}:generateContent", body("Hello"), secret, headers=headers)
    assert first.status_code == 200
    again = post(stack, f"{path}:generateContent", body("Hello"), secret, headers=headers)
    assert (again.status_code, again.json()["error"]["status"]) == (409, "ABORTED")
    info = again.json()["error"]["details"][0]
    assert info["reason"] == "request_finished"
    assert orjson.loads(info["metadata"]["request"])["id"] == first.headers["x-request-id"]
    for other in (f"{path}-lite:generateContent", f"{path}:streamGenerateContent?alt=sse"):
        mixed = post(stack, other, body("Hello"), secret, headers=headers)
        assert (mixed.status_code, mixed.json()["error"]["details"][0]["reason"]) == (
            422,
            "idempotency_mismatch",
        )


def test_a_clients_retry_belongs_to_the_task_of_the_same_model(stack: Stack) -> None:
    secret, slow = stack.key(), body(said("Again", "tokens=40 pace_ms=10"))
    path, retry = "/v1beta/models/{}:streamGenerateContent?alt=sse", {"x-stainless-retry-count": "1"}
    root = stack.base_url.removesuffix("/v1")
    headers = {"x-goog-api-key": secret}
    with httpx2.stream("POST", root + path.format(FLASH), json=slow, headers=headers, timeout=60) as first:
        next(first.iter_bytes())
        same = post(stack, path.format(FLASH), slow, secret, headers=retry)
        other = post(stack, path.format(f"{FLASH}-lite"), slow, secret, headers=retry)
        task = first.headers["x-request-id"]
    assert stack.event(same.headers["x-request-id"]).task_id == task
    assert stack.event(other.headers["x-request-id"]).task_id is None
