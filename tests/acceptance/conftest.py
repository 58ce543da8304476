"""Installations of `tollkeeper serve`, each with a simulated provider that outlives it and keeps the bill."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest

from simulator.process import Simulator, start_simulator

from .installation import Installation

Install = Callable[..., Awaitable[Installation]]
NOTHING: Mapping[str, str] = {}
PATIENT_LEDGER = "{timeout_ms: 20000}"
"""With one round trip: nobody is refused because the machine is busy. Trials of patience give their own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="reads /proc"))


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A provider in a process of its own."""
    with start_simulator(own_process=True) as running:
        yield running


@pytest.fixture
async def install(tmp_path: Path, simulator: Simulator) -> AsyncIterator[Install]:
    """Makes and starts installations; whatever a test leaves running is ended."""
    made: list[Installation] = []

    async def start(
        *,
        workers: int = 2,
        ledger: str = PATIENT_LEDGER,
        drain_s: float = 5,
        environment: Mapping[str, str] = NOTHING,
    ) -> Installation:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(
            Installation(
                folder,
                simulator,
                workers=workers,
                ledger=ledger,
                drain_s=drain_s,
                environment=environment,
            )
        )
        await made[-1].start()
        return made[-1]

    yield start
    for one in made:
        await one.clear()
