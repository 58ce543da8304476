"""Every directive does in Anthropic's and in Gemini's dialect what it does in OpenAI's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from simulator.process import Simulator
from tests.simulator.conftest import Raw, connection, until_quiet
from tests.simulator.dialects import CLAUDE, GEMINI, Speaker, broken
from tests.simulator.recordings import streamed

BOTH = pytest.mark.parametrize("dialect", [CLAUDE, GEMINI], ids=str)
WAYS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
Ask = Callable[..., httpx2.Response]


@pytest.fixture
def ask(http: httpx2.Client, simulator: Simulator) -> Ask:
    def send(dialect: Speaker, words: str, *, stream: bool = False, **more: Any) -> httpx2.Response:
        path, body = dialect.asked(words, stream=stream, **more)
        return http.post(path, json=body, headers=dialect.headers)

    return send


def put(raw: Raw, dialect: Speaker, words: str, *, stream: bool = False) -> None:
    path, body = dialect.asked(words, stream=stream)
    raw.send(body, path=path, **dialect.headers)


def entry_of(simulator: Simulator) -> dict[str, Any]:
    (entry,) = simulator.bill()["requests"]
    return dict(entry)


@BOTH
@WAYS
def test_size_pace_and_price(ask: Ask, simulator: Simulator, dialect: Speaker, stream: bool) -> None:
    answer = ask(dialect, "tokens=12 pace_ms=5 first_ms=20", stream=stream)
    assert answer.elapsed.total_seconds() > 0.02 + 12 * 0.005 - 0.01
    if stream:
        assert len(dialect.texts(answer.text)) == 12 // dialect.step
    else:
        assert dialect.said(answer.json()) == 12
    entry = entry_of(simulator)
    assert (entry["completion_tokens"], entry["complete"]) == (12, True)
    assert entry["nano"] == entry["prompt_tokens"] * dialect.price[0] + 12 * dialect.price[1]


@BOTH
@WAYS
def test_errors_pages_and_redirects(ask: Ask, simulator: Simulator, dialect: Speaker, stream: bool) -> None:
    refused = ask(dialect, "status=503 retry_after=4 retry_after_ms=4000 code=WHY", stream=stream)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "4")
    assert refused.headers["retry-after-ms"] == "4000"
    assert "WHY" in json.dumps(refused.json()["error"]["details"])
    page = ask(dialect, "status=502 html", stream=stream)
    assert (page.status_code, page.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert "sk-test" in ask(dialect, "status=400 tell_key", stream=stream).json()["error"]["message"]
    assert (
        ask(dialect, "redirect=http://elsewhere/", stream=stream).headers["location"] == "http://elsewhere/"
    )
    assert simulator.total_nano() == 0


@BOTH
def test_a_directive_that_is_not_known_is_refused_in_the_dialect(ask: Ask, dialect: Speaker) -> None:
    for words in ("statsu=500", "served=gpt-4o"):
        answer = ask(dialect, words)
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]


@BOTH
def test_misbehaviour_ends_after_its_times_but_size_stays(ask: Ask, dialect: Speaker) -> None:
    answers = [ask(dialect, f"status=500 tokens=4 times=2 id={dialect}") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 500, 200]
    assert dialect.said(answers[-1].json()) == 4


@BOTH
def test_an_error_comes_in_the_stream(ask: Ask, simulator: Simulator, dialect: Speaker) -> None:
    answer = ask(dialect, "error_in_stream=2 tokens=16", stream=True)
    assert len(dialect.texts(answer.text)) == 2
    last = streamed(answer.text)[-1]
    assert dialect.fault in json.dumps(last["error"])
    assert entry_of(simulator)["completion_tokens"] == 2 * dialect.step
    plain = ask(dialect, "error_in_stream")
    assert (plain.status_code, "error" in plain.json()) == (200, True)
    assert dialect.texts(ask(dialect, "error_in_stream=0", stream=True).text) == []


@BOTH
def test_usage_may_be_missing_or_come_twice(ask: Ask, simulator: Simulator, dialect: Speaker) -> None:
    usual = ask(dialect, "tokens=8", stream=True).text.count(dialect.usages)
    assert usual > 1
    assert ask(dialect, "tokens=8 usage_twice", stream=True).text.count(dialect.usages) == usual + 1
    assert dialect.usages not in ask(dialect, "tokens=8 no_usage", stream=True).text
    assert "usage" not in ask(dialect, "tokens=8 no_usage").text
    assert [entry["completion_tokens"] for entry in simulator.bill()["requests"]] == [8] * 4


@BOTH
def test_the_end_may_be_missing(ask: Ask, dialect: Speaker) -> None:
    assert dialect.end(streamed(ask(dialect, "tokens=8", stream=True).text))
    cut = ask(dialect, "tokens=8 no_done", stream=True).text
    assert not dialect.end(streamed(cut))
    assert len(dialect.texts(cut)) == 8 // dialect.step


@BOTH
def test_one_event_or_the_document_may_be_no_json(ask: Ask, dialect: Speaker) -> None:
    answer = ask(dialect, "malformed=sse tokens=16", stream=True)
    assert broken(answer.text) == 1
    assert broken(ask(dialect, "tokens=16", stream=True).text) == 0
    with pytest.raises(json.JSONDecodeError):
        ask(dialect, "malformed=json").json()


@BOTH
@WAYS
def test_a_call_may_hang(raw: Raw, simulator: Simulator, dialect: Speaker, stream: bool) -> None:
    put(raw, dialect, "hang=after_headers", stream=stream)
    assert raw.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
    raw.plug.settimeout(0.1)
    with pytest.raises(TimeoutError):
        raw.plug.recv(1)
    assert simulator.open()["requests"] == 1
    entry = entry_of(simulator)
    assert entry["nano"] == entry["prompt_tokens"] * dialect.price[0] > 0


@BOTH
@WAYS
@pytest.mark.parametrize("limit", [1, 900])
def test_a_reset_comes_after_exactly_so_many_bytes(
    raw: Raw, simulator: Simulator, dialect: Speaker, stream: bool, limit: int
) -> None:
    put(raw, dialect, f"reset_after_bytes={limit} tokens=300", stream=stream)
    assert len(raw.until_reset()) == limit


@BOTH
def test_a_stream_may_be_closed_in_the_middle(raw: Raw, simulator: Simulator, dialect: Speaker) -> None:
    put(raw, dialect, "close_after_chunks=3 tokens=40", stream=True)
    got = raw.rest()
    assert not got.endswith(b"0\r\n\r\n")
    assert len(dialect.texts(got.decode())) == 3
    entry = entry_of(simulator)
    assert (entry["completion_tokens"], entry["complete"]) == (3 * dialect.step, False)


@BOTH
@WAYS
@pytest.mark.parametrize("wish", ["dribble=0", "chunk_split=1", "chunk_split=7"])
def test_bytes_in_small_pieces_are_the_same_answer(
    ask: Ask, simulator: Simulator, dialect: Speaker, stream: bool, wish: str
) -> None:
    answer = ask(dialect, f"{wish} tokens=4", stream=stream)
    if stream:
        assert dialect.end(streamed(answer.text))
    else:
        assert dialect.said(answer.json()) == 4
    assert entry_of(simulator)["complete"] is True


@BOTH
@WAYS
def test_a_length_may_be_wrong(raw: Raw, dialect: Speaker, stream: bool) -> None:
    put(raw, dialect, "wrong_length", stream=stream)
    head, _, body = raw.rest().partition(b"\r\n\r\n")
    assert int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) > len(body)


@BOTH
def test_the_maximum_may_be_ignored(ask: Ask, simulator: Simulator, dialect: Speaker) -> None:
    assert dialect.said(ask(dialect, "tokens=50", **dialect.short).json()) == 5
    assert dialect.said(ask(dialect, "ignore_max tokens=50", **dialect.short).json()) == 50
    assert [entry["completion_tokens"] for entry in simulator.bill()["requests"]] == [5, 50]


@BOTH
def test_another_model_may_answer_and_is_what_costs(ask: Ask, simulator: Simulator, dialect: Speaker) -> None:
    other, price = {
        "anthropic": ("claude-opus-4-1", (15_000, 75_000)),
        "gemini": ("gemini-2.5-flash-lite", (100, 400)),
    }[dialect.name]
    answer = ask(dialect, f"served={other} tokens=4").json()
    assert (answer.get("model") or answer["modelVersion"]).startswith(other)
    entry = entry_of(simulator)
    assert entry["nano"] == entry["prompt_tokens"] * price[0] + 4 * price[1]


@BOTH
def test_a_connection_may_close_unannounced(simulator: Simulator, raw: Raw, dialect: Speaker) -> None:
    put(raw, dialect, "close_idle tokens=4")
    head, _, _ = raw.rest().partition(b"\r\n\r\n")
    assert b"connection: close" not in head.lower()


@BOTH
@pytest.mark.parametrize("full", [False, True])
async def test_a_stream_left_by_its_reader_is_billed_until_that_was_noticed(
    simulator: Simulator, dialect: Speaker, full: bool
) -> None:
    wish = "tokens=1000 reasoning=0 pace_ms=5" + (" bill_full" if full else "")
    path, body = dialect.asked(wish, stream=True)
    async with connection(simulator) as (reader, writer):
        writer.write(request(path, body, dialect.headers))
        seen = b""
        while len(dialect.texts(seen.decode(errors="replace"))) < 5:
            seen += await reader.readuntil(b"}\n" if dialect is CLAUDE else b"}\r\n")
    await until_quiet(simulator)
    entry = await asyncio.to_thread(entry_of, simulator)
    made = entry["completion_tokens"]
    assert made == 1000 if full else 5 * dialect.step <= made < 500
    assert entry["nano"] == entry["prompt_tokens"] * dialect.price[0] + made * dialect.price[1]
    assert entry["complete"] is False


@BOTH
async def test_hidden_thinking_is_billed_when_the_reader_leaves_in_it(
    simulator: Simulator, dialect: Speaker
) -> None:
    path, body = dialect.asked("reasoning=1000 pace_ms=1 tokens=4", stream=True)
    async with connection(simulator) as (reader, writer):
        writer.write(request(path, body, dialect.headers))
        await reader.readuntil(b"\r\n\r\n")
        while not (await asyncio.to_thread(simulator.bill))["requests"]:
            pass
    await until_quiet(simulator)
    entry = await asyncio.to_thread(entry_of, simulator)
    assert entry["reasoning"] == entry["completion_tokens"] < 1000
    assert entry["complete"] is False


def request(path: str, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    payload = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: simulator", "authorization: Bearer sk-test"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"content-length: {len(payload)}", "", ""]).encode() + payload
