from collections.abc import Iterator

import pytest

from gateway.settings import ProviderSettings, Settings, TimeoutSettings
from simulator.process import Simulator, start_simulator
from tests.gateway.replay import Replay, replaying
from tests.stack import Stack, running_stack

PATIENT = TimeoutSettings(connect_s=20, first_byte_s=20, idle_s=20, total_s=60)


def simulated_settings(
    simulator: Simulator, *, timeouts: TimeoutSettings = PATIENT, **more: object
) -> Settings:
    """A gateway whose one provider is the simulator, priced by OpenAI's list."""
    provider = ProviderSettings(
        base_url=simulator.base_url,
        api_key="sk-simulated",  # type: ignore[arg-type]
        prices="openai",
        timeouts=timeouts,
    )
    return Settings(providers={"simulated": provider}, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with start_simulator() as started:
        yield started


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    """A provider that answers as others were answered: a test says with which exchange."""
    with replaying() as started:
        yield started


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    with running_stack(simulated_settings(simulator)) as started:
        yield started
