from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from metering.database import Where, open_database, writing
from metering.eventcolumns import events
from metering.eventstore import EventStore, Outcome
from metering.rollup import DAY_MS, HOUR_MS, ROLLUPS
from metering.tasktable import tasks
from tests.metering.events import NOVEMBER_MS, adjustment, event

QUESTIONS = (
    (), ("customer", "plan"), ("customer", "workspace", "day"), ("feature", "model", "day"), ("key", "hour"),
    ("route",), ("customer", "feature", "model"), ("feature", "plan"),
)  # fmt: skip


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


def fill(store: EventStore, first: int, count: int) -> None:
    made = [
        event(
            started_ms=NOVEMBER_MS + n * 5 * HOUR_MS,
            customer=f"c{n % 3}",
            workspace=f"w{n % 2}",
            plan=("free", None)[n % 2],
            task_id=f"t{n % 11}" if n % 4 else None,
            account_id="other" if n % 9 == 0 else "default",
            outcome="failure" if n % 5 == 0 else "success",
        )
        for n in range(first, first + count)
    ]
    store.append(made)
    store.append_adjustments([adjustment(made[0], cost_delta_nano=5)])
    store.append_outcomes(
        [
            Outcome(f"o{first}", "default", "t3", "failure", first),
            Outcome(f"p{first}", "default", made[0].id, "success", 1),
            Outcome(f"q{first}", "default", "unseen", "success", 1),
        ]
    )


def test_what_was_lost_or_wrong_in_sums_and_tasks_is_as_the_events_say_again(
    store: EventStore, database: Where
) -> None:
    fill(store, 0, 40)
    before = [store.cost_by(each) for each in QUESTIONS]
    whole = [store.task(f"t{n}") for n in range(11)] + [store.task("unseen")]
    engine = open_database(database)
    with writing(engine) as connection:
        for n, rollup in enumerate(ROLLUPS):
            if n % 2:
                connection.execute(sa.delete(rollup.table))
            else:
                connection.execute(
                    sa.update(rollup.table).values(cost_nano=-1, bucket_ms=rollup.table.c.bucket_ms)
                )
        days = next(each.table for each in ROLLUPS if each.columns == ("feature", "plan"))
        stale = dict.fromkeys((column.name for column in days.columns), 1)
        names = {
            "account_id": "default",
            "bucket_ms": NOVEMBER_MS + 400 * DAY_MS,
            "feature": "x",
            "plan": "y",
        }
        connection.execute(sa.insert(days).values(stale | names))
        connection.execute(sa.delete(tasks).where(tasks.c.task_id.in_(["t1", "t2", "unseen"])))
        connection.execute(sa.update(tasks).where(tasks.c.task_id == "t4").values(cost_nano=-1, outcome="x"))
        connection.execute(sa.update(events).where(events.c.task_id != "").values(tasks=5, task_successes=3))
    engine.dispose()
    made = store.rebuild()
    assert made.tasks > 11
    assert [store.cost_by(each) for each in QUESTIONS] == before
    assert [store.cost_by(each, from_events=True) for each in QUESTIONS] == before
    assert [store.task(f"t{n}") for n in range(11)] + [store.task("unseen")] == whole


def test_a_rebuild_is_right_while_others_write(store: EventStore, database: Where) -> None:
    fill(store, 0, 30)
    failed: list[BaseException] = []

    def write() -> None:
        other = EventStore(database)
        try:
            for n in range(30, 90, 10):
                fill(other, n, 10)
        except BaseException as error:
            failed.append(error)
        finally:
            other.close()

    writer = threading.Thread(target=write)
    writer.start()
    store.rebuild()
    writer.join()
    assert failed == []
    for each in QUESTIONS:
        assert store.cost_by(each) == store.cost_by(each, from_events=True)
    assert store.cost_by(())[0].events == sum(n % 9 != 0 for n in range(90))


def test_an_empty_record_is_rebuilt_as_nothing(store: EventStore) -> None:
    made = store.rebuild()
    assert (made.tasks, made.buckets) == (0, 0)
