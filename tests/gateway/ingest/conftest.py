from __future__ import annotations

from collections.abc import Iterator

import pytest

from metering.database import Where
from tests.gateway.ingest.world import World, running_world


@pytest.fixture(scope="module")
def world(record: Where | None) -> Iterator[World]:
    """On every engine."""
    with running_world(record) as started:
        yield started


@pytest.fixture(scope="module")
def quiet() -> Iterator[World]:
    """Without an api process, which would count what a test leaves uncounted; on a record of its own."""
    with running_world(api=False) as started:
        yield started
