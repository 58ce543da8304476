"""The contract suite runs its tests on both transports and both event loops.

Differences that the alternative cannot help are written out where they show: in the table of faults in
`test_framing.py`, and elsewhere beside the `kind == "native"` that they need.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.transport import Kind, Timeouts, Transport, TransportOptions, build_transport
from gateway.transport.pool import PooledTransport
from tests.gateway.transport.script import Script, ScriptedServer

KINDS: tuple[Kind, ...] = ("native", "aiohttp")
PATIENT = Timeouts(connect_s=60.0, first_byte_s=60.0, idle_s=60.0, total_s=120.0)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out aiohttp's framing on uvloop: parsing is the same on any loop, and the time is better used."""
    dropped = [
        item
        for item in items
        if Path(__file__).parent in item.path.parents
        and item.path.name == "test_framing.py"
        and {"aiohttp", "uvloop"} <= set(item.name.partition("[")[2].rstrip("]").split("-"))
    ]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Which form of the port."""
    chosen: Kind = request.param
    return chosen


Build = Callable[..., Transport]
Serve = Callable[[Script], Awaitable[ScriptedServer]]
Open = Callable[..., PooledTransport]


@pytest.fixture
async def cleanup() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(cleanup: AsyncExitStack) -> Serve:
    """Starts a scripted server, stopped after the test."""

    async def start(script: Script) -> ScriptedServer:
        return await cleanup.enter_async_context(ScriptedServer(script))

    return start


@pytest.fixture
def build(kind: Kind, cleanup: AsyncExitStack) -> Build:
    """Builds a transport of the kind under test from TransportOptions' fields, closed after the test."""

    def make(origin: str, **options: Any) -> Transport:
        transport = build_transport(TransportOptions(origin, **options), kind)
        cleanup.push_async_callback(transport.aclose)
        return transport

    return make


@pytest.fixture
def build_native(cleanup: AsyncExitStack) -> Open:
    """Builds the native pool, for tests of what only it promises."""

    def make(origin: str, **options: Any) -> PooledTransport:
        transport = PooledTransport(TransportOptions(origin, **options))
        cleanup.push_async_callback(transport.aclose)
        return transport

    return make


@pytest.fixture(autouse=True)
def no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that answers nothing stands in the environment of every test: using it fails the test."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
