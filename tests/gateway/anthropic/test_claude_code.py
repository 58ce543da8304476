"""Traffic shaped as Claude Code's: many tools, a long cached prefix, streams, counts, thinking between calls.

Several sessions run at once, each on a key with a hard limit. Between gateway and provider stands a relay, so
that what the client got can be compared with what the provider sent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson
import pytest

from simulator.process import Simulator
from tests.gateway.anthropic.conftest import DOLLAR, HAIKU, settings
from tests.gateway.anthropic.relay import Relay, relay_to
from tests.stack import Stack, running_stack, wait_until

SESSIONS, TURNS = 6, 3
MODEL = "claude-opus-4-8"
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
    "x-app": "cli",
    "user-agent": "claude-cli/2.1.0 (external, cli)",
    "x-stainless-retry-count": "0",
    "x-stainless-lang": "js",
}
KEPT = {"type": "ephemeral"}


def tools() -> list[dict[str, Any]]:
    """30 tools with schemas of some size; the last one ends the first prefix that is cached."""
    shape = {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "An absolute path, never a relative one."},
            "limit": {"type": "integer", "description": "How many lines at most."},
            "why": {"type": "string", "description": "What this is needed for, in a few words."},
        },
        "required": ["path"],
        "additionalProperties": False,
    }
    found: list[dict[str, Any]] = [
        {"name": f"tool_{number}", "description": f"Does thing {number}. " * 12, "input_schema": shape}
        for number in range(30)
    ]
    found[-1]["cache_control"] = KEPT
    return found


@dataclass
class Session:
    """One session: its conversation, and the ids of all its requests."""

    name: str
    secret: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    answers: list[tuple[str, str, bytes]] = field(default_factory=list)
    """(request id, the provider's id, body) of each message."""

    def body(self) -> dict[str, Any]:
        """The next request: the latest message ends what is cached."""
        *earlier, last = self.messages
        *before, block = last["content"]
        marked = {**last, "content": [*before, {**block, "cache_control": KEPT}]}
        rules = {"type": "text", "text": "Work with care. " * 700, "cache_control": KEPT}
        return {
            "model": MODEL,
            "system": [{"type": "text", "text": "You are a careful engineer."}, rules],
            "tools": tools(),
            "messages": [*earlier, marked],
            "metadata": {"user_id": f"user_{self.name}"},
            "thinking": {"type": "enabled", "budget_tokens": 6_000},
        }

    async def turn(self, http: httpx2.AsyncClient) -> None:
        """Count the prompt, ask for a streamed message, and answer the tool that it calls."""
        body = self.body()
        counted = await http.post("/messages/count_tokens?beta=true", json=body, headers=self.headers)
        self.counts.append(counted.headers["request-id"])
        # Between calls of tools a budget may be larger than one answer's maximum.
        asked = {**body, "max_tokens": 4_000, "stream": True}
        answer = await http.post("/messages?beta=true", json=asked, headers=self.headers)
        assert answer.status_code == 200, answer.text
        self._keep(answer)
        usage = used(answer.content)
        assert counted.json() == {"input_tokens": sum(usage.get(name, 0) for name in INPUT)}
        content = blocks_of(answer.content)
        self.messages.append({"role": "assistant", "content": content})
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": f"Line 1 of {self.name}\n" * 40}
            for block in content
            if block["type"] == "tool_use"
        ]
        more = {"type": "text", "text": "And now the next file, please. [[simulate: tokens=30]]"}
        self.messages.append({"role": "user", "content": results or [more]})

    async def aside(self, http: httpx2.AsyncClient) -> None:
        """What is asked beside the conversation, of a smaller model, at the same time."""
        body = {"model": HAIKU, "max_tokens": 32, "stream": False, "system": "Name the topic.",
                "messages": [{"role": "user", "content": f"The files of {self.name}"}]}  # fmt: skip
        self._keep(await http.post("/messages?beta=true", json=body, headers=self.headers))

    def _keep(self, answer: httpx2.Response) -> None:
        head = answer.headers
        self.answers.append((head["request-id"], head["x-upstream-request-id"], answer.content))

    @property
    def headers(self) -> dict[str, str]:
        return {**HEADERS, "authorization": f"Bearer {self.secret}"}


INPUT = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def events_of(stream: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: ")]


def used(body: bytes) -> dict[str, Any]:
    """The usage that an answer ends with, by this file's own reading."""
    if not body.startswith(b"event:"):
        return dict(orjson.loads(body)["usage"])
    usage: dict[str, Any] = {}
    for event in events_of(body):
        usage |= (event.get("message") or event).get("usage") or {}
    return usage


def blocks_of(stream: bytes) -> list[dict[str, Any]]:
    """The blocks of a streamed message, put together as a client does it."""
    blocks: list[dict[str, Any]] = []
    parts: list[str] = []
    for event in events_of(stream):
        if event["type"] == "content_block_start":
            blocks.append({**event["content_block"]})
            parts = []
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            if delta["type"] == "input_json_delta":
                parts.append(delta["partial_json"])
            for name in ("text", "thinking", "signature"):
                if name in delta:
                    blocks[-1][name] += delta[name]
        elif event["type"] == "content_block_stop" and blocks[-1]["type"] == "tool_use":
            blocks[-1]["input"] = orjson.loads("".join(parts) or "{}")
    return blocks


@pytest.fixture(scope="module")
def relay(simulator: Simulator) -> Iterator[Relay]:
    with relay_to(simulator.host, simulator.port) as started:
        yield started


@pytest.fixture(scope="module")
def stack(relay: Relay) -> Iterator[Stack]:
    with running_stack(settings(f"http://127.0.0.1:{relay.port}")) as started:
        yield started


@pytest.fixture(scope="module")
def sessions(stack: Stack) -> list[Session]:
    """All sessions, after all their turns."""
    found = [Session(f"s{number}", stack.key(limits={"month": 50 * DOLLAR})) for number in range(SESSIONS)]

    async def one(session: Session, http: httpx2.AsyncClient) -> None:
        text = {"type": "text", "text": f"Look at the files of {session.name}."}
        session.messages.append({"role": "user", "content": [text]})
        for _ in range(TURNS):
            await asyncio.gather(session.turn(http), session.aside(http))

    async def all_of_them() -> None:
        async with httpx2.AsyncClient(base_url=stack.base_url, timeout=120) as http:
            await one(found[0], http)  # fills the cache that the others share
            await asyncio.gather(*(one(session, http) for session in found[1:]))

    asyncio.run(all_of_them())
    wait_until(lambda: stack.open_requests() == 0)
    return found


def test_every_byte_of_every_answer_reached_the_client_as_it_was_sent(
    sessions: list[Session], relay: Relay
) -> None:
    sent = relay.bodies()
    answers = [answer for session in sessions for answer in session.answers]
    assert len(answers) == SESSIONS * TURNS * 2
    for _, provider_id, body in answers:
        assert body == sent[provider_id]
    thought = [block["type"] for session in sessions for message in session.messages
               for block in message["content"] if message["role"] == "assistant"]  # fmt: skip
    assert thought.count("thinking") == SESSIONS * TURNS
    assert thought.count("tool_use") >= SESSIONS


def test_each_request_left_one_event_with_its_usage_at_the_providers_bill(
    sessions: list[Session], stack: Stack, simulator: Simulator
) -> None:
    events = {event.id: event for event in stack.events()}
    assert len(events) == len(stack.events()) == SESSIONS * TURNS * 3
    units: Counter[str] = Counter()
    for session in sessions:
        spent = 0
        for request_id, _, body in session.answers:
            event, usage = events[request_id], used(body)
            assert (event.status, event.outcome, event.cost_status) == ("succeeded", "success", "priced")
            assert event.usage is not None
            assert event.usage["input_tokens"] == sum(usage.get(name, 0) for name in INPUT)
            assert event.usage["output_tokens"] == usage["output_tokens"]
            assert event.usage.get("cache_read_input_tokens", 0) == usage["cache_read_input_tokens"]
            (line,) = simulator.bill(request_id)["requests"]
            assert event.cost_nano == line["nano"]
            units.update({row["unit"]: row["quantity"] for row in event.breakdown})
            spent += line["nano"]
        for request_id in session.counts:
            assert (events[request_id].cost_nano, events[request_id].cost_status) == (0, "free")
        (row,) = stack.counters(session.secret).values()
        assert row == {"spent": spent, "reserved": 0, "doubted": 0}
    assert units["cache_write_5m_input_tokens"] > 5_000
    assert units["cache_read_input_tokens"] > 10 * units["cache_write_5m_input_tokens"]


def test_the_totals_are_the_bills(sessions: list[Session], stack: Stack, simulator: Simulator) -> None:
    assert sessions
    assert sum(event.cost_nano or 0 for event in stack.events()) == simulator.total_nano()
