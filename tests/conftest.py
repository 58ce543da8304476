import pytest
from hypothesis import settings

# Shared machines make wall times meaningless; what is slow is seen in the durations, not in a deadline.
settings.register_profile("tollkeeper", deadline=None)
settings.load_profile("tollkeeper")

WIDE = (
    "tests/acceptance/",
    "tests/simulation/test_world.py",
    "tests/torture/",
    "tests/budgets/test_race.py",
    "tests/clients/test_error_table.py",
    "tests/clients/test_node_sdk.py",
    "tests/gateway/frontdoor/test_deadlines.py",
    "tests/gateway/metrics/test_bounds.py",
    "tests/gateway/test_entitlement_api.py",
    "tests/gateway/test_provider_trouble.py",
    "tests/gateway/test_recorder_outage.py",
    "tests/gateway/test_recorder_several.py",
    "tests/gateway/test_recorder_spill.py",
    "tests/gateway/test_surfaces_fuzz.py",
    "tests/gateway/test_uncovered.py",
    "tests/gateway/test_upkeep.py",
)
"""Files whose tests are of the wide ring at least."""
SLOW = (
    "tests/torture/test_demand.py",
    "tests/torture/test_full_redis.py",
    "tests/torture/test_pauses.py",
    "tests/torture/test_provider_link.py",
    "tests/torture/test_redis_away.py",
)
"""Files whose tests only scripts/full runs, the small variants as well."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(WIDE):
            item.add_marker(pytest.mark.wide)
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
