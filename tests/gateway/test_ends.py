"""Clients that leave and providers that break off, where the provider bills on whatever we do."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx2
import orjson
import pytest

from gateway.settings import Settings
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack, wait_until

DOLLAR = 10**9
MODEL = "gpt-4o-mini"


@pytest.fixture(scope="module")
def billing_on(simulator: Simulator) -> Iterator[Stack]:
    """A gateway whose provider is said to bill on when its connection is closed."""
    settings = simulated_settings(simulator)
    provider = settings.providers["simulated"].model_copy(update={"cancel_stops_billing": False})
    with running_stack(Settings(providers={"simulated": provider})) as started:
        yield started


def hang_up(stack: Stack, secret: str, directive: str, *, after: int) -> str:
    """Ask for a stream, read so many events, and leave; the request's id."""
    port = int(stack.base_url.rsplit(":", 1)[1].split("/")[0])
    message = {"role": "user", "content": f"Hello. [[simulate: {directive}]]"}
    document = orjson.dumps({"model": MODEL, "messages": [message], "stream": True, "max_tokens": 3_000})
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (secret.encode(), len(document), document)
        )
        received = b""
        while received.count(b"data:") < after:
            received += raw.recv(65_536)
    return received.split(b"x-request-id: ")[1].split(b"\r\n")[0].decode()


def test_an_answer_that_is_billed_anyway_is_read_on_for_its_usage(
    billing_on: Stack, simulator: Simulator
) -> None:
    secret = billing_on.key(limits={"month": DOLLAR})
    request_id = hang_up(billing_on, secret, "tokens=200 pace_ms=2", after=5)
    event = billing_on.event(request_id)
    assert (event.usage_source, event.cost_status) == ("provider", "priced")
    assert event.usage is not None
    assert event.usage["output_tokens"] == 200
    billed = simulator.bill(request_id)["requests"][0]["nano"]
    assert event.cost_nano == billed
    (row,) = billing_on.counters(secret).values()
    assert row == {"spent": billed, "reserved": 0, "doubted": 0}


def test_an_answer_that_breaks_off_while_it_is_read_on_is_estimated_and_doubted(
    billing_on: Stack, simulator: Simulator
) -> None:
    secret = billing_on.key(limits={"month": DOLLAR})
    request_id = hang_up(billing_on, secret, "tokens=400 pace_ms=2 close_after_chunks=60", after=5)
    wait_until(lambda: billing_on.open_requests() == 0)  # the tokenizer is loaded for the estimate
    event = billing_on.event(request_id)
    assert (event.status, event.cost_status) == ("cancelled", "estimated")
    billed = simulator.bill(request_id)["requests"][0]["nano"]
    (row,) = billing_on.counters(secret).values()
    assert row["spent"] <= billed <= row["spent"] + row["doubted"]


@pytest.mark.parametrize("wish", ["tokens=400 reset_after_bytes=300", "tokens=40 wrong_length=50"])
def test_a_whole_answer_that_breaks_off_is_a_502_and_its_cost_is_doubted(
    billing_on: Stack, simulator: Simulator, wish: str
) -> None:
    secret = billing_on.key(limits={"month": DOLLAR})
    body = {
        "model": MODEL,
        "max_tokens": 500,
        "messages": [{"role": "user", "content": f"[[simulate: {wish}]]"}],
    }
    with httpx2.Client(timeout=60) as client:
        answer = client.post(
            f"{billing_on.base_url}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {secret}"},
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
    event = billing_on.event(answer.headers["x-request-id"])
    assert (event.status, event.cost_status) == ("failed", "estimated")
    billed = sum(line["nano"] for line in simulator.bill(event.id)["requests"])
    (row,) = billing_on.counters(secret).values()
    assert row["reserved"] == 0
    assert billed <= row["spent"] + row["doubted"]


def test_nothing_is_left_open_in_the_end(billing_on: Stack, simulator: Simulator) -> None:
    wait_until(lambda: billing_on.open_requests() == 0)
    wait_until(lambda: simulator.open()["streams"] == 0)
