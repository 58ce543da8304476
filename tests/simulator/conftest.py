from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest

from simulator.process import Simulator, start_simulator

if TYPE_CHECKING:
    import anthropic


@pytest.fixture(scope="session")
def running_simulator() -> Iterator[Simulator]:
    with start_simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(running_simulator: Simulator) -> Simulator:
    running_simulator.reset()
    return running_simulator


@pytest.fixture(scope="session")
def official_client(running_simulator: Simulator) -> Iterator[openai.OpenAI]:
    address = running_simulator.base_url
    with openai.OpenAI(base_url=address, api_key="sk-test", max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def client(simulator: Simulator, official_client: openai.OpenAI) -> openai.OpenAI:
    return official_client


@pytest.fixture(scope="session")
def official_claude(running_simulator: Simulator) -> Iterator[anthropic.Anthropic]:
    import anthropic  # takes seconds, which only those who use it shall pay

    address = running_simulator.root
    with anthropic.Anthropic(base_url=address, api_key="sk-ant-test", max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def claude(simulator: Simulator, official_claude: anthropic.Anthropic) -> anthropic.Anthropic:
    return official_claude


@pytest.fixture(scope="session")
def http(running_simulator: Simulator) -> Iterator[httpx2.Client]:
    """A client that shows answers as they are. Its connections are not reused: some of them are broken."""
    with httpx2.Client(
        base_url=running_simulator.root,
        headers={"authorization": "Bearer sk-test", "connection": "close"},
        timeout=10,
    ) as made:
        yield made


@dataclass
class Raw:
    """One socket, for what an SDK would not show."""

    plug: socket.socket

    def send(
        self, body: dict[str, Any] | bytes, *, path: str = "/v1/chat/completions", **headers: str
    ) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: simulator",
            "Authorization: Bearer sk-test",
            "Content-Type: application/json",
            f"Content-Length: {len(payload)}",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        self.plug.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)

    def until(self, mark: bytes) -> bytes:
        """Everything up to and including `mark`; less when the other side closes."""
        got = b""
        while mark not in got and (more := self.plug.recv(65536)):
            got += more
        return got

    def rest(self) -> bytes:
        """Everything until the other side closes."""
        got = b""
        while more := self.plug.recv(65536):
            got += more
        return got

    def until_reset(self) -> bytes:
        """Everything until the other side resets the connection; an orderly end is a failure."""
        got = b""
        try:
            while more := self.plug.recv(65536):
                got += more
        except ConnectionResetError:
            return got
        raise AssertionError(f"the connection was closed in order after {len(got)} bytes")


@pytest.fixture
def raw(simulator: Simulator) -> Iterator[Raw]:
    with socket.create_connection((simulator.host, simulator.port), timeout=10) as plug:
        yield Raw(plug)


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


async def until_quiet(simulator: Simulator) -> None:
    """Wait until the simulator has noticed that nothing runs any more (it is told by its sockets)."""
    async with asyncio.timeout(5):
        while (await asyncio.to_thread(simulator.open))["requests"]:
            pass


@contextlib.asynccontextmanager
async def connection(
    simulator: Simulator,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(simulator.host, simulator.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
