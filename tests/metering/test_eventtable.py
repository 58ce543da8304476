"""Events that an earlier version recorded, after the upgrade."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from metering.database import open_database
from metering.event import Attempt, CostEvent, encode
from metering.eventstore import EventStore
from metering.migration import shipped
from metering.rollup import DAY_MS, HOUR_MS, MEASURES, measured
from tests.metering.events import NOVEMBER_MS, event
from tests.metering.model import Record, total
from tests.metering.test_rowsums import QUESTIONS, sums_of

OLD_MEASURES = tuple(name for name in MEASURES if name not in ("units", "tasks", "task_successes"))
OLD_ROLLUPS = {
    "costs_by_customer_day": (DAY_MS, ("customer", "feature")),
    "costs_by_customer_hour": (HOUR_MS, ("customer", "feature")),
    "costs_by_model_hour": (HOUR_MS, ("provider", "model", "route")),
    "costs_by_key_hour": (HOUR_MS, ("key_id",)),
}


@pytest.fixture
def old_path(tmp_path: Path) -> Path:
    """A database of the schema before events had columns for workspace, plan and trace."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for number in ("0001_events.sql", "0002_keys.sql", "0003_limits.sql"):
        shutil.copy(str(shipped("sqlite") / number), folder)
    path = tmp_path / "t.db"
    open_database(path, migrations=folder).dispose()
    return path


def record_as_before(path: Path, events: Sequence[CostEvent]) -> None:
    """Rows and rollups as the earlier version wrote them: the route asked for, cost 0 where not known."""
    columns = (
        "id",
        "account_id",
        "started_ms",
        "key_id",
        "customer",
        "feature",
        "provider",
        "model",
        "route",
    )
    names = (*columns, "status", *OLD_MEASURES, "document")
    with sqlite3.connect(path) as connection:
        for each in events:
            facts = dict(zip(MEASURES, measured(each), strict=True))
            measures = {name: facts[name] for name in OLD_MEASURES}
            if each.cost_nano is None:
                measures["cost_nano"] = 0
            values = [getattr(each, name) or "" for name in columns]
            connection.execute(
                f"INSERT INTO events ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                [*values, each.status, *measures.values(), encode(each).decode()],
            )
        for table, (size_ms, dimensions) in OLD_ROLLUPS.items():
            keys = ", ".join(("account_id", f"started_ms - started_ms % {size_ms}", *dimensions))
            into = ", ".join(("account_id", "bucket_ms", *dimensions, *OLD_MEASURES))
            sums = ", ".join(f"sum({name})" for name in OLD_MEASURES)
            source = f"SELECT {keys}, {sums} FROM events GROUP BY {keys}"
            connection.execute(f"INSERT INTO {table} ({into}) {source}")


def check_sums(path: Path, events: Sequence[CostEvent]) -> None:
    store = EventStore(path)
    try:
        for since, until in ((0, None), (NOVEMBER_MS + 90 * 60_000, NOVEMBER_MS + 2 * DAY_MS)):
            inside = [e for e in events if since <= e.started_ms and (until is None or e.started_ms < until)]
            for columns in QUESTIONS:
                assert store.row_sums("default", columns, {}, since, until) == sums_of(inside, [], columns)
            for dimensions in ((), ("customer", "feature"), ("feature", "day"), ("route", "model"), ("key",)):
                rows = store.cost_by(dimensions, since, until)
                assert rows == store.cost_by(dimensions, since, until, from_events=True)
                assert rows == sorted(rows, key=lambda row: -row.cost_nano)
        _all_is_as_if_recorded_now(store, events)
    finally:
        store.close()


def _all_is_as_if_recorded_now(store: EventStore, events: Sequence[CostEvent]) -> None:
    """Events, tasks and every measure are those of a plain program over the same events."""
    record = Record()
    for each in events:
        record.add(each)
        assert store.find(each.id) == each
    for columns in ((), ("customer", "plan"), ("feature", "model"), ("route",), ("workspace",)):
        found = {
            tuple(part or "" for part in row.key): dict(zip(MEASURES, row[1:], strict=True))
            for row in store.cost_by(columns)
        }
        assert found == record.sums(columns)
    facts = record.facts()
    for (account_id, task_id), members in record.tasks().items():
        task = store.task(task_id, account_id)
        assert task is not None
        assert task.outcome == record.outcome_of((account_id, task_id))
        assert task.sums == total(facts[each.id] for each in members)
        assert task.names["feature"] == (members[0].feature or "")


def some_events() -> list[CostEvent]:
    return [
        event(
            started_ms=NOVEMBER_MS + n * HOUR_MS,
            customer=("acme", "ünï", None)[n % 3],
            workspace=("w1", None, "")[n % 3],
            plan=("free", "pro")[n % 2],
            trace_id=f"t{n // 4}" if n % 5 else None,
            doubted_nano=n,
        )
        for n in range(60)
    ]


def test_recorded_events_are_summed_by_all_names_after_the_upgrade(old_path: Path) -> None:
    made = some_events()
    record_as_before(old_path, made)
    check_sums(old_path, made)


def test_the_route_that_served_and_known_parts_of_unknown_costs_count_after_the_upgrade(
    old_path: Path,
) -> None:
    made = [
        *some_events(),
        event(route="asked", route_final="fast", started_ms=NOVEMBER_MS + 3 * HOUR_MS),
        event(route="fast", route_final=None),
        event(cost_nano=None, attempts=[Attempt(cost_nano=70), Attempt()]),
        event(cost_nano=None, attempts=[]),
    ]
    record_as_before(old_path, made)
    check_sums(old_path, made)


def test_tasks_units_and_sources_of_recorded_events_are_known_after_the_upgrade(old_path: Path) -> None:
    founder = event(started_ms=NOVEMBER_MS + 9, feature="late")
    made = [
        *some_events(),
        founder,
        event(task_id=founder.id, started_ms=NOVEMBER_MS + 5, feature="early", outcome="success"),
        event(task_id="t", outcome="rejected", revenue_nano=5),
        event(task_id="t", started_ms=NOVEMBER_MS + DAY_MS, outcome="success", usage_units=77),
        event(task_id="t", account_id="other", outcome="failure"),
        event(usage=None),
        event(usage=None, status="failed", outcome="failure"),
        event(usage_units=-3, source="sdk", outcome="unknown"),
    ]
    record_as_before(old_path, made)
    check_sums(old_path, [each for each in made if each.account_id == "default"])
    store = EventStore(old_path)
    try:
        assert [each.source for each in store.page(source="sdk").events] == ["sdk"]
        assert len(store.page(task_id="t").events) == 2
        theirs = store.task("t", "other")
        assert theirs is not None
        assert (theirs.outcome, theirs.sums["events"], theirs.sums["tasks"]) == ("failure", 1, 1)
        store.append([event(task_id="t", started_ms=NOVEMBER_MS - 5, outcome="failure")])
        assert store.cost_by(()) == store.cost_by((), from_events=True)
        before = [store.cost_by(each) for each in ((), ("customer", "plan"), ("feature", "day"))]
        store.rebuild()
        assert [store.cost_by(each) for each in ((), ("customer", "plan"), ("feature", "day"))] == before
    finally:
        store.close()


def test_a_document_that_cannot_be_read_does_not_stop_the_upgrade(old_path: Path) -> None:
    made = some_events()
    record_as_before(old_path, made)
    with sqlite3.connect(old_path) as connection:
        connection.execute("UPDATE events SET document = 'damaged' WHERE id = ?", (made[0].id,))
    store = EventStore(old_path)
    try:
        found = store.row_sums("default", ("workspace",), {}, 0, None)
        assert found[("w1",)].requests == sum(each.workspace == "w1" for each in made) - 1
    finally:
        store.close()
