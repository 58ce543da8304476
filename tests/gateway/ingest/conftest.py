from collections.abc import Iterator

import pytest

from tests.gateway.ingest.world import World, running_world


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as started:
        yield started
