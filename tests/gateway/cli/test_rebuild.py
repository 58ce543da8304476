"""`tollkeeper events rebuild`: sums that were damaged are again those of the events."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from metering.eventstore import EventStore
from metering.rollup import ROLLUPS
from tests.gateway.cli.conftest import Run
from tests.metering.events import NOVEMBER_MS, event

HOUR_MS = 3_600_000
QUESTIONS = ((), ("customer",), ("feature",), ("model", "day"), ("key",))


def test_damaged_sums_are_made_anew(run: Run, data_dir: Path) -> None:
    with closing(EventStore(data_dir / "tollkeeper.db")) as store:
        store.append(
            [
                event(
                    started_ms=NOVEMBER_MS + n * 3 * HOUR_MS,
                    cost_nano=n,
                    customer=f"c{n % 3}",
                    task_id=f"task-{n % 4}",
                )
                for n in range(16)
            ]
        )
        right = [store.cost_by(each, from_events=True) for each in QUESTIONS]
        assert [store.cost_by(each) for each in QUESTIONS] == right
        with closing(sqlite3.connect(data_dir / "tollkeeper.db")) as damaging:
            for rollup in ROLLUPS:
                name = rollup.table.name
                damaging.execute(f"UPDATE {name} SET cost_nano = cost_nano + 1, events = 7")
                damaging.execute(f"DELETE FROM {name} WHERE bucket_ms % 3 = 0 AND cost_nano % 2 = 0")
            damaging.commit()
        assert [store.cost_by(each) for each in QUESTIONS] != right
        done = run("events", "rebuild")
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith("4 tasks and ")
        assert [store.cost_by(each) for each in QUESTIONS] == right


def test_without_a_record_it_says_so(run: Run) -> None:
    done = run("events", "rebuild")
    assert done.exit_code == 1
    assert "no such database" in done.stderr
