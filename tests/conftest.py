import pytest
from hypothesis import settings

# Shared machines make wall times meaningless; what is slow is seen in the durations, not in a deadline.
settings.register_profile("tollkeeper", deadline=None)
settings.load_profile("tollkeeper")

WIDE = ("tests/acceptance/", "tests/torture/", "tests/simulation/test_world.py")
"""Files whose tests are all of the wide ring."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(WIDE):
            item.add_marker(pytest.mark.wide)
