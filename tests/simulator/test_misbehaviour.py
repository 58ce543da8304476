"""Each directive, seen from the other end of a real socket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import httpx2
import openai
import pytest

from simulator.process import Simulator
from tests.simulator.conftest import Raw, chat

Ask = Callable[..., httpx2.Response]


@pytest.fixture
def ask(simulator: Simulator, http: httpx2.Client) -> Ask:
    def send(wish: str, **more: object) -> httpx2.Response:
        return http.post("/v1/chat/completions", json=chat(f"Hi [[simulate: {wish}]]", **more))

    return send


def sse(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "invalid_request_error"), (404, "invalid_request_error"),
        (408, "server_error"), (429, "requests"), (500, "server_error"), (502, "server_error"),
        (503, "server_error"), (529, "overloaded_error"),
    ],
)  # fmt: skip
def test_a_status_is_answered_in_openais_shape(
    ask: Ask, simulator: Simulator, status: int, kind: str
) -> None:
    answer = ask(f"status={status}", stream=True)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert simulator.total_nano() == 0


def test_errors_take_headers_codes_and_pages(ask: Ask) -> None:
    answer = ask(
        'status=429 retry_after="Wed, 21 Oct 2026 07:28:00 GMT" retry_after_ms=-5 code=insufficient_quota',
    )
    assert answer.headers["retry-after"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    assert answer.headers["retry-after-ms"] == "-5"
    assert answer.json()["error"]["code"] == "insufficient_quota"
    page = ask("status=503 html")
    assert page.headers["content-type"].startswith("text/html")
    assert "retry-after" not in page.headers


def test_the_official_client_raises_its_own_class_and_sees_the_wait(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**chat("[[simulate: status=429 retry_after=2]]"))
    assert caught.value.response.headers["retry-after"] == "2"
    assert caught.value.code == "rate_limit_exceeded"


def test_directives_may_come_in_metadata(http: httpx2.Client, simulator: Simulator) -> None:
    body = chat("Hi", metadata={"simulate": "status=503"})
    assert http.post("/v1/chat/completions", json=body).status_code == 503


def test_only_the_last_user_message_directs(http: httpx2.Client, simulator: Simulator) -> None:
    messages = [
        {"role": "user", "content": "[[simulate: status=500]]"},
        {"role": "assistant", "content": "[[simulate: status=501]]"},
        {"role": "user", "content": "Hi"},
    ]
    body = {"model": "gpt-4o", "messages": messages}
    assert http.post("/v1/chat/completions", json=body).status_code == 200


def test_misbehaviour_ends_after_its_times_but_size_stays(ask: Ask) -> None:
    wish = "status=500 tokens=3 times=2 id=same"
    assert [ask(wish).status_code for _ in range(3)] == [500, 500, 200]
    assert ask(wish).json()["usage"]["completion_tokens"] == 3


def test_a_misspelt_directive_is_a_400(ask: Ask) -> None:
    answer = ask("statsu=500")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_directive")


@pytest.mark.parametrize("stream", [False, True])
def test_the_pace_is_kept(ask: Ask, stream: bool) -> None:
    began = time.monotonic()
    ask("tokens=10 pace_ms=10 first_ms=50", stream=stream)
    assert 0.12 < time.monotonic() - began < 1.5


def test_a_redirect_points_where_nobody_should_go(ask: Ask) -> None:
    answer = ask("redirect")
    assert (answer.status_code, answer.headers["location"]) == (
        307,
        "http://169.254.169.254/latest/meta-data/",
    )


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_before_the_headers_sends_nothing(raw: Raw, simulator: Simulator, stream: bool) -> None:
    raw.send(chat("[[simulate: hang=before_headers]]", stream=stream))
    raw.plug.settimeout(0.1)
    with pytest.raises(TimeoutError):
        raw.plug.recv(1)
    assert simulator.open()["requests"] == 1
    assert simulator.bill()["requests"][0]["prompt_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_after_the_headers_sends_no_body(raw: Raw, stream: bool) -> None:
    raw.send(chat("[[simulate: hang=after_headers]]", stream=stream))
    head, _, body = raw.until(b"\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b""
    raw.plug.settimeout(0.1)
    with pytest.raises(TimeoutError):
        raw.plug.recv(1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", [0, 1, 700, 1500])
def test_a_reset_comes_after_exactly_so_many_bytes(raw: Raw, stream: bool, limit: int) -> None:
    raw.send(chat(f"[[simulate: reset_after_bytes={limit} tokens=300]]", stream=stream))
    assert len(raw.until_reset()) == limit


def test_a_stream_may_be_closed_in_the_middle(raw: Raw, simulator: Simulator) -> None:
    raw.send(chat("[[simulate: close_after_chunks=4]]", stream=True))
    got = raw.rest()
    assert got.count(b'"finish_reason":null') == 1 + 4
    assert not got.endswith(b"0\r\n\r\n")
    (entry,) = simulator.bill()["requests"]
    assert (entry["completion_tokens"], entry["complete"]) == (4, False)


@pytest.mark.parametrize("wish", ["dribble=0", "chunk_split=1", "chunk_split=7"])
@pytest.mark.parametrize("stream", [False, True])
def test_bytes_in_small_pieces_are_the_same_answer(
    ask: Ask, simulator: Simulator, wish: str, stream: bool
) -> None:
    answer = ask(f"{wish} tokens=4", stream=stream)
    if stream:
        assert sse(answer.text)[-1] == "[DONE]"
    else:
        assert answer.json()["usage"]["completion_tokens"] == 4
    assert simulator.bill()["requests"][0]["complete"] is True


@pytest.mark.parametrize("stream", [False, True])
def test_a_length_that_is_too_long_ends_early(raw: Raw, stream: bool) -> None:
    raw.send(chat("[[simulate: wrong_length]]", stream=stream))
    head, _, body = raw.rest().partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert length > len(body)
    assert stream or length == len(body) + 10


def test_a_length_that_is_too_short_leaves_bytes_over(raw: Raw) -> None:
    raw.send(chat("[[simulate: wrong_length=-10]]"))
    head, _, body = raw.rest().partition(b"\r\n\r\n")
    assert int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) == len(body) - 10


def test_json_may_be_malformed_under_a_right_length(ask: Ask) -> None:
    answer = ask("malformed=json")
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_one_event_may_be_malformed_between_good_ones(ask: Ask) -> None:
    events = sse(ask("malformed=sse tokens=6", stream=True).text)
    broken = 0
    for event in events[:-1]:
        try:
            json.loads(event)
        except json.JSONDecodeError:
            broken += 1
    assert (broken, len(events)) == (1, 1 + 6 + 1 + 1 + 1)


def test_usage_may_be_missing_or_come_twice(ask: Ask, simulator: Simulator) -> None:
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    assert ask("no_usage", **usage).text.count('"usage":{') == 0
    assert ask("usage_twice", **usage).text.count('"usage":{') == 2
    assert "usage" not in ask("no_usage").json()
    assert len(simulator.bill()["requests"]) == 3
    assert all(entry["completion_tokens"] == 40 for entry in simulator.bill()["requests"])


def test_the_end_mark_may_be_missing(ask: Ask) -> None:
    text = ask("no_done", stream=True).text
    assert '"finish_reason":"stop"' in text
    assert "[DONE]" not in text


def test_an_error_may_come_inside_a_stream_or_a_200(ask: Ask, simulator: Simulator) -> None:
    events = sse(ask("error_in_stream tokens=6", stream=True).text)
    assert json.loads(events[-1])["error"]["type"] == "server_error"
    assert len(events) == 1 + 3 + 1
    assert simulator.bill()["requests"][0]["completion_tokens"] == 3
    assert len(sse(ask("error_in_stream=0", stream=True).text)) == 2
    plain = ask("error_in_stream")
    assert (plain.status_code, list(plain.json())) == (200, ["error"])


def test_the_maximum_may_be_ignored(ask: Ask, simulator: Simulator) -> None:
    answer = ask("ignore_max tokens=50", max_tokens=5).json()
    assert answer["usage"]["completion_tokens"] == 50
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert simulator.bill()["requests"][0]["completion_tokens"] == 50


def test_a_connection_may_close_unannounced_when_idle(raw: Raw) -> None:
    raw.send(chat("[[simulate: close_idle]]"))
    head, _, _ = raw.rest().partition(b"\r\n\r\n")
    assert b"connection: close" not in head.lower()


def test_a_reused_connection_may_be_stale(raw: Raw, simulator: Simulator) -> None:
    raw.send(chat("[[simulate: stale_next tokens=1]]"))
    raw.until(b'"fp_simulated0"}')
    raw.send(chat("Hi"))
    try:
        assert raw.rest() == b""
    except ConnectionResetError:
        pass
    assert len(simulator.bill()["requests"]) == 1


def test_a_refusal_may_repeat_the_callers_key(http: httpx2.Client) -> None:
    answer = http.post("/v1/chat/completions", json=chat("[[simulate: status=400 tell_key]]"))
    assert "sk-test" in answer.json()["error"]["message"]


def test_a_model_that_is_not_there_cannot_serve(http: httpx2.Client, simulator: Simulator) -> None:
    answer = http.post("/v1/chat/completions", json=chat("[[simulate: served=gpt-9]]"))
    assert answer.status_code == 400
    assert "served=gpt-9" in answer.json()["error"]["message"]
    assert simulator.bill()["total_nano"] == 0
