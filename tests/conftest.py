from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from tests.databases import database, engine_name, new_database, postgres, record

__all__ = ["database", "engine_name", "new_database", "postgres", "record"]

# Shared machines make wall times meaningless; what is slow is seen in the durations, not in a deadline.
settings.register_profile("tollkeeper", deadline=None)
settings.load_profile("tollkeeper")

WIDE = (
    "tests/acceptance/",
    "tests/billing/test_margin.py::test_every_total_is_the_sum_of_its_rows",
    "tests/billing/test_marginbook.py::test_any_order_batches_and_spans_give_the_same",
    "tests/billing/test_marginbook.py::test_totals_are_the_sums_of_their_rows",
    "tests/simulation/test_redis.py",
    "tests/simulation/test_world.py",
    "tests/torture/",
    "tests/budgets/test_race.py",
    "tests/clients/test_error_table.py",
    "tests/clients/test_node_sdk.py",
    "tests/gateway/anthropic/",
    "tests/gateway/bedrock/",
    "tests/gateway/cohere/",
    "tests/gateway/frontdoor/test_deadlines.py",
    "tests/gateway/gemini/",
    "tests/gateway/api/test_limits.py::test_every_scope_kind_and_window",
    "tests/gateway/ingest/test_abuse.py::test_a_body_beyond_the_bound",
    "tests/gateway/ingest/test_counting.py::test_a_ledger_that_is_away",
    "tests/gateway/ingest/test_counting.py::test_reports_are_held_off",
    "tests/gateway/metrics/test_bounds.py",
    "tests/gateway/test_entitlement_api.py",
    "tests/gateway/responses/test_recorded.py",
    "tests/gateway/test_demo.py",
    "tests/gateway/test_price_regions.py",
    "tests/gateway/test_provider_trouble.py",
    "tests/gateway/test_recorder_outage.py",
    "tests/gateway/test_recorder_several.py",
    "tests/gateway/test_recorder_spill.py",
    "tests/gateway/test_recordings.py",
    "tests/gateway/test_surfaces_fuzz.py",
    "tests/gateway/test_uncovered.py",
    "tests/gateway/test_upkeep.py",
    "tests/metering/test_oracle.py",
    "tests/serve/test_sdks.py",
    "tests/simulator/test_anthropic",
    "tests/simulator/test_bedrock",
    "tests/simulator/test_cohere",
    "tests/simulator/test_dialects",
    "tests/simulator/test_directives_elsewhere.py",
    "tests/simulator/test_gemini",
    "tests/test_mutations.py",
)
"""Files, and tests, that are of the wide ring at least; also all that import a provider's SDK, which only the
wider rings install."""
SLOW = (
    "tests/torture/test_demand.py",
    "tests/torture/test_full_redis.py",
    "tests/torture/test_pauses.py",
    "tests/torture/test_provider_link.py",
    "tests/torture/test_redis_away.py",
)
"""Files whose tests only scripts/full runs, the small variants as well."""
LONG = (
    "tests/budgets/test_model.py",
    "tests/budgets/test_race.py",
    "tests/clients/test_error_table.py",
    "tests/clients/test_node_sdk.py",
    "tests/gateway/frontdoor/test_deadlines.py",
    "tests/gateway/test_entitlements.py",
    "tests/gateway/test_provider_trouble.py",
    "tests/gateway/test_recorder",
    "tests/gateway/test_uncovered.py",
    "tests/gateway/test_upkeep.py",
    "tests/serve/",
    "tests/simulation/",
    "tests/test_mutations.py",
)
"""Files that take long for the number of their tests."""
SHARES = (
    "tests/budgets/",
    "tests/clients/",
    "tests/gateway/gemini/test_array.py",
    "tests/gateway/metrics/test_bounds.py",
    "tests/gateway/test_recorder_several.py",
    "tests/gateway/test_recorder_spill.py",
    "tests/gateway/test_surfaces_fuzz.py",
    "tests/simulation/",
)
"""Files whose slow tests compute and measure no time: others may run beside them."""
FILE_ENOUGH = ("tests/billing/", "tests/gateway/api/", "tests/gateway/ingest/")
"""What stands above the store: PostgreSQL runs it in scripts/full only, since the store's own tests and those
of accounts run on both engines before. One goes from a key to an answer on both:"""
BOTH = ("tests/gateway/api/test_events.py",)


def pytest_runtest_teardown() -> None:
    """A test that runs a process' main function in this one sets up its logging; the next one has its own."""
    if structlog.is_configured():
        structlog.reset_defaults()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of a ring that is not asked for are not read: each process of the tests would import them all."""
    place = collection_path.relative_to(config.rootpath).as_posix() + "/" * collection_path.is_dir()
    return True if "not wide" in config.option.markexpr and place.startswith(WIDE) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(WIDE):
            item.add_marker(pytest.mark.wide)
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
        if item.nodeid.startswith(FILE_ENOUGH) and not item.nodeid.startswith(BOTH) and on_postgresql(item):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.shares)
        if item.nodeid.startswith(SHARES) and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.shares)
    # With --no-loadscope-reorder what takes long begins first: no process is left alone with it at the end.
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/acceptance/", "tests/torture/", *LONG)))


def on_postgresql(item: pytest.Item) -> bool:
    """Whether a test is the one of those that it stands for that runs on that engine."""
    called = getattr(item, "callspec", None)
    return called is not None and "postgresql" in called.params.values()
