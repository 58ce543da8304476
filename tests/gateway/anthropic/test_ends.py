"""Streams of messages that end before their time: one event, an estimate above what was told, and doubt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from simulator.process import Simulator
from tests.gateway.anthropic.conftest import DOLLAR, HAIKU, SONNET, Client, said, settings
from tests.gateway.replay import Replay
from tests.stack import Stack, running_stack, wait_until


@pytest.fixture(scope="module")
def replayed(replay: Replay) -> Iterator[Stack]:
    with running_stack(settings(f"http://127.0.0.1:{replay.port}")) as started:
        yield started


def ask(stack: Stack, secret: str, **fields: Any) -> httpx2.Response:
    body = {"model": HAIKU, "max_tokens": 500, "messages": said("Hello"), "stream": True, **fields}
    return httpx2.post(f"{stack.base_url}/messages", json=body, headers={"x-api-key": secret}, timeout=60)


def event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {orjson.dumps({'type': kind, **fields}).decode()}\n\n"


def begun(output: int, given: int = 900) -> str:
    """How a stream begins that has told so many tokens."""
    usage = {"input_tokens": given, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0,
             "output_tokens": output, "service_tier": "standard"}  # fmt: skip
    message = {"type": "message", "model": "claude-haiku-4-5-20251001", "content": [], "usage": usage}
    return event("message_start", message=message) + event(
        "content_block_start", index=0, content_block={"type": "text", "text": ""}
    )


def text(words: str) -> str:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": words})


STOP = event("message_stop")


def last(output: int) -> str:
    usage = {"output_tokens": output}
    return event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)


@pytest.mark.parametrize(
    ("stream", "least", "most"),
    [
        # The text that came is more than what was told when the stream began.
        (begun(1) + text("The price of every answer is known before the invoice. " * 4), 30, 80),
        # What was told is more than the text that came: thoughts that were not shown.
        (begun(70) + text("Hm."), 70, 70),
        (begun(1), 1, 1),
    ],
)
def test_what_was_told_before_a_stream_broke_off_is_the_least_that_it_cost(
    replayed: Stack, replay: Replay, stream: str, least: int, most: int
) -> None:
    secret = replayed.key(limits={"month": DOLLAR})
    replay.exchange = {"status": 200, "stream": stream}
    answer = ask(replayed, secret)
    assert answer.status_code == 200
    assert answer.text.startswith(stream)
    ending = answer.text.removeprefix(stream)
    assert ending.startswith("event: error\ndata: ")
    assert orjson.loads(ending[19:])["error"]["code"] == "upstream_error"
    found = replayed.event(answer.headers["request-id"])
    assert (found.status, found.error_code, found.cost_status) == ("cut", "stream_cut", "estimated")
    assert found.usage is not None
    assert (found.usage["input_tokens"], found.usage["cache_read_input_tokens"]) == (1_000, 100)
    assert least <= found.usage["output_tokens"] <= most
    assert found.cost_nano is not None
    assert found.cost_nano == 900 * 1_000 + 100 * 100 + found.usage["output_tokens"] * 5_000
    (row,) = replayed.counters(secret).values()
    assert row["spent"] == found.cost_nano
    assert row["reserved"] == 0
    assert row["doubted"] == found.doubted_nano > 0


def test_a_stream_that_lacks_only_its_last_word_has_told_what_it_cost(
    replayed: Stack, replay: Replay
) -> None:
    secret = replayed.key(limits={"month": DOLLAR})
    replay.exchange = {"status": 200, "stream": begun(1) + text("Hello there, all of you. " * 9) + last(12)}
    found = replayed.event(ask(replayed, secret).headers["request-id"])
    assert (found.status, found.usage_source, found.cost_status) == ("cut", "provider", "priced")
    assert found.cost_nano == 900 * 1_000 + 100 * 100 + 12 * 5_000
    (row,) = replayed.counters(secret).values()
    assert row == {"spent": found.cost_nano, "reserved": 0, "doubted": 0}


def test_a_stream_without_usage_is_estimated(replayed: Stack, replay: Replay) -> None:
    secret = replayed.key(limits={"month": DOLLAR})
    start = event("message_start", message={"model": HAIKU, "content": []})
    replay.exchange = {"status": 200, "stream": start + text("Hello there, everyone.") + STOP}
    answer = ask(replayed, secret)
    assert answer.text == replay.exchange["stream"]
    found = replayed.event(answer.headers["request-id"])
    assert (found.status, found.usage_source, found.cost_status) == ("succeeded", "estimated", "estimated")
    assert found.usage is not None
    assert found.usage["output_tokens"] >= 4
    assert found.doubted_nano > 0


def test_a_later_zero_holds(replayed: Stack, replay: Replay) -> None:
    """Cumulative figures, of which the last ones hold, a 0 of theirs too."""
    usage = {"input_tokens": 0, "cache_read_input_tokens": 1_000, "output_tokens": 9}
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
    replay.exchange = {"status": 200, "stream": begun(1) + text("Hi") + end + STOP}
    found = replayed.event(ask(replayed, replayed.key()).headers["request-id"])
    assert found.usage is not None
    assert (found.usage["input_tokens"], found.usage["cache_read_input_tokens"]) == (1_000, 1_000)
    assert (found.cost_nano, found.cost_status) == (1_000 * 100 + 9 * 5_000, "priced")


@pytest.mark.parametrize("told", [True, False])
def test_an_error_at_the_beginning_of_a_stream_is_passed_on_where_nothing_else_can_serve(
    replayed: Stack, replay: Replay, told: bool
) -> None:
    fault = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    replay.exchange = {"status": 200, "stream": (begun(3) if told else "") + fault}
    secret = replayed.key(limits={"month": DOLLAR})
    answer = ask(replayed, secret)
    found = replayed.event(answer.headers["request-id"])
    assert found.cost_nano is not None
    (row,) = replayed.counters(secret).values()
    assert (row["spent"], row["reserved"]) == (found.cost_nano, 0)
    if told:
        assert answer.text == replay.exchange["stream"]
        assert (found.status, found.error_code) == ("cut", "error_in_stream")
        assert found.usage is not None
        assert found.usage["output_tokens"] >= 3


def hang_up(client: anthropic.Anthropic, directive: str, after: int, model: str = HAIKU) -> str:
    """Leave a stream after so many events; the request's id."""
    with client.messages.create(
        model=model,
        max_tokens=2_000,
        messages=said("Hello", directive),
        stream=True,  # type: ignore[call-overload]
    ) as stream:
        request_id = stream.response.headers["request-id"]
        for number, _ in enumerate(stream):
            if number == after:
                break
    return str(request_id)


@pytest.mark.parametrize("model", [HAIKU, SONNET])
def test_a_client_that_leaves(stack: Stack, simulator: Simulator, client: Client, model: str) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    request_id = hang_up(client(secret), "tokens=900 reasoning=0 pace_ms=5", 12, model)
    found = stack.event(request_id)
    assert (found.status, found.cost_status, found.usage_source) == ("cancelled", "estimated", "estimated")
    assert found.usage is not None
    assert 1 <= found.usage["output_tokens"] < 900
    wait_until(lambda: simulator.open()["streams"] == 0)
    billed = sum(line["nano"] for line in simulator.bill(request_id)["requests"])
    (row,) = stack.counters(secret).values()
    assert row["spent"] == found.cost_nano
    assert row["reserved"] == 0
    assert billed <= row["spent"] + row["doubted"] <= DOLLAR


@pytest.mark.parametrize(
    ("directive", "known"), [("close_after_chunks=7", False), ("error_in_stream=9", False), ("no_done", True)]
)
def test_a_provider_that_breaks_off(
    stack: Stack, simulator: Simulator, client: Client, directive: str, known: bool
) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    with (
        pytest.raises(anthropic.APIStatusError) as told,
        client(secret).messages.stream(
            model=HAIKU,
            max_tokens=2_000,
            messages=said("Hello", f"tokens=60 {directive}"),  # type: ignore[arg-type]
        ) as stream,
    ):
        stream.until_done()
    assert told.value.type in ("api_error", "overloaded_error")
    assert told.value.request_id is not None
    found = stack.event(told.value.request_id)
    assert (found.status, found.cost_status) == ("cut", "priced" if known else "estimated")
    billed = sum(line["nano"] for line in simulator.bill(found.id)["requests"])
    (row,) = stack.counters(secret).values()
    assert billed <= row["spent"] + row["doubted"]


def test_nothing_is_left_open_in_the_end(stack: Stack, replayed: Stack) -> None:
    wait_until(lambda: stack.open_requests() == replayed.open_requests() == 0)
