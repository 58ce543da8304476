from collections.abc import Iterator

import httpx2
import pytest

from metering.database import Where
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(simulator: Simulator, record: Where | None) -> Iterator[Stack]:
    """A worker and an api process over one ledger and one database, on every engine."""
    with running_stack(simulated_settings(simulator), api=True, record=record) as started:
        yield started


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.base_url.removesuffix("/v1"), timeout=60) as opened:
        yield opened
