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
from metering.rollup import DAY_MS, HOUR_MS, MEASURES, ROLLUPS, measured
from tests.metering.events import NOVEMBER_MS, event
from tests.metering.test_rowsums import QUESTIONS, sums_of

OLD_TABLES = ("costs_by_customer_day", "costs_by_customer_hour", "costs_by_model_hour", "costs_by_key_hour")


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
    names = (*columns, "status", *MEASURES, "document")
    with sqlite3.connect(path) as connection:
        for each in events:
            measures = dict(zip(MEASURES, measured(each), strict=True))
            if each.cost_nano is None:
                measures["cost_nano"] = 0
            values = [getattr(each, name) or "" for name in columns]
            connection.execute(
                f"INSERT INTO events ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                [*values, each.status, *measures.values(), encode(each).decode()],
            )
        for rollup in ROLLUPS:
            if rollup.table.name in OLD_TABLES:
                keys = ", ".join(
                    ("account_id", f"started_ms - started_ms % {rollup.bucket_ms}", *rollup.columns)
                )
                into = ", ".join(("account_id", "bucket_ms", *rollup.columns, *MEASURES))
                sums = ", ".join(f"sum({name})" for name in MEASURES)
                source = f"SELECT {keys}, {sums} FROM events GROUP BY {keys}"
                connection.execute(f"INSERT INTO {rollup.table.name} ({into}) {source}")


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
    finally:
        store.close()


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
