"""Signature and event stream together, through our transport, at a Bedrock that verifies the one and makes
the other by code of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from gateway.credentials.awskeys import given_keys
from gateway.credentials.lease import Leased
from gateway.credentials.sigv4 import THREAD_BYTES, SigV4Credential
from gateway.dialects.eventstream import CONTENT_TYPE, events, read_message
from gateway.transport import Origin, Timeouts, Transport, TransportOptions, build_transport
from gateway.transport.port import Answer
from simulator.bedrock.signature import ACCESS_KEY, SECRET_KEY
from simulator.process import Simulator, start_simulator

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Simulator]:
    with start_simulator(tokens=5) as started:
        yield started


@pytest.fixture
async def transport(bedrock: Simulator) -> AsyncIterator[Transport]:
    made = build_transport(TransportOptions(origin=bedrock.root))
    yield made
    await made.aclose()


async def asked(
    transport: Transport, bedrock: Simulator, operation: str, text: str, *, secret: str = SECRET_KEY
) -> Answer:
    keys = Leased("aws", partial(given_keys, "aws", ACCESS_KEY, secret, None))
    one = SigV4Credential(keys, region="us-east-1", service="bedrock", secure=False)
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": text}]}]}).encode()
    target = f"/model/{MODEL}/{operation}".encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"*/*"),
        (b"x-amzn-bedrock-trace", b"ENABLED"),
    ]
    authority = Origin.parse(bedrock.root).authority
    headers += await one.headers(b"POST", authority, target, headers, body)
    return await transport.send(b"POST", target, headers, body, timeouts=Timeouts())


async def test_a_stream_is_let_in_and_read_to_its_usage(transport: Transport, bedrock: Simulator) -> None:
    answer = await asked(transport, bedrock, "converse-stream", "Hi [[simulate: tokens=3]]")
    assert (answer.status, answer.header(b"content-type")) == (200, CONTENT_TYPE)
    told = [read_message(event) for event in events(await answer.read(1 << 20))]
    messages = [each for each in told if each is not None]
    assert len(messages) == len(told)
    assert [each.head.name for each in messages] == [
        "messageStart", *["contentBlockDelta"] * 3, "contentBlockStop", "messageStop", "metadata"
    ]  # fmt: skip
    assert json.loads(messages[-1].payload)["usage"]["outputTokens"] > 0


async def test_a_long_body_is_let_in(transport: Transport, bedrock: Simulator) -> None:
    answer = await asked(transport, bedrock, "converse", "word " * (THREAD_BYTES // 4))
    assert answer.status == 200, await answer.read(10_000)
    assert json.loads(await answer.read(1 << 20))["usage"]["inputTokens"] > 1_000


async def test_another_s_secret_is_not(transport: Transport, bedrock: Simulator) -> None:
    answer = await asked(transport, bedrock, "converse", "Hi", secret="another")
    assert answer.status == 403
    assert b"signature we calculated does not match" in await answer.read(10_000)
