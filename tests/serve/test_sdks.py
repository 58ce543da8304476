"""Each official SDK, changed as docs/surfaces.md says and no further, against `serve` as it starts."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.simulated import NAME
from metering.event import CostEvent
from metering.eventstore import EventStore

from .conftest import WITHIN_S, Installation, Make
from .test_serve import first_key

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and relies on death signals"),
    pytest.mark.wide,
]

PAGE = Path(__file__).parents[2] / "docs" / "surfaces.md"
ADDRESS, TLS_ADDRESS, KEY = "http://127.0.0.1:8787", "https://your.gateway", "obs_..."
HI: Any = [{"role": "user", "content": "Hello. [[simulate: tokens=12]]"}]
CLAUDE = "claude-haiku-4-5"
NOVA = "us.amazon.nova-micro-v1:0"


def openai(client: Any) -> str:
    asked: Any = {"model": "gpt-4o-mini", "messages": HI}
    assert client.chat.completions.create(**asked).choices[0].message.content
    assert client.responses.create(model="gpt-5-nano", input="Hello.").output_text
    assert client.embeddings.create(model="text-embedding-3-small", input="Hello").data[0].embedding
    assert "claude-haiku-4-5" in [each.id for each in client.models.list()]
    chunks = list(client.chat.completions.create(**asked, stream=True))
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def anthropic(client: Any) -> str:
    asked: Any = {"model": CLAUDE, "max_tokens": 50, "messages": HI}
    assert client.messages.create(**asked).content[0].text
    assert client.messages.count_tokens(model=CLAUDE, messages=HI).input_tokens > 0
    with client.messages.stream(**asked) as stream:
        return str(stream.get_final_text())


def vertex(client: Any) -> str:
    asked: Any = {"model": "claude-haiku-4-5@20251001", "max_tokens": 50, "messages": HI}
    assert client.messages.create(**asked).content[0].text
    with client.messages.stream(**asked) as stream:
        return str(stream.get_final_text())


def google(client: Any) -> str:
    asked: Any = {"model": "gemini-2.5-flash-lite", "contents": HI[0]["content"]}
    assert client.models.generate_content(**asked).text
    assert client.models.count_tokens(**asked).total_tokens > 0
    made = client.models.embed_content(model="gemini-embedding-001", contents="Hello")
    assert made.embeddings[0].values
    return "".join(chunk.text or "" for chunk in client.models.generate_content_stream(**asked))


def cohere(client: Any) -> str:
    asked: Any = {"model": "command-r7b-12-2024", "messages": HI}
    assert client.chat(**asked).message.content[0].text
    ranked = client.rerank(model="rerank-v3.5", query="tolls", documents=["a bridge", "tolls"])
    assert ranked.results[0].relevance_score > 0
    events = [event for event in client.chat_stream(**asked) if event.type == "content-delta"]
    return "".join(event.delta.message.content.text for event in events)


def amazon(client: Any) -> str:
    asked: Any = {"modelId": NOVA, "messages": [{"role": "user", "content": [{"text": HI[0]["content"]}]}]}
    assert client.converse(**asked)["output"]["message"]["content"][0]["text"]
    deltas = [event.get("contentBlockDelta") for event in client.converse_stream(**asked)["stream"]]
    return "".join(each["delta"]["text"] for each in deltas if each)


USES: dict[str, tuple[Callable[[Any], str], ...]] = {
    "openai": (openai,),
    "anthropic": (anthropic, vertex),
    "google-genai": (google,),
    "cohere": (cohere,),
    "boto3": (amazon, amazon),
}
"""Heading of the page -> what is done with the client of each of its blocks; returns a streamed text."""
EVENTS: dict[Callable[[Any], str], int] = {
    openai: 4,
    anthropic: 3,
    vertex: 2,
    google: 4,
    cohere: 3,
    amazon: 2,
}


def blocks() -> Iterator[tuple[str, str]]:
    """(heading, code) of everything that the page says to change in a program."""
    section = PAGE.read_text().partition("## What to change in a program\n")[2].partition("\n## ")[0]
    for part in section.split("\n### ")[1:]:
        heading = part.partition("\n")[0]
        yield from ((heading, code) for code in re.findall(r"(?ms)^```python\n(.*?)^```", part))


def test_the_page_has_a_block_for_each_use() -> None:
    found: dict[str, int] = {}
    for heading, code in blocks():
        found[heading] = found.get(heading, 0) + 1
        assert KEY in code
        assert (ADDRESS in code) != (TLS_ADDRESS in code)
    assert found == {heading: len(uses) for heading, uses in USES.items()}


async def test_each_official_sdk_is_served_by_a_fresh_start_at_the_simulated_bill(
    make_real: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await make_real().start(until="events tail")
    key, authority = first_key(one), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.setenv(name, "true")  # so that the test leaves the environment as it was
    count = 0
    async with tls_in_front(one.port, authority) as secure:
        here = {ADDRESS: f"http://127.0.0.1:{one.port}", TLS_ADDRESS: secure, KEY: key}
        turns = {heading: iter(uses) for heading, uses in USES.items()}
        for heading, code in blocks():
            use = next(turns[heading])
            text = await asyncio.to_thread(run, code, here, use)
            assert len(text) > 5, heading
            count += EVENTS[use]
            events = await recorded(one, count)
            assert {event.status for event in events} == {"succeeded"}, heading
    by_provider = {event.provider for event in events}
    assert by_provider == {NAME, *(f"{NAME}-{each}" for each in ("anthropic", "gemini", "cohere", "bedrock"))}
    bill = await asyncio.to_thread(urllib.request.urlopen, f"{one.state.simulator_url}/_simulator/bill")
    billed = {each["id"]: each["nano"] for each in json.load(bill)["requests"]}
    # Embeddings that report no usage are estimated, and said to be.
    known = {event.id: event.cost_nano for event in events if event.cost_status != "estimated"}
    assert {event.model for event in events if event.id not in known} <= {"gemini-embedding-001"}
    assert known == {each: billed[each] for each in known}
    assert await one.end() == 0


def run(code: str, here: Mapping[str, str], use: Callable[[Any], str]) -> str:
    """Run a block of the page with our address and key, and use the client that it makes."""
    for written, ours in here.items():
        code = code.replace(written, ours)
    made: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), made)
    return use(made["client"])


async def recorded(one: Installation, count: int) -> list[CostEvent]:
    """All events, once there are so many."""
    store = EventStore(one.data_dir / "tollkeeper.db")
    try:
        async with asyncio.timeout(WITHIN_S):
            while len(found := store.arrivals(0)[0]) < count:
                await asyncio.sleep(0.02)
        assert len(found) == count
        return found
    finally:
        store.close()


@asynccontextmanager
async def tls_in_front(port: int, authority: trustme.CA) -> AsyncIterator[str]:
    """Something that ends TLS in front of the gateway; gives its address."""

    async def copy(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        try:
            while data := await reading.read(65_536):
                writing.write(data)
                await writing.drain()
        except OSError:
            pass  # either side may go at any time
        finally:
            writing.close()

    async def serve(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        behind, towards = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reading, towards), copy(behind, writing))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
