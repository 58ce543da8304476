"""A route with more than one target: what is tried next, what is not, and who pays for what."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from gateway.settings import ProviderSettings, RouteSettings, Settings, TargetSettings, TimeoutSettings
from simulator.process import Simulator, start_simulator
from tests.stack import Stack, running_stack

DOLLAR = 10**9
ANSWER = (
    b'{"model":"gpt-4o","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}'
)


class Fickle:
    """A provider that answers some requests, then drops the connection unanswered and listens no more."""

    def __init__(self, listener: socket.socket, answers: int) -> None:
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._answers = answers

    def serve(self) -> None:
        raw, _ = self._listener.accept()
        with raw:
            for _ in range(self._answers):
                _read_request(raw)
                raw.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                    % (len(ANSWER), ANSWER)
                )
            _read_request(raw)
            self._listener.close()


def _read_request(raw: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += raw.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < int(lengths[0].split(b":")[1]):
        body += raw.recv(65_536)


@contextmanager
def fickle(answers: int) -> Iterator[Fickle]:
    listener = socket.create_server(("127.0.0.1", 0))
    provider = Fickle(listener, answers)
    thread = threading.Thread(target=provider.serve, daemon=True)
    thread.start()
    yield provider
    listener.close()
    thread.join(5)


def settings(primary: str, secondary: Simulator) -> Settings:
    times = TimeoutSettings(connect_s=1, first_byte_s=2, idle_s=2, total_s=10)
    return Settings(
        providers={
            "first": ProviderSettings(base_url=primary, api_key="sk-1", prices="openai", timeouts=times),  # type: ignore[arg-type]
            "second": ProviderSettings(
                base_url=secondary.base_url,
                api_key="sk-2",
                prices="openai",
                timeouts=times,  # type: ignore[arg-type]
            ),
        },
        routes={
            "fast": RouteSettings(
                targets=[
                    TargetSettings(provider="first", model="gpt-4o-mini"),
                    TargetSettings(provider="second", model="gpt-4o"),
                ]
            )
        },
    )


def ask(stack: Stack, secret: str, text: str, **fields: Any) -> httpx2.Response:
    body = {"model": "fast", "messages": [{"role": "user", "content": text}], **fields}
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx2.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=10)


@pytest.fixture(scope="module")
def second() -> Iterator[Simulator]:
    with start_simulator() as started:
        yield started


@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_primary_is_followed_by_the_next_target_and_only_that_one_is_paid(
    second: Simulator, stream: bool
) -> None:
    with start_simulator() as first, running_stack(settings(first.base_url, second)) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        text = "Hello. [[simulate: status=500 times=1 id=both]]"
        second.reset()
        # The directive fails the first call that carries it at either provider: both are asked, then again.
        ask(stack, secret, text)
        answer = ask(stack, secret, "Hello. [[simulate: tokens=9]]", stream=stream)
        assert answer.status_code == 200
        failed = stack.events()[0]
        assert [attempt.kind for attempt in failed.attempts] == ["primary", "fallback"]
        assert [attempt.http_status for attempt in failed.attempts] == [500, 500]
        assert (failed.status, failed.cost_nano) == ("failed", 0)
        served = stack.event(answer.headers["x-request-id"])
        assert (served.provider, len(served.attempts)) == ("first", 1)
    with start_simulator() as first, running_stack(settings("http://127.0.0.1:1/v1", second)) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        answer = ask(stack, secret, "Hello. [[simulate: tokens=9]]", stream=stream)
        assert answer.status_code == 200
        assert (answer.headers["observe-provider"], answer.headers["observe-attempts"]) == ("second", "2")
        event = stack.event(answer.headers["x-request-id"])
        assert [attempt.kind for attempt in event.attempts] == ["primary", "fallback"]
        assert [attempt.cost_status for attempt in event.attempts] == ["free", "priced"]
        assert event.cost_nano == second.bill(event.id)["requests"][0]["nano"]
        assert (event.wasted_nano, event.doubted_nano) == (0, 0)
        (row,) = stack.counters(secret).values()
        assert row["spent"] == event.cost_nano
        assert row["reserved"] == 0


def test_a_dearer_fallback_that_does_not_fit_is_passed_over(second: Simulator) -> None:
    with running_stack(settings("http://127.0.0.1:1/v1", second)) as stack:
        # Enough for the cheap first target, not for the dear one behind it.
        secret = stack.key(limits={"month": 500_000})
        second.reset()
        answer = ask(stack, secret, "Hello.", max_tokens=200)
        assert answer.status_code == 502
        event = stack.event(answer.headers["x-request-id"])
        assert [attempt.provider for attempt in event.attempts] == ["first"]
        assert (event.cost_nano, event.doubted_nano) == (0, 0)
        (row,) = stack.counters(secret).values()
        assert row == {"spent": 0, "reserved": 0, "doubted": 0}


def test_a_dearer_fallback_is_held_for_before_it_is_tried(second: Simulator) -> None:
    with running_stack(settings("http://127.0.0.1:1/v1", second)) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        answer = ask(stack, secret, "Hello. [[simulate: tokens=200]]", max_tokens=200)
        assert answer.headers["observe-provider"] == "second"
        event = stack.event(answer.headers["x-request-id"])
        assert event.held_nano is not None
        assert event.cost_nano is not None
        assert event.cost_nano == second.bill(event.id)["requests"][0]["nano"]
        assert event.cost_nano > 0
        (row,) = stack.counters(secret).values()
        assert row == {"spent": event.cost_nano, "reserved": 0, "doubted": 0}
        # The cheap first target's ceiling was held first: it alone would not have covered the answer.
        assert event.held_nano >= event.cost_nano


def test_without_a_named_maximum_a_dearer_fallback_answers_within_what_is_left(second: Simulator) -> None:
    with running_stack(settings("http://127.0.0.1:1/v1", second)) as stack:
        secret = stack.key(limits={"month": 12_000_000})
        answer = ask(stack, secret, "Hello. [[simulate: tokens=5000]]")
        assert answer.status_code == 200
        event = stack.event(answer.headers["x-request-id"])
        assert event.provider == "second"
        assert event.truncated_by == "gateway"
        assert event.cost_nano == second.bill(event.id)["requests"][0]["nano"]
        (row,) = stack.counters(secret).values()
        assert row["spent"] <= 12_000_000
        assert (row["reserved"], row["doubted"]) == (0, 0)


def test_a_lost_attempt_stays_in_doubt_when_another_target_serves(second: Simulator) -> None:
    with (
        fickle(answers=1) as provider,
        running_stack(settings(f"http://127.0.0.1:{provider.port}/v1", second)) as stack,
    ):
        secret = stack.key(limits={"month": DOLLAR})
        assert ask(stack, secret, "Hello.", max_tokens=50).headers["observe-provider"] == "first"
        answer = ask(stack, secret, "Hello again.", max_tokens=50)
        assert answer.status_code == 200
        assert answer.headers["observe-provider"] == "second"
        event = stack.event(answer.headers["x-request-id"])
        assert [attempt.kind for attempt in event.attempts] == ["primary", "reconnect", "fallback"]
        assert [attempt.cost_status for attempt in event.attempts] == ["estimated", "free", "priced"]
        assert event.wasted_nano == event.attempts[0].cost_nano
        assert event.doubted_nano > 0
        assert event.cost_upper_nano is not None
        assert event.cost_nano is not None
        assert event.cost_upper_nano > event.cost_nano
        (row,) = stack.counters(secret).values()
        assert (row["reserved"], row["doubted"]) == (0, event.doubted_nano)
