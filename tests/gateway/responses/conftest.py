from collections.abc import Iterator

import pytest

from gateway.settings import ProviderSettings, Settings
from gateway.settings.provider import DEFAULT_PATHS
from simulator.process import Simulator
from tests.gateway.conftest import PATIENT
from tests.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    provider = ProviderSettings(
        base_url=simulator.base_url,
        api_key="sk-simulated",  # type: ignore[arg-type]
        prices="openai",
        timeouts=PATIENT,
        paths=DEFAULT_PATHS | {"responses": "/responses"},
    )
    with running_stack(Settings(providers={"simulated": provider})) as started:
        yield started
