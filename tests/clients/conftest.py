from collections.abc import Iterator

import pytest

from simulator.process import Simulator, start_simulator
from tests.clients.world import World


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with start_simulator(own_process=True) as started:
        yield started


@pytest.fixture(scope="module")
def world(simulator: Simulator) -> Iterator[World]:
    with World.built(simulator) as built:
        yield built
