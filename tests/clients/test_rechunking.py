"""However the network cuts a stream up: the same bytes and usage. Wherever it ends: its reader is told.

pytest tests/clients/test_rechunking.py -m "slow or not slow" -s
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from gateway.dialects import SURFACES
from gateway.forwarding.tap import StreamTap
from gateway.settings import ProviderSettings, Settings
from tests.clients.streams import USAGE, Sender, any_stream, cut_up, sending
from tests.stack import Stack, running_stack, wait_until

CHAT = SURFACES["chat.completions"]

RECHUNKINGS, FEW_RECHUNKINGS = 5_000, 800
ON_SOCKETS, FEW_ON_SOCKETS = 1_000, 60
STRIDE, FEW_STRIDE = 1, 53
RECORDED_BYTES = 3_000
RECORDINGS = Path(
    os.environ.get("TOLLKEEPER_RECORDINGS") or Path(__file__).parents[3] / "shared" / "recordings"
)
DOLLAR = 10**9


@pytest.mark.parametrize(
    "count", [FEW_RECHUNKINGS, pytest.param(RECHUNKINGS, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_rechunkings_give_the_same_bytes_and_usage(count: int) -> None:
    chance = random.Random(5)
    stripped = 0
    for number in range(count):
        stream = any_stream(chance)
        strip = chance.random() < 0.5
        tap = StreamTap(CHAT, strip_usage=strip)
        out = b"".join(tap.feed(piece) for piece in cut_up(stream.sent, chance)) + tap.end()
        tap.conclude()
        assert out == (stream.shown if strip else stream.sent), number
        assert tap.done, number
        assert tap.error is None
        whole = StreamTap(CHAT, strip_usage=strip)
        assert whole.feed(stream.sent) + whole.end() == out
        assert tap.reading.usage == whole.reading.usage
        assert tap.text() == stream.text, number
        if stream.usage_apart:
            assert tap.reading.usage is not None
            assert (tap.reading.usage.input_tokens, tap.reading.usage.output_tokens) == (9, 4)
            stripped += strip
    assert stripped > count // 20


# On real sockets


@pytest.fixture(scope="module")
def sender() -> Iterator[Sender]:
    with sending() as running:
        yield running


@pytest.fixture(scope="module")
def stack(sender: Sender) -> Iterator[Stack]:
    provider = ProviderSettings(base_url=f"http://127.0.0.1:{sender.port}/v1", prices="openai")
    with running_stack(Settings(providers={"openai": provider})) as started:
        yield started


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=60) as client:
        yield client


def ask(http: httpx2.Client, stack: Stack, secret: str, name: str, *, usage: bool) -> httpx2.Response:
    """A streamed request that is answered with the pieces of this name."""
    body: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "user": name,
    }
    if usage:
        body["stream_options"] = {"include_usage": True}
    return http.post(
        f"{stack.base_url}/chat/completions", json=body, headers={"Authorization": f"Bearer {secret}"}
    )


@pytest.mark.parametrize(
    "count", [FEW_ON_SOCKETS, pytest.param(ON_SOCKETS, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_rechunkings_on_real_sockets(stack: Stack, sender: Sender, http: httpx2.Client, count: int) -> None:
    chance = random.Random(6)
    streams = {f"case-{number}": any_stream(chance) for number in range(count)}
    sender.pieces = {name: cut_up(stream.sent, chance) for name, stream in streams.items()}
    secret = stack.key(limits={"month": 100 * DOLLAR})

    def one(name: str) -> str:
        wanted = name.endswith(tuple("02468"))
        answer = ask(http, stack, secret, name, usage=wanted)
        assert answer.status_code == 200
        assert answer.content == (streams[name].sent if wanted else streams[name].shown), name
        return answer.headers["x-request-id"]

    with ThreadPoolExecutor(8) as pool:
        ids = dict(zip(pool.map(one, streams), streams, strict=True))
    wait_until(lambda: stack.open_requests() == 0)
    events = [event for event in stack.events() if event.id in ids]
    assert len(events) == count
    for event in events:
        assert event.status == "succeeded"
        if streams[ids[event.id]].usage_apart:
            assert event.usage is not None
            assert event.usage["output_tokens"] == USAGE["completion_tokens"]


def recorded_stream() -> bytes:
    """The recorded stream of OpenAI's format whose length is nearest to 3 kB."""
    if not RECORDINGS.is_dir():
        pytest.skip("the recorded provider traffic is not here")
    found = []
    for line in (RECORDINGS / "openai.jsonl").read_bytes().splitlines():
        exchange = orjson.loads(line)
        if "/chat/completions" in exchange["path"] and "stream" in exchange:
            found.append(exchange["stream"].encode())
    return min(found, key=lambda stream: abs(len(stream) - RECORDED_BYTES))


@pytest.mark.parametrize(
    "stride", [FEW_STRIDE, pytest.param(STRIDE, marks=pytest.mark.slow)], ids=["some", "every"]
)
def test_a_recorded_stream_cut_at_its_bytes_is_whole_or_ends_in_an_error(
    stack: Stack, sender: Sender, http: httpx2.Client, stride: int
) -> None:
    recorded = recorded_stream()
    assert recorded.endswith(b"data: [DONE]\n\n")
    done_at = len(recorded)
    offsets = sorted({*range(0, len(recorded), stride), done_at - 1, done_at})
    names = {f"cut-{offset}": offset for offset in offsets}
    sender.pieces = {name: [recorded[:offset]] if offset else [] for name, offset in names.items()}
    sender.cut = set(names)
    secret = stack.key(limits={"month": 100 * DOLLAR})

    def one(name: str) -> tuple[str, str]:
        answer = ask(http, stack, secret, name, usage=True)
        request_id = answer.headers["x-request-id"]
        offset = names[name]
        if answer.status_code != 200:
            assert answer.json()["error"]["code"] == "upstream_error"
            assert b"\n\n" not in recorded[:offset], "a refusal only where nothing could be passed on"
            return request_id, "refused"
        if offset == done_at:
            assert answer.content == recorded[:offset]
            return request_id, "whole"
        passed, _, error = answer.content.rpartition(b"data: ")
        assert orjson.loads(error)["error"]["code"] == "upstream_error"
        assert b"[DONE]" not in answer.content
        # All bytes that came, an event that was begun among them.
        assert passed in (recorded[:offset], recorded[: recorded.rindex(b"\n\n", 0, offset) + 2])
        return request_id, "error event"

    with ThreadPoolExecutor(8) as pool:
        ends = dict(pool.map(one, names))
    sender.cut = set()
    wait_until(lambda: stack.open_requests() == 0)
    events = [event for event in stack.events() if event.id in ends]
    assert sorted(event.id for event in events) == sorted(ends), "exactly one event each"
    told = {"whole": "succeeded", "error event": "cut", "refused": "failed"}
    for event in events:
        assert event.status == told[ends[event.id]], event
    print(f"{len(names)} cuts in {len(recorded)} bytes: {sorted(set(ends.values()))}")
    assert set(ends.values()) == set(told)
