"""Directives reach Responses, Cohere and Bedrock as they reach chats: what is common is tried on each."""

from __future__ import annotations

import json
import struct
from typing import Any
from zlib import crc32

import httpx2
import pytest

from simulator.process import Simulator
from tests.simulator.conftest import Raw

SONNET = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"


def responses(text: str) -> tuple[str, dict[str, Any], bool]:
    return "/v1/responses", {"model": "gpt-4o", "input": text, "stream": True}, False


def cohere(text: str) -> tuple[str, dict[str, Any], bool]:
    message = {"role": "user", "content": text}
    return "/v2/chat", {"model": "command-a-03-2025", "messages": [message], "stream": True}, False


def converse(text: str) -> tuple[str, dict[str, Any], bool]:
    message = {"role": "user", "content": [{"text": text}]}
    return f"{SONNET}/converse-stream", {"messages": [message]}, True


def invoke(text: str) -> tuple[str, dict[str, Any], bool]:
    message = {"role": "user", "content": text}
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 500, "messages": [message]}
    return f"{SONNET}/invoke-with-response-stream", body, True


pytestmark = pytest.mark.parametrize("dialect", [responses, cohere, converse, invoke])


def ask(http: httpx2.Client, dialect: Any, wish: str) -> httpx2.Response:
    path, body, _ = dialect(f"Hi [[simulate: {wish}]]")
    return http.post(path, json=body)


def send(raw: Raw, dialect: Any, wish: str, **headers: str) -> None:
    path, body, _ = dialect(f"Hi [[simulate: {wish}]]")
    raw.send(body, path=path, **headers)


def test_sizes_and_errors(http: httpx2.Client, simulator: Simulator, dialect: Any) -> None:
    framed = b"application/vnd.amazon.eventstream" if dialect("")[2] else b"text/event-stream"
    answer = ask(http, dialect, "tokens=3")
    assert (answer.status_code, answer.headers["content-type"].encode().startswith(framed)) == (200, True)
    assert simulator.bill()["requests"][-1]["completion_tokens"] == 3
    page = ask(http, dialect, "status=502 html")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (502, "text/html")
    told = ask(http, dialect, "status=429 tell_key retry_after=7 retry_after_ms=7000")
    assert (told.status_code, told.headers["retry-after"], told.headers["retry-after-ms"]) == (
        429,
        "7",
        "7000",
    )
    assert b"sk-test" in told.content
    moved = ask(http, dialect, "redirect")
    assert (moved.status_code, moved.headers["location"][:23]) == (307, "http://169.254.169.254/")
    wrong = ask(http, dialect, "no_such_word")
    assert (wrong.status_code, b"unknown name" in wrong.content) == (400, True)
    assert sum(entry["nano"] > 0 for entry in simulator.bill()["requests"]) == 1


def test_only_the_first_misbehave(http: httpx2.Client, simulator: Simulator, dialect: Any) -> None:
    wish = f"status=503 times=2 id={dialect.__name__} tokens=1"
    assert [ask(http, dialect, wish).status_code for _ in range(3)] == [503, 503, 200]


def test_chunks_may_be_cut_anywhere(raw: Raw, simulator: Simulator, dialect: Any) -> None:
    send(raw, dialect, "tokens=9 chunk_split=7", Connection="close")
    _, _, rest = raw.rest().partition(b"\r\n\r\n")
    body, sizes = b"", []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        sizes.append(int(size, 16))
        body, rest = body + rest[: sizes[-1]], rest[sizes[-1] + 2 :]
    assert (max(sizes), sizes[-1]) == (7, 0)
    if not dialect("")[2]:
        assert body.endswith(b"\n\n")
        return
    while body:
        (length,) = struct.unpack(">I", body[:4])
        assert struct.unpack(">I", body[length - 4 : length])[0] == crc32(body[: length - 4])
        body = body[length:]


def test_a_stream_may_be_cut_off_after_some_events(raw: Raw, simulator: Simulator, dialect: Any) -> None:
    send(raw, dialect, "tokens=50 close_after_chunks=5", x_client_request_id="cut")
    got = raw.rest()
    assert not got.endswith(b"0\r\n\r\n")
    (entry,) = simulator.bill("cut")["requests"]
    assert (entry["completion_tokens"], entry["complete"]) == (5, False)


def test_a_connection_may_be_reset(raw: Raw, simulator: Simulator, dialect: Any) -> None:
    send(raw, dialect, "tokens=50 reset_after_bytes=4000", x_client_request_id="reset")
    assert len(raw.until_reset()) == 4_000
    (entry,) = simulator.bill("reset")["requests"]
    assert (entry["completion_tokens"] < 50, entry["complete"]) == (True, False)


def test_headers_may_be_all_that_comes(raw: Raw, simulator: Simulator, dialect: Any) -> None:
    send(raw, dialect, "hang=after_headers", x_client_request_id="hang")
    head = raw.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert head.endswith(b"\r\n\r\n")
    assert simulator.open()["streams"] == 1
    (entry,) = simulator.bill("hang")["requests"]
    assert (entry["completion_tokens"], entry["prompt_tokens"] > 0) == (0, True)


def test_a_length_may_be_wrong(raw: Raw, simulator: Simulator, dialect: Any) -> None:
    send(raw, dialect, "tokens=2 wrong_length=-1")
    assert b"content-length: 999999\r\n" in raw.rest()


def test_a_tool_or_the_metadata_is_no_place_for_bytes_that_are_no_directive(
    http: httpx2.Client, simulator: Simulator, dialect: Any
) -> None:
    path, body, _ = dialect("Hi, simulate [simulate: status=500]")
    assert http.post(path, content=json.dumps(body)).status_code == 200
