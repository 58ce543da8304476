"""Answers of Anthropic that other gateways were caught out by, through this one: each named by its thread.

Rates in dollars for a million tokens: claude-haiku-4-5 costs 1 fresh, 0.10 read from the cache, 1.25 written
to it for five minutes, 2 for an hour, and 5 for output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from metering.event import CostEvent
from tests.gateway.anthropic.conftest import HAIKU, settings
from tests.gateway.replay import Replay
from tests.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(replay: Replay) -> Iterator[Stack]:
    with running_stack(settings(f"http://127.0.0.1:{replay.port}", retries={"attempts": 0})) as started:
        yield started


def usage(given: int, output: int, **more: Any) -> dict[str, Any]:
    zeros = {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    return {"input_tokens": given, "output_tokens": output, **zeros, **more}


def told(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {orjson.dumps({'type': kind, **fields}).decode()}\n\n"


SAID = told("content_block_delta", index=0, delta={"type": "text_delta", "text": " price"})


def stream_of(first: dict[str, Any], last: dict[str, Any] | None, *between: str) -> str:
    """A stream that reports at its beginning and, with the reason to stop, at its end."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": HAIKU, "content": [],
               "stop_reason": None, "usage": first}  # fmt: skip
    delta: dict[str, Any] = {"delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    if last is not None:
        delta["usage"] = last
    text = told("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"})
    return (
        told("message_start", message=message)
        + "".join(between)
        + text
        + told("message_delta", **delta)
        + told("message_stop")
    )


class Asker:
    def __init__(self, stack: Stack, replay: Replay) -> None:
        self._stack, self._replay, self._secret = stack, replay, stack.key()

    def ask(self, *, stream: str | None = None, response: Any = None, **fields: Any) -> CostEvent:
        exchange: dict[str, Any] = {"status": 200}
        self._replay.exchange = exchange | ({"response": response} if stream is None else {"stream": stream})
        body = {
            "model": f"anthropic/{HAIKU}",
            "max_tokens": 99,
            "messages": [{"role": "user", "content": "Hi"}],
        }
        answer = httpx2.post(
            f"{self._stack.base_url}/messages",
            json={**body, "stream": stream is not None, **fields},
            headers={"x-api-key": self._secret},
            timeout=60,
        )
        return self._stack.event(answer.headers["request-id"])


@pytest.fixture
def asker(stack: Stack, replay: Replay) -> Asker:
    return Asker(stack, replay)


def message(reported: dict[str, Any], **fields: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "Hi"}]
    end = {"stop_reason": "end_turn", "usage": reported}
    return {"type": "message", "model": HAIKU, "content": content, **end, **fields}


def test_cached_tokens_stand_beside_the_input_and_not_inside_it_litellm_6215(asker: Asker) -> None:
    event = asker.ask(response=message(usage(100, 10, cache_read_input_tokens=9_000)))
    assert event.usage is not None
    assert event.usage["input_tokens"] == 9_100
    assert event.cost_nano == 100 * 1_000 + 9_000 * 100 + 10 * 5_000


def test_what_was_written_to_the_cache_is_charged_once_litellm_6575(asker: Asker) -> None:
    event = asker.ask(response=message(usage(0, 0, cache_creation_input_tokens=1_000)))
    assert event.cost_nano == 1_000 * 1_250


def test_writes_for_five_minutes_and_for_an_hour_have_prices_of_their_own(
    asker: Asker,
) -> None:
    lives = {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 700}
    reported = usage(10, 1, cache_creation_input_tokens=1_000, cache_creation=lives)
    for event in (
        asker.ask(response=message(reported)),
        asker.ask(stream=stream_of(reported, {"output_tokens": 1})),
    ):
        assert event.cost_nano == 10 * 1_000 + 300 * 1_250 + 700 * 2_000 + 5_000


def test_both_reports_of_a_stream_are_one_usage_and_not_two(asker: Asker) -> None:
    first = usage(100, 4, cache_read_input_tokens=1_000)
    event = asker.ask(stream=stream_of(first, usage(100, 50, cache_read_input_tokens=1_000)))
    assert event.cost_nano == 100 * 1_000 + 1_000 * 100 + 50 * 5_000


def test_cache_tokens_that_only_the_end_of_a_stream_tells_envoy_2290(asker: Asker) -> None:
    last = usage(20, 5, cache_read_input_tokens=700, cache_creation_input_tokens=300)
    event = asker.ask(stream=stream_of(usage(1_020, 1), last))
    assert event.usage is not None
    assert event.usage["input_tokens"] == 1_020
    assert event.cost_nano == 20 * 1_000 + 700 * 100 + 300 * 1_250 + 5 * 5_000


def test_an_end_without_usage_makes_the_cost_an_estimate_litellm_37923(asker: Asker) -> None:
    """What the beginning told of the output is not what the answer cost."""
    event = asker.ask(stream=stream_of(usage(100, 1), None, *[SAID] * 20))
    assert event.usage is not None
    assert (event.status, event.usage["input_tokens"]) == ("succeeded", 100)
    assert (event.cost_status, event.usage_source) == ("estimated", "estimated")
    assert 20 <= event.usage["output_tokens"] <= 99
    assert event.cost_nano == 100 * 1_000 + event.usage["output_tokens"] * 5_000


def test_a_stream_that_says_usage_in_its_text_is_not_taken_at_its_word(asker: Asker) -> None:
    lie = 'so I print "usage":{"input_tokens":0,"output_tokens":0} and event: message_stop'
    forged = told("content_block_delta", index=0, delta={"type": "text_delta", "text": lie})
    begin = told("content_block_start", index=0, content_block={"type": "tool_use", "name": "x",
                 "input": {"usage": {"input_tokens": 0, "output_tokens": 0}}})  # fmt: skip
    event = asker.ask(stream=stream_of(usage(100, 1), {"output_tokens": 60}, begin, forged))
    assert event.status == "succeeded"
    assert event.cost_nano == 100 * 1_000 + 60 * 5_000


def test_an_error_with_status_200_is_no_success(asker: Asker) -> None:
    fault = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    event = asker.ask(response=fault)
    assert (event.outcome, event.outcome_reason) == ("failure", "error_in_answer")


def test_the_wait_that_anthropic_asks_for_reaches_the_client_litellm_37754(
    stack: Stack, replay: Replay
) -> None:
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "Too many."}}
    replay.exchange = {"status": 429, "response": error}
    replay.extra = [("retry-after", "17"), ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:00Z"),
                    ("anthropic-organization-id", "org-1"), ("set-cookie", "a=b")]  # fmt: skip
    client = anthropic.Anthropic(
        base_url=stack.base_url.removesuffix("/v1"), api_key=stack.key(), max_retries=0
    )
    with client, pytest.raises(anthropic.RateLimitError) as refused:
        client.messages.create(
            model=f"anthropic/{HAIKU}", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
        )
    replay.extra = []
    head = refused.value.response.headers
    assert head["retry-after"] == "17"
    assert "anthropic-ratelimit-requests-reset" in head
    assert not {"anthropic-organization-id", "set-cookie"} & set(head)


def test_a_client_that_leaves_at_the_last_word_is_billed_by_usage_envoy_2563(
    stack: Stack, replay: Replay
) -> None:
    replay.exchange = {"status": 200, "stream": stream_of(usage(1_000, 1), {"output_tokens": 7})}
    body = {"model": f"anthropic/{HAIKU}", "max_tokens": 99, "stream": True,
            "messages": [{"role": "user", "content": "Hi"}]}  # fmt: skip
    with httpx2.stream(
        "POST", f"{stack.base_url}/messages", json=body, headers={"x-api-key": stack.key()}, timeout=60
    ) as answer:
        for line in answer.iter_lines():
            if line == "event: message_stop":
                break
        request_id = answer.headers["request-id"]
    event = stack.event(request_id)
    assert (event.usage_source, event.cost_nano) == ("provider", 1_000 * 1_000 + 7 * 5_000)
