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
    "tests/billing/test_ratebook.py::test_any_batches_give_the_same_revenue",
    "tests/budgets/test_client.py",
    "tests/budgets/test_cluster.py",
    "tests/budgets/test_counting.py",
    "tests/budgets/test_healer_restart.py",
    "tests/budgets/test_race.py",
    "tests/budgets/test_reconcile.py",
    "tests/budgets/test_seed.py",
    "tests/clients/test_error_table.py",
    "tests/clients/test_node_sdk.py",
    "tests/gateway/anthropic/",
    "tests/gateway/api/test_analytics.py",
    "tests/gateway/api/test_at_random.py",
    "tests/gateway/api/test_customers.py",
    "tests/gateway/api/test_export.py",
    "tests/gateway/api/test_faults.py::test_many_at_once",
    "tests/gateway/api/test_keys.py",
    "tests/gateway/api/test_limits.py",
    "tests/gateway/api/test_plans.py",
    "tests/gateway/api/test_scopes.py",
    "tests/gateway/api/test_signup.py",
    "tests/gateway/api/test_subscriptions.py",
    "tests/gateway/bedrock/",
    "tests/gateway/cli/test_backup.py",
    "tests/gateway/cli/test_limits.py",
    "tests/gateway/cli/test_plans.py",
    "tests/gateway/cli/test_routes.py",
    "tests/gateway/cohere/",
    "tests/gateway/frontdoor/test_deadlines.py",
    "tests/gateway/gemini/",
    "tests/gateway/ingest/test_abuse.py::test_a_body_beyond_the_bound",
    "tests/gateway/ingest/test_counting.py::test_a_ledger_that_is_away",
    "tests/gateway/ingest/test_counting.py::test_reports_are_held_off",
    "tests/gateway/ingest/test_counting.py::test_what_was_stored_and_not_counted",
    "tests/gateway/metrics/test_bounds.py",
    "tests/gateway/responses/test_recorded.py",
    "tests/gateway/responses/test_sdk.py",
    "tests/gateway/test_demo.py",
    "tests/gateway/test_entitlement_api.py",
    "tests/gateway/test_fallback.py",
    "tests/gateway/test_outbox.py",
    "tests/gateway/test_price_regions.py",
    "tests/gateway/test_provider_trouble.py",
    "tests/gateway/test_reading_commands.py::test_following_tail",
    "tests/gateway/test_reading_commands.py::test_terminal",
    "tests/gateway/test_recorder.py",
    "tests/gateway/test_recorder_outage.py",
    "tests/gateway/test_recorder_several.py",
    "tests/gateway/test_recorder_spill.py",
    "tests/gateway/test_recordings.py",
    "tests/gateway/test_repeats.py",
    "tests/gateway/test_scopes.py::test_each_endpoint",
    "tests/gateway/test_surfaces_fuzz.py",
    "tests/gateway/test_uncovered.py",
    "tests/gateway/test_upkeep.py",
    "tests/gateway/transport/test_ends.py",
    "tests/metering/test_eventtable.py::test_tasks_units_and_sources",
    "tests/metering/test_oracle.py",
    "tests/metering/test_price.py::test_no_usage_costs_more",
    "tests/metering/test_rebuild.py",
    "tests/metering/test_retention.py::test_a_rebuild",
    "tests/metering/test_rowsums.py::test_sums_are_those",
    "tests/serve/test_preparation.py",
    "tests/serve/test_sdks.py",
    "tests/serve/test_supervisor.py::test_killed",
    "tests/simulation/test_redis.py",
    "tests/simulation/test_world.py",
    "tests/simulator/test_anthropic",
    "tests/simulator/test_bedrock",
    "tests/simulator/test_cohere",
    "tests/simulator/test_dialects",
    "tests/simulator/test_directives_elsewhere.py",
    "tests/simulator/test_gemini",
    "tests/test_dashboards.py",
    "tests/test_mutations.py",
    "tests/test_packaging.py::test_image_runs",
    "tests/torture/",
)
"""Files, and tests, that are of the wide ring at least; also all that import a provider's SDK, which only the
wider rings install."""
SLOW = (
    "tests/acceptance/test_aborts.py",
    "tests/acceptance/test_budget.py::test_500_streams",
    "tests/acceptance/test_ingest_kills.py",
    "tests/acceptance/test_kills.py::test_no_event_is_lost_or_doubled_when_serve_is_killed",
    "tests/acceptance/test_kills.py::test_no_event_is_lost_or_doubled_when_valkey",
    "tests/acceptance/test_revocation.py",
    "tests/acceptance/test_rolling.py",
    "tests/acceptance/test_slow_clients.py",
    "tests/acceptance/test_stops.py::test_streams_that_outlast",
    "tests/metering/test_eventstore.py::test_appending_takes",
    "tests/serve/test_serve.py::test_no_event_is_lost",
    "tests/torture/test_demand.py",
    "tests/torture/test_full_redis.py",
    "tests/torture/test_lost_writes.py",
    "tests/torture/test_pauses.py",
    "tests/torture/test_provider_link.py",
    "tests/torture/test_redis_away.py",
)
"""Tests that only scripts/full runs, the small variants as well; one by one, since they measure or kill."""
COMPUTING = (
    "tests/acceptance/test_canaries.py",
    "tests/acceptance/test_stops.py::test_second_serve",
    "tests/budgets/test_model.py::test_the_ledger_agrees_with_its_model_in_more_runs[redis]",
    "tests/budgets/test_race.py::test_two_nodes",
    "tests/budgets/test_race.py::test_values",
    "tests/clients/test_error_table.py::test_openai_node",
    "tests/gateway/api/test_limits.py::test_every_scope_kind_and_window",
    "tests/gateway/frontdoor/test_deadlines.py",
    "tests/gateway/gemini/test_bounds.py",
    "tests/gateway/gemini/test_fuzz.py",
    "tests/gateway/ingest/test_counting.py::test_reports_are_held_off",
    "tests/gateway/metrics/test_bounds.py",
    "tests/gateway/test_demo.py::test_data_of_a_real",
    "tests/gateway/test_demo.py::test_interrupt",
    "tests/gateway/test_entitlement_api.py::test_a_check",
    "tests/gateway/test_entitlements.py::test_a_trial",
    "tests/gateway/test_entitlements.py::test_upgrade",
    "tests/gateway/test_provider_trouble.py",
    "tests/gateway/test_recorder.py::test_recorder_killed",
    "tests/gateway/test_recorder_outage.py::test_outage_of_the_event_store_loses_and_doubles_nothing[outage1",
    "tests/gateway/test_recorder_outage.py::test_outage_of_the_event_store_loses_and_doubles_nothing[outage2",
    "tests/gateway/test_recorder_several.py",
    "tests/gateway/test_recorder_spill.py",
    "tests/gateway/test_scopes.py::test_each_endpoint_serves_the_scope_it_names_and_no_other[16]",
    "tests/gateway/test_surfaces_fuzz.py",
    "tests/gateway/test_uncovered.py",
    "tests/gateway/test_upkeep.py",
    "tests/metering/test_eventstore.py::test_any_history_in_any_batches_and_order_gives_the_sums_of_a_plain_program[postgresql]",
    "tests/metering/test_eventstore.py::test_rollups_and_single_events_answer_every_combination_alike[postgresql",
    "tests/metering/test_eventstore.py::test_rollups_and_single_events_answer_every_combination_alike[sqlite-1]",
    "tests/metering/test_eventtable.py::test_tasks_units",
    "tests/metering/test_rebuild.py",
    "tests/metering/test_retention.py::test_a_rebuild",
    "tests/metering/test_rowsums.py::test_sums_are_those",
    "tests/serve/test_backup",
    "tests/serve/test_nodes.py",
    "tests/serve/test_sdks.py",
    "tests/serve/test_supervisor.py::test_reload_of_a_faulty",
    "tests/serve/test_supervisor.py::test_second",
    "tests/simulation/test_redis.py",
    "tests/simulation/test_world.py::test_a_fault_in_a_script",
    "tests/simulation/test_world.py::test_a_seed_is_the_same_story",
    "tests/simulation/test_world.py::test_every_seed_keeps_the_ledgers_promises[25]",
    "tests/simulation/test_world.py::test_every_seed_keeps_the_ledgers_promises[50]",
    "tests/simulation/test_world.py::test_every_seed_keeps_the_ledgers_promises[75]",
    "tests/test_dashboards.py::test_every_metric",
    "tests/test_mutations.py::test_one_",
    "tests/test_packaging.py::test_image_runs",
)
"""The same, but beside others."""
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
ON_BOTH = (
    "tests/gateway/api/test_events.py::test_pages_are_the_recorded_events_whatever_the_filter[postgresql-{}-desc]",
    "tests/metering/test_database.py",
    "tests/metering/test_eventstore.py",
    "tests/metering/test_postgresql.py",
)
"""What the wide ring runs on PostgreSQL, too: the store's own contract, and questions that go from a key to
an answer. scripts/full runs everything that needs a database on both."""


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
        if item.nodeid.startswith(WIDE) or item.get_closest_marker("debian"):
            item.add_marker(pytest.mark.wide)
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
        if item.nodeid.startswith(COMPUTING) or (on_postgresql(item) and not item.nodeid.startswith(ON_BOTH)):
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
