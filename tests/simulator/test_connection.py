"""HTTP on one socket: order, reuse, limits, and many at once."""

from __future__ import annotations

import asyncio
import json

import openai

from simulator.process import Simulator
from tests.simulator.conftest import Raw, chat, connection, until_quiet


def test_pipelined_requests_are_answered_in_order_on_one_connection(raw: Raw, simulator: Simulator) -> None:
    for number in range(1, 51):
        raw.send(chat(f"[[simulate: tokens={number}]]", stream=number % 2 == 0))
    raw.send(chat("last"), Connection="close")
    raw.rest()
    made = [entry["completion_tokens"] for entry in simulator.bill()["requests"]]
    assert made == [*range(1, 51), 40]


def test_a_reader_that_stops_reading_holds_the_stream_back(raw: Raw, simulator: Simulator) -> None:
    raw.send(chat("[[simulate: tokens=16000 ignore_max]]", stream=True), Connection="close")
    raw.until(b"\r\n\r\n")
    # Far more than socket buffers take; the stream must stand still instead of filling memory.
    while (made := simulator.bill()["requests"][0]["completion_tokens"]) == 0:
        pass
    assert simulator.open()["streams"] == 1
    assert made < 16_000
    assert raw.rest().endswith(b"0\r\n\r\n")
    assert simulator.bill()["requests"][0]["completion_tokens"] == 16_000


def test_bytes_that_are_not_http_get_one_400(raw: Raw) -> None:
    raw.plug.sendall(b"\x16\x03\x01 hello\r\n\r\n")
    head, _, body = raw.rest().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_too_many_header_bytes_get_a_431(raw: Raw) -> None:
    raw.send(chat("Hi"), X_Long="a" * 70_000)
    assert raw.rest().startswith(b"HTTP/1.1 431 ")


def test_a_client_may_wait_for_permission_to_send_its_body(raw: Raw) -> None:
    body = json.dumps(chat("[[simulate: tokens=1]]")).encode()
    raw.plug.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer sk-test\r\n"
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    assert raw.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.plug.sendall(body)
    assert raw.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK")


def test_http_1_0_clients_get_streams_that_end_with_the_connection(raw: Raw) -> None:
    body = json.dumps(chat("[[simulate: tokens=2]]", stream=True)).encode()
    raw.plug.sendall(
        b"POST /v1/chat/completions HTTP/1.0\r\nAuthorization: Bearer sk-test\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    head, _, answer = raw.rest().partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert answer.endswith(b"data: [DONE]\n\n")


def test_what_was_received_can_be_looked_at_without_its_credentials(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    client.chat.completions.create(**chat("Hi"), extra_headers={"x-mark": "seen"})
    (received,) = simulator.received()
    headers = dict(received["headers"])
    assert (received["method"], received["path"], headers["x-mark"]) == (
        "POST",
        "/v1/chat/completions",
        "seen",
    )
    assert headers["authorization"] == "****test"
    assert json.loads(received["body"])["model"] == "gpt-4o-mini"


async def test_200_streams_at_once_are_whole_and_billed_to_the_token(simulator: Simulator) -> None:
    async def one(number: int) -> None:
        text = f"[[simulate: tokens={number % 7 + 1} pace_ms=10]]"
        body = chat(text, stream=True, stream_options={"include_usage": True})
        payload = json.dumps(body).encode()
        async with connection(simulator) as (reader, writer):
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer sk-test\r\n"
                b"x-client-request-id: n%d\r\nContent-Length: %d\r\n\r\n%b" % (number, len(payload), payload)
            )
            answer = await reader.readuntil(b"0\r\n\r\n")
        assert b"data: [DONE]" in answer
        assert b'"completion_tokens":%d,' % (number % 7 + 1) in answer

    await asyncio.gather(*(one(number) for number in range(200)))
    await until_quiet(simulator)
    bill = await asyncio.to_thread(simulator.bill)
    made = {entry["id"]: entry["completion_tokens"] for entry in bill["requests"]}
    assert made == {f"n{number}": number % 7 + 1 for number in range(200)}
    assert all(entry["complete"] for entry in bill["requests"])
