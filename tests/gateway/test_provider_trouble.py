"""A provider in trouble under load: how often it is asked, when it is set aside, when it is back. And several
credentials and regions of one provider."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from gateway.settings import (
    CircuitSettings,
    KeySettings,
    ProviderSettings,
    RegionSettings,
    RetrySettings,
    RouteSettings,
    Settings,
    TargetSettings,
)
from tests.stack import Stack, running_stack

DOLLAR = 10**9
ANSWER = (
    b'{"model":"gpt-4o-mini","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}'
)


@dataclass
class Moody:
    """A provider whose mood a test sets: one status for all, or one for each credential."""

    status: int = 200
    by_key: dict[str, int] = field(default_factory=dict)
    extra: bytes = b""
    failing_s: float = 0.0
    asked: list[tuple[float, str, int]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def answer(self, reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reading.readuntil(b"\r\n\r\n")).lower()
                await reading.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
                key = head.partition(b"bearer ")[2].split(b"\r\n")[0].decode()
                status = self.by_key.get(key, self.status)
                self.asked.append((time.monotonic(), key, status))
                if status != 200 and self.failing_s:
                    await asyncio.sleep(self.failing_s)
                body = ANSWER if status == 200 else b'{"error":{"message":"no"}}'
                extra = self.extra if status != 200 else b""
                writing.write(
                    b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s"
                    % (status, extra, len(body), body)
                )
                await writing.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writing.close()

    def statuses(self, key: str | None = None) -> Counter[int]:
        return Counter(status for _, asked, status in self.asked if key in (None, asked))


@contextmanager
def moody(**mood: Any) -> Iterator[Moody]:
    provider, ready, stop = Moody(**mood), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        server = await asyncio.start_server(provider.answer, "127.0.0.1", 0, backlog=512)
        provider.port = server.sockets[0].getsockname()[1]
        loops.append(asyncio.get_running_loop())
        ready.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(60)
    yield provider
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(10)


def provider(url: str, **more: Any) -> ProviderSettings:
    return ProviderSettings.model_validate({"base_url": url, "api_key": "sk-1", "prices": "openai"} | more)


def settings(first: Moody, second: Moody | None = None, **more: Any) -> Settings:
    providers = {"first": provider(first.url, **more)}
    if second is not None:
        providers["second"] = provider(second.url)
    targets = [TargetSettings(provider=name, model="gpt-4o-mini") for name in providers]
    return Settings(providers=providers, routes={"fast": RouteSettings(targets=targets)})


async def load(stack: Stack, secret: str, *, rate: float, seconds: float) -> list[tuple[float, int]]:
    """(moment, status) of requests that begin at an even rate, whatever becomes of them."""
    found: list[tuple[float, int]] = []
    limits = httpx2.Limits(max_connections=300)
    async with httpx2.AsyncClient(timeout=60, limits=limits) as client:

        async def one() -> None:
            answer = await client.post(
                f"{stack.base_url}/chat/completions",
                json={"model": "fast", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
                headers={"Authorization": f"Bearer {secret}"},
            )
            found.append((time.monotonic(), answer.status_code))

        started, tasks = time.monotonic(), []
        for n in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, started + n / rate - time.monotonic()))
            tasks.append(asyncio.create_task(one()))
        await asyncio.gather(*tasks)
    return found


def word(stack: Stack, name: str) -> str:
    """What the board says of a target now."""
    board = stack.gateway.board
    return board.word(board.place(name))


def test_a_provider_that_answers_only_503_is_asked_little_more_often_than_there_are_requests() -> None:
    with moody(status=503) as first, running_stack(settings(first)) as stack:
        secret = stack.key()
        answers = asyncio.run(load(stack, secret, rate=100, seconds=4))
        assert Counter(status for _, status in answers) == {502: 400}
        assert len(first.asked) <= 1.2 * 400
        assert word(stack, "first/gpt-4o-mini") in ("open", "half-open")


def test_without_a_circuit_the_retry_budget_alone_keeps_attempts_down() -> None:
    never = CircuitSettings(failures=1_000, percent=100)
    with (
        moody(status=503) as first,
        running_stack(settings(first, circuit=never, retries=RetrySettings(attempts=3, base_ms=1))) as stack,
    ):
        secret = stack.key()
        asyncio.run(load(stack, secret, rate=100, seconds=4))
        assert word(stack, "first/gpt-4o-mini") == "closed"
        # What an idle worker has saved up comes once on top.
        assert 400 < len(first.asked) <= 1.2 * 400 + 10


def test_a_target_in_trouble_is_set_aside_within_a_second_and_comes_back_when_it_is_well() -> None:
    quick = CircuitSettings(open_s=0.5, open_max_s=1.0)
    with (
        moody(status=503) as first,
        moody() as second,
        running_stack(settings(first, second, circuit=quick)) as stack,
    ):
        secret = stack.key(limits={"month": DOLLAR})
        name = "first/gpt-4o-mini"
        answers = asyncio.run(load(stack, secret, rate=100, seconds=3))
        assert {status for _, status in answers} == {200}
        fifth = first.asked[4][0]
        late = [moment for moment, _, _ in first.asked if moment > fifth + 1.0]
        # From then on only trials, one at a time and half a second apart at least.
        assert len(late) <= 4 + 2 * (first.asked[-1][0] - fifth)
        assert len(first.asked) <= 1.2 * 300
        first.status = 200
        recovered = time.monotonic()
        asyncio.run(load(stack, secret, rate=50, seconds=8))
        assert word(stack, name) == "closed"
        back = [moment - recovered for moment, _, status in first.asked if status == 200]
        others = [moment - recovered for moment, _, _ in second.asked]
        assert back

        def share(since_s: float, until_s: float) -> float:
            """Of the requests in that span, the share of those that came back."""
            here, there = (sum(since_s <= at < until_s for at in each) for each in (back, others))
            return here / (here + there)

        # They come back bit by bit: few in the first second, most in the last.
        assert share(back[0], back[0] + 1) < 0.75
        assert share(back[-1] - 1, back[-1]) > 0.7
        events = stack.events()
        assert all(event.status == "succeeded" for event in events)
        assert sum(event.wasted_nano for event in events) == 0


@pytest.mark.slow
def test_a_minute_of_503_at_100_requests_a_second_and_the_recovery_after_it() -> None:
    with moody(status=503) as first, moody() as second, running_stack(settings(first, second)) as stack:
        secret = stack.key(limits={"month": DOLLAR})
        name = "first/gpt-4o-mini"
        asyncio.run(load(stack, secret, rate=100, seconds=60))
        assert len(first.asked) + len(second.asked) <= 1.2 * 6_000
        fifth = first.asked[4][0]
        assert sum(1 for moment, _, _ in first.asked if moment > fifth + 1.0) <= 20
        first.status = 200
        recovered = time.monotonic()
        while word(stack, name) != "closed":
            asyncio.run(load(stack, secret, rate=100, seconds=1))
            assert time.monotonic() - recovered <= 35


@pytest.mark.slow
def test_a_minute_of_503_where_nothing_else_can_serve() -> None:
    with moody(status=503) as first, running_stack(settings(first)) as stack:
        secret = stack.key()
        asyncio.run(load(stack, secret, rate=100, seconds=60))
        assert len(first.asked) <= 1.2 * 6_000
        first.status = 200
        recovered = time.monotonic()
        answers = asyncio.run(load(stack, secret, rate=100, seconds=1))
        assert {status for _, status in answers} == {200}
        while word(stack, "first/gpt-4o-mini") != "closed":
            asyncio.run(load(stack, secret, rate=100, seconds=1))
            assert time.monotonic() - recovered <= 35


def ask(stack: Stack, secret: str) -> httpx2.Response:
    return httpx2.post(
        f"{stack.base_url}/chat/completions",
        json={"model": "fast", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
        headers={"Authorization": f"Bearer {secret}"},
        timeout=60,
    )


@pytest.mark.parametrize("asked", [b"retry-after: 1\r\n", b"retry-after-ms: 700\r\n"])
def test_retry_after_is_waited_for_where_nothing_else_can_serve(asked: bytes) -> None:
    with moody(status=429, extra=asked) as first, running_stack(settings(first)) as stack:
        secret = stack.key()

        def recover() -> None:
            while not first.asked:
                time.sleep(0.01)
            first.status = 200

        threading.Thread(target=recover, daemon=True).start()
        started = time.monotonic()
        answer = ask(stack, secret)
        assert answer.status_code == 200
        assert time.monotonic() - started >= 0.7
        event = stack.event(answer.headers["x-request-id"])
        assert [attempt.kind for attempt in event.attempts] == ["primary", "retry"]


def test_a_retry_after_that_is_too_long_goes_to_the_client() -> None:
    with moody(status=429, extra=b"retry-after: 30\r\n") as first, running_stack(settings(first)) as stack:
        answer = ask(stack, stack.key())
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
        assert len(first.asked) == 1


def test_a_rate_limited_target_is_left_alone_for_as_long_as_it_asks() -> None:
    with (
        moody(status=429, extra=b"retry-after: 5\r\n") as first,
        moody() as second,
        running_stack(settings(first, second)) as stack,
    ):
        secret = stack.key()
        started = time.monotonic()
        for _ in range(5):
            assert ask(stack, secret).headers["observe-provider"] == "second"
        assert len(first.asked) == 1
        first.status = 200
        while ask(stack, secret).headers["observe-provider"] == "second":
            assert time.monotonic() - started < 60
        assert time.monotonic() - started >= 5


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_credential_that_is_refused_is_set_aside_and_another_one_serves(status: int) -> None:
    keys = [KeySettings(api_key="good"), KeySettings(api_key="bad", weight=1_000)]  # type: ignore[arg-type]
    extra = b"retry-after: 30\r\n" if status == 429 else b""
    with (
        moody(by_key={"bad": status}, extra=extra) as first,
        running_stack(settings(first, api_key=None, api_keys=keys)) as stack,
    ):
        secret = stack.key()
        answers = [ask(stack, secret) for _ in range(10)]
        assert {answer.status_code for answer in answers} == {200}
        assert first.statuses("bad") == {status: 1}
        assert first.statuses("good") == {200: 10}
        kinds = [[attempt.kind for attempt in event.attempts] for event in stack.events()]
        assert kinds.count(["primary", "retry"]) == 1


def test_several_credentials_share_the_requests_by_weight() -> None:
    keys = [KeySettings(api_key="one", weight=3), KeySettings(api_key="two")]  # type: ignore[arg-type]
    with moody() as first, running_stack(settings(first, api_key=None, api_keys=keys)) as stack:
        asyncio.run(load(stack, stack.key(), rate=200, seconds=2))
        share = first.statuses("one")[200] / 400
        assert 0.65 < share < 0.85


def test_a_region_on_trial_is_tried_by_one_request_at_a_time() -> None:
    quick = CircuitSettings(open_s=0.5, open_max_s=0.5)
    # It takes long to fail, so that requests which did not wait for the trial would pile up behind it.
    with moody(status=503, failing_s=0.3) as west, moody() as east:
        regions = [RegionSettings(base_url=west.url, weight=1_000), RegionSettings(base_url=east.url)]
        with running_stack(settings(west, base_url="", regions=regions, circuit=quick)) as stack:
            answers = asyncio.run(load(stack, stack.key(), rate=100, seconds=5))
            assert {status for _, status in answers} == {200}
            fifth = west.asked[4][0]
            # What was on its way when the fifth had failed has arrived two seconds later.
            trials = [moment for moment, _, _ in west.asked if moment > fifth + 2.0]
            # A trial takes 0.3 s, and half a second passes before the next one.
            lasted_s = west.asked[-1][0] - fifth
            assert 1 <= len(trials) <= 1 + lasted_s / 0.6


def test_when_one_region_fails_the_other_serves_and_the_first_is_set_aside() -> None:
    with moody(status=503) as west, moody() as east:
        regions = [
            RegionSettings(base_url=west.url, weight=1_000),
            RegionSettings(base_url=east.url, api_key="east's own"),  # type: ignore[arg-type]
        ]
        chosen = settings(west, base_url="", regions=regions)
        with running_stack(chosen) as stack:
            secret = stack.key(limits={"month": DOLLAR})
            answers = asyncio.run(load(stack, secret, rate=100, seconds=3))
            assert {status for _, status in answers} == {200}
            # Set aside after five failures; what was on its way by then has still arrived, and no more.
            assert len(west.asked) < len(answers) // 2
            assert east.statuses("east's own")[200] == 300
            assert west.statuses("sk-1") == west.statuses()
            (row,) = stack.counters(secret).values()
            assert row["doubted"] == 0
