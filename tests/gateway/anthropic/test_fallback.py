"""A route whose first Anthropic target refuses or breaks off: who is asked next, and who pays for what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest

from gateway.settings import RouteSettings, Settings, TargetSettings
from simulator.process import Simulator
from tests.gateway.anthropic.conftest import DOLLAR, HAIKU, said, settings
from tests.gateway.replay import Replay
from tests.stack import Stack, running_stack

LARGER = "claude-opus-4-8"
BEGUN = {
    "type": "message_start",
    "message": {"model": HAIKU, "content": [], "usage": {"input_tokens": 50, "output_tokens": 2}},
}


@pytest.fixture
def stack(replay: Replay, simulator: Simulator) -> Iterator[Stack]:
    """A fresh gateway each time: circuits and credentials remember."""
    replay.extra = []
    first = settings(f"http://127.0.0.1:{replay.port}").providers["anthropic"]
    second = settings(simulator.root).providers["anthropic"]
    deaf = second.model_copy(update={"paths": {"chat.completions": "/chat/completions"}})
    targets = [TargetSettings(provider=name, model=model) for name, model in
               (("deaf", HAIKU), ("first", HAIKU), ("second", LARGER))]  # fmt: skip
    providers = {"deaf": deaf, "first": first, "second": second}
    with running_stack(
        Settings(providers=providers, routes={"smart": RouteSettings(targets=targets)})
    ) as started:
        yield started


def refusal(status: int, kind: str, message: str) -> dict[str, Any]:
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return {"status": status, "response": error}


def event(document: dict[str, Any]) -> str:
    return f"event: {document['type']}\ndata: {orjson.dumps(document).decode()}\n\n"


def ask(stack: Stack, secret: str, **fields: Any) -> httpx2.Response:
    body = {"model": "smart", "max_tokens": 60, "messages": said("Hello", "tokens=10"), **fields}
    return httpx2.post(f"{stack.base_url}/messages", json=body, headers={"x-api-key": secret}, timeout=60)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("exchange", "kinds"),
    [
        (refusal(529, "overloaded_error", "Overloaded"), ["primary", "retry", "fallback"]),
        (refusal(429, "rate_limit_error", "Too many."), ["primary", "fallback"]),
        (refusal(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
         ["primary", "fallback"]),
        (refusal(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
         ["primary", "fallback"]),
        (refusal(404, "not_found_error", "model: claude-haiku-4-5"), ["primary", "fallback"]),
    ],
    ids=["overloaded", "limited", "too long", "no money", "no such model"],
)  # fmt: skip
def test_a_refusal_that_another_target_may_not_share(
    stack: Stack,
    replay: Replay,
    simulator: Simulator,
    exchange: dict[str, Any],
    kinds: list[str],
    stream: bool,
) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    replay.exchange = exchange
    answer = ask(stack, secret, stream=stream)
    assert answer.status_code == 200
    assert (answer.headers["observe-provider"], answer.headers["observe-model"]) == ("second", LARGER)
    found = stack.event(answer.headers["request-id"])
    assert [attempt.kind for attempt in found.attempts] == kinds
    assert (found.status, found.cost_status, found.wasted_nano, found.doubted_nano) == (
        "succeeded", "priced", 0, 0,
    )  # fmt: skip
    (line,) = simulator.bill(found.id)["requests"]
    assert found.cost_nano == line["nano"]
    assert replay.asked["model"] == HAIKU


def test_what_is_the_callers_fault_is_told_in_the_providers_words(stack: Stack, replay: Replay) -> None:
    replay.exchange = refusal(400, "invalid_request_error", "messages.0: roles must alternate")
    answer = ask(stack, stack.key())
    assert (answer.status_code, answer.json()) == (400, replay.exchange["response"])
    found = stack.event(answer.headers["request-id"])
    assert [attempt.kind for attempt in found.attempts] == ["primary"]
    assert (found.cost_nano, found.cost_status) == (0, "free")


def test_an_overloaded_provider_that_says_so_at_the_beginning_of_a_stream(
    stack: Stack, replay: Replay, simulator: Simulator
) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    fault = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    replay.exchange = {"status": 200, "stream": event(fault)}
    answer = ask(stack, secret, stream=True)
    assert answer.headers["observe-provider"] == "second"
    assert b"overloaded" not in answer.content
    found = stack.event(answer.headers["request-id"])
    assert [attempt.kind for attempt in found.attempts] == ["primary", "fallback"]
    # What the first attempt cost is not known: an estimate, and doubt.
    assert found.cost_status == "estimated"
    (line,) = simulator.bill(found.id)["requests"]
    (row,) = stack.counters(secret).values()
    assert found.wasted_nano + line["nano"] == found.cost_nano == row["spent"]
    assert row["doubted"] > 0


def test_after_the_first_byte_there_is_no_other_target(stack: Stack, replay: Replay) -> None:
    replay.exchange = {"status": 200, "stream": event(BEGUN)}
    answer = ask(stack, stack.key(), stream=True)
    assert answer.text.startswith(event(BEGUN) + "event: error\n")
    found = stack.event(answer.headers["request-id"])
    assert [attempt.kind for attempt in found.attempts] == ["primary"]
    assert found.status == "cut"


def test_counting_tokens_takes_the_same_way(stack: Stack, replay: Replay, simulator: Simulator) -> None:
    replay.exchange = refusal(529, "overloaded_error", "Overloaded")
    body = {"model": "smart", "messages": said("Hello")}
    answer = httpx2.post(
        f"{stack.base_url}/messages/count_tokens", json=body, headers={"x-api-key": stack.key()}, timeout=60
    )
    assert answer.json()["input_tokens"] > 0
    found = stack.event(answer.headers["request-id"])
    assert [attempt.kind for attempt in found.attempts] == ["primary", "retry", "fallback"]
    assert (found.cost_nano, found.cost_status) == (0, "free")


def test_models_are_listed_for_those_who_can_ask_them(stack: Stack, replay: Replay) -> None:
    headers = {"x-api-key": stack.key()}
    versioned = {**headers, "anthropic-version": "2023-06-01"}
    listed = [httpx2.get(f"{stack.base_url}/models", headers=each, timeout=60).json()["data"]
              for each in (headers, versioned)]  # fmt: skip
    every, speaking = ({model["id"] for model in models} for models in listed)
    assert {"smart", HAIKU} <= every
    # The models' own names lead to the provider that was configured first, which knows no messages; for
    # these to the next one.
    assert {"smart", HAIKU} <= speaking
    replay.exchange = {"status": 200, "response": BEGUN["message"]}
    assert ask(stack, stack.key(), model=HAIKU).headers["observe-provider"] == "first"


def test_a_provider_of_another_dialect_alone_is_told_to_be_one(stack: Stack) -> None:
    answer = ask(stack, stack.key(), model=f"deaf/{HAIKU}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "surface_not_supported")
    chat = httpx2.post(
        f"{stack.base_url}/chat/completions",
        json={"model": f"second/{HAIKU}", "messages": [{"role": "user", "content": "Hi"}]},
        headers={"x-api-key": stack.key()},
        timeout=60,
    )
    assert (chat.status_code, chat.json()["error"]["code"]) == (400, "surface_not_supported")
