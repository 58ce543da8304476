"""A route with more than one target: what is tried next, what is not, and who pays for what."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx2
import orjson
import pytest

from budgets.names import names_of
from gateway.settings import ProviderSettings, RouteSettings, Settings, TargetSettings, TimeoutSettings
from metering.event import decode
from simulator.process import Simulator, start_simulator
from tests.stack import ACCOUNT, Stack, running_stack

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
    times = TimeoutSettings(connect_s=20, first_byte_s=20, idle_s=20, total_s=60)
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
    return httpx2.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def second() -> Iterator[Simulator]:
    with start_simulator() as started:
        yield started


def misbehave(text: str, directive: str, *spent: Simulator) -> dict[str, Any]:
    """A body that makes a provider misbehave, but not those that `spent` names: they have done it already."""
    body = {
        "messages": [{"role": "user", "content": text}],
        "metadata": {"simulate": directive},
    }
    times = int(directive.partition("times=")[2].split()[0])
    for provider in spent:
        for _ in range(times):
            with suppress(httpx2.HTTPError):
                httpx2.post(
                    f"{provider.base_url}/chat/completions",
                    json={"model": "gpt-4o", **body},
                    headers={"Authorization": "Bearer sk-x"},
                    timeout=60,
                )
    return body


def send(stack: Stack, secret: str, body: dict[str, Any], **fields: Any) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx2.post(
        f"{stack.base_url}/chat/completions",
        json={"model": "fast", **body, **fields},
        headers=headers,
        timeout=60,
    )


def billed(request_id: str, *providers: Simulator) -> int:
    """What the providers charge for one request, all attempts together."""
    return sum(row["nano"] for each in providers for row in each.bill(request_id)["requests"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_primary_that_fails_twice_is_followed_by_the_secondary(second: Simulator, stream: bool) -> None:
    with start_simulator() as first, running_stack(settings(first.base_url, second)) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        body = misbehave("Hello there.", f"status=500 times=2 id=a{stream} tokens=20", second)
        answer = send(stack, secret, body, stream=stream, max_tokens=50)
        assert answer.status_code == 200
        assert (answer.headers["observe-provider"], answer.headers["observe-attempts"]) == ("second", "3")
        event = stack.event(answer.headers["x-request-id"])
        assert [attempt.kind for attempt in event.attempts] == ["primary", "retry", "fallback"]
        assert [attempt.http_status for attempt in event.attempts] == [500, 500, 200]
        assert [attempt.cost_status for attempt in event.attempts] == ["free", "free", "priced"]
        assert event.cost_nano == billed(event.id, first, second) > 0
        assert (event.wasted_nano, event.doubted_nano) == (0, 0)
        (row,) = stack.counters(secret).values()
        assert row == {"spent": event.cost_nano, "reserved": 0, "doubted": 0}


@pytest.mark.parametrize("first_bytes", [0, 300], ids=["before its head", "before its first event"])
def test_a_primary_that_resets_before_its_first_event_is_followed_by_the_secondary(
    second: Simulator, first_bytes: int
) -> None:
    with start_simulator() as first, running_stack(settings(first.base_url, second)) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        directive = f"reset_after_bytes={first_bytes} times=1 id=b{first_bytes} tokens=20"
        body = misbehave("Hello there", directive, second)
        answer = send(stack, secret, body, stream=True, max_tokens=50)
        assert answer.status_code == 200
        assert b"[DONE]" in answer.content
        event = stack.event(answer.headers["x-request-id"])
        assert [attempt.kind for attempt in event.attempts] == ["primary", "fallback"]
        assert [attempt.status for attempt in event.attempts] == ["unknown", "succeeded"]
        assert (event.status, event.provider) == ("succeeded", "second")
        # The lost attempt was billed for its prompt; what it may have been billed above that stays in doubt.
        assert event.cost_nano == billed(event.id, first, second)
        assert event.wasted_nano == billed(event.id, first) > 0
        assert event.doubted_nano > 0
        (row,) = stack.counters(secret).values()
        assert row == {"spent": event.cost_nano, "reserved": 0, "doubted": event.doubted_nano}


def test_a_stream_that_is_cut_after_its_first_event_ends_with_an_error_event_and_no_fallback(
    second: Simulator,
) -> None:
    with start_simulator() as first, running_stack(settings(first.base_url, second)) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        body = misbehave("Hello there.", "close_after_chunks=20 times=1 id=c tokens=40", second)
        answer = send(stack, secret, body, stream=True, max_tokens=50)
        chunks = [
            orjson.loads(line[6:])
            for line in answer.content.splitlines()
            if line.startswith(b"data: ") and line != b"data: [DONE]"
        ]
        pieces = [
            choice["delta"]["content"]
            for chunk in chunks
            for choice in chunk.get("choices", ())
            if choice["delta"].get("content")
        ]
        assert len(pieces) == 20
        assert chunks[-1]["error"]["code"] == "upstream_error"
        assert b"[DONE]" not in answer.content
        event = stack.event(answer.headers["x-request-id"])
        assert [(attempt.kind, attempt.status) for attempt in event.attempts] == [("primary", "cut")]
        assert event.cost_status == "estimated"
        (row,) = stack.counters(secret).values()
        assert 0 < billed(event.id, first, second) <= row["spent"] + row["doubted"]
        assert row["reserved"] == 0


def test_an_answer_that_breaks_off_before_it_is_whole_is_followed_by_the_secondary(second: Simulator) -> None:
    with start_simulator() as first, running_stack(settings(first.base_url, second)) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        body = misbehave("Hello there.", "reset_after_bytes=500 times=1 id=whole tokens=20", second)
        answer = send(stack, secret, body, max_tokens=50)
        assert answer.status_code == 200
        event = stack.event(answer.headers["x-request-id"])
        assert [attempt.kind for attempt in event.attempts] == ["primary", "fallback"]
        (row,) = stack.counters(secret).values()
        assert event.cost_nano is not None
        assert event.cost_nano <= billed(event.id, first, second) <= row["spent"] + row["doubted"]


REFUSING_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: queued\n\n"
    b'data: {"error":{"message":"Overloaded, try later.","type":"server_error","code":"overloaded"}}\n\n'
)


@contextmanager
def answering(raw: bytes) -> Iterator[str]:
    """A provider that answers every request with these bytes and closes; gives its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    _read_request(connection)
                    connection.sendall(raw)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_an_error_as_the_first_event_of_a_stream_is_followed_by_the_secondary(second: Simulator) -> None:
    with answering(REFUSING_STREAM) as first, running_stack(settings(first, second)) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        answer = ask(stack, secret, "Hello.", stream=True, max_tokens=50)
        assert b'"error"' not in answer.content
        assert b"queued" not in answer.content
        assert b"[DONE]" in answer.content
        event = stack.event(answer.headers["x-request-id"])
        assert [attempt.error_class for attempt in event.attempts] == ["error_in_stream", None]
        assert event.attempts[0].status == "unknown"
        assert event.doubted_nano > 0


def test_an_error_as_the_first_event_is_the_callers_where_nothing_else_can_serve(second: Simulator) -> None:
    with answering(REFUSING_STREAM) as first, running_stack(settings(first, second)) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        answer = ask(stack, secret, "Hello.", model="first/gpt-4o-mini", stream=True, max_tokens=50)
        assert answer.content == REFUSING_STREAM.partition(b"\r\n\r\n")[2]
        event = stack.event(answer.headers["x-request-id"])
        assert (event.status, event.error_code) == ("cut", "error_in_stream")


def three_targets(primary: str, secondary: Simulator, *models: str) -> Settings:
    found = settings(primary, secondary)
    targets = [
        TargetSettings(provider="first" if n == 0 else "second", model=model)
        for n, model in enumerate(models)
    ]
    return found.model_copy(update={"routes": {"fast": RouteSettings(targets=targets)}})


def test_the_open_record_names_the_target_that_serves_and_not_one_that_is_passed_over(
    second: Simulator,
) -> None:
    """Should the worker vanish, its event is made from that record."""
    with running_stack(three_targets(second.base_url, second, "no-such-price", "gpt-4o")) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        body = {
            "model": "fast",
            "stream": True,
            "max_tokens": 400,
            "messages": [{"role": "user", "content": "Hello. [[simulate: tokens=300 pace_ms=50]]"}],
        }
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx2.stream(
            "POST", f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60
        ) as answer:
            request_id = answer.headers["x-request-id"]
            record = stack.redis.hget(names_of(ACCOUNT).open + request_id, "payload")
        known, closed = decode(record), stack.event(request_id)
        for event in (known, closed):
            assert (event.provider_requested, event.provider) == ("second", "second")
        assert known.model == "gpt-4o"


def test_a_prompt_that_is_too_long_goes_to_a_target_with_a_larger_window(second: Simulator) -> None:
    with start_simulator() as first:
        chosen = three_targets(first.base_url, second, "gpt-4o-mini", "gpt-4o", "gpt-4.1-mini")
        with running_stack(chosen) as stack:
            secret = stack.key(limits={"month": DOLLAR})
            body = misbehave(
                "Hello there.", "status=400 code=context_length_exceeded times=1 id=long tokens=20", second
            )
            answer = send(stack, secret, body, max_tokens=50)
            assert answer.status_code == 200
            event = stack.event(answer.headers["x-request-id"])
            # gpt-4o has the same window as gpt-4o-mini, so it is passed over.
            assert [attempt.model for attempt in event.attempts] == ["gpt-4o-mini", "gpt-4.1-mini-2025-04-14"]
            assert event.cost_nano == billed(event.id, first, second)


def test_a_prompt_that_is_too_long_everywhere_is_the_callers_to_mend(second: Simulator) -> None:
    with start_simulator() as first:
        chosen = three_targets(first.base_url, second, "gpt-4o-mini", "gpt-4o")
        with running_stack(chosen) as stack:
            body = misbehave(
                "Hello there.", "status=400 code=context_length_exceeded times=1 id=all tokens=20"
            )
            answer = send(stack, stack.key(limits={"month": DOLLAR}), body, max_tokens=50)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "context_length_exceeded"
            assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("allowed", [True, False])
def test_a_content_policy_leads_to_the_next_target_where_the_route_says_so(
    second: Simulator, allowed: bool
) -> None:
    with start_simulator() as first:
        chosen = three_targets(first.base_url, second, "gpt-4o-mini", "gpt-4o")
        if not allowed:
            route = chosen.routes["fast"].model_copy(update={"fallback_on": ["server_error"]})
            chosen = chosen.model_copy(update={"routes": {"fast": route}})
        with running_stack(chosen) as stack:
            directive = f"status=400 code=content_filter times=1 id=policy{allowed} tokens=20"
            body = misbehave("Hello there.", directive, second)
            answer = send(stack, stack.key(limits={"month": DOLLAR}), body, max_tokens=50)
            assert answer.status_code == (200 if allowed else 400)
            event = stack.event(answer.headers["x-request-id"])
            assert len(event.attempts) == (2 if allowed else 1)


def test_a_fallback_five_times_dearer_on_a_nearly_spent_key_is_passed_over_for_the_next(
    second: Simulator,
) -> None:
    with start_simulator() as first:
        chosen = three_targets(first.base_url, second, "gpt-4o-mini", "gpt-4o", "gpt-4.1-nano")
        with running_stack(chosen) as stack:
            secret = stack.key(limits={"month": 500_000})
            body = misbehave("Hello there.", "status=500 times=2 id=near tokens=20", second)
            answer = send(stack, secret, body, max_tokens=200)
            assert answer.status_code == 200
            event = stack.event(answer.headers["x-request-id"])
            assert [attempt.kind for attempt in event.attempts] == ["primary", "retry", "fallback"]
            assert event.attempts[-1].model == "gpt-4.1-nano-2025-04-14"
            assert event.cost_nano == billed(event.id, first, second)
            (row,) = stack.counters(secret).values()
            assert row == {"spent": event.cost_nano, "reserved": 0, "doubted": 0}


def test_after_a_lost_attempt_a_fallback_that_cannot_be_held_beside_it_is_not_tried(
    second: Simulator,
) -> None:
    with start_simulator() as first:
        chosen = three_targets(first.base_url, second, "gpt-4o-mini", "gpt-4o-mini")
        with running_stack(chosen) as stack:
            # One such answer fits, two do not: the lost one may have been billed in full.
            secret = stack.key(limits={"month": 250_000})
            body = misbehave("Hello there.", "reset_after_bytes=0 times=1 id=beside tokens=20", second)
            answer = send(stack, secret, body, max_tokens=200)
            assert answer.status_code == 502
            event = stack.event(answer.headers["x-request-id"])
            assert [attempt.kind for attempt in event.attempts] == ["primary"]
            (row,) = stack.counters(secret).values()
            assert billed(event.id, first, second) <= row["spent"] + row["doubted"] <= 250_000


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
