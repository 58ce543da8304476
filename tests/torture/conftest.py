"""Installations, servers and links that end with the test, whatever it did to them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest

from simulator.process import Simulator, start_simulator

from .site import LinkedSimulator, Site
from .valkey import Valkey

Build = Callable[..., Awaitable[Site]]
Serve = Callable[..., Valkey]
NOTHING: Mapping[str, str] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="reads /proc"))


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A provider in a process of its own, which outlives every gateway and keeps the bill."""
    with start_simulator(own_process=True) as running:
        yield running


@pytest.fixture
async def build(tmp_path: Path, simulator: Simulator) -> AsyncIterator[Build]:
    """Makes and starts installations. `link`: where their provider is said to be; `redis_url`: their ledger;
    `direct`: the same ledger for the trial's own eyes, where `redis_url` leads through a proxy.
    """
    made: list[Site] = []

    async def start(
        *,
        workers: int = 2,
        ledger: str = "{}",
        drain_s: float = 5,
        link: str = "",
        redis_url: str | None = None,
        direct: str | None = None,
        environment: Mapping[str, str] = NOTHING,
    ) -> Site:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        provider = LinkedSimulator(simulator.host, simulator.port, link)
        more = {} if redis_url is None else {"TOLLKEEPER_REDIS__URL": redis_url}
        site = Site(
            folder,
            provider,
            workers=workers,
            ledger=ledger,
            drain_s=drain_s,
            environment={**environment, **more},
        )
        site.direct = direct or redis_url
        made.append(site)
        await site.start()
        return site

    yield start
    for site in made:
        await site.clear()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Serve]:
    """Makes and starts Valkey servers; options are those of its configuration, with underscores."""
    made: list[Valkey] = []

    def start(**options: str) -> Valkey:
        made.append(Valkey(tmp_path / f"valkey-{len(made)}", **options))
        made[-1].start()
        return made[-1]

    yield start
    for server in made:
        server.stop()
