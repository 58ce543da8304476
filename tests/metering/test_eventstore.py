from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from metering.adjustment import Adjustment
from metering.database import Where, open_database, writing
from metering.event import CostEvent, encode
from metering.eventcolumns import event_documents
from metering.eventstore import (
    Appended,
    Difference,
    EventStore,
    StoreUnavailable,
    UnstorableEvent,
)
from metering.ids import new_id
from metering.outcome import Outcome
from metering.rollup import DAY_MS, DIMENSIONS, HOUR_MS, MEASURES, ROLLUPS
from tests.metering.events import (
    NOVEMBER_MS,
    adjustment,
    any_adjustments,
    any_events,
    any_outcomes,
    event,
)
from tests.metering.model import Record, total


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


@contextmanager
def beside(database: Where) -> Iterator[Connection]:
    """A reader of the database that is not the store."""
    engine = open_database(database)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def test_event_is_found_as_it_was(store: EventStore) -> None:
    original = event(customer="ünïcode \x1f", cost_upper_nano=2**53 - 1, unknown={"later": [1]})
    assert store.append([original]) == Appended(1, 0, ())
    assert store.find(original.id) == original
    assert store.find("nobody") is None


def test_document_is_kept_as_it_came(store: EventStore, database: Where) -> None:
    original = event()
    text = b" " + encode(original)
    store.append([original], [text])
    with beside(database) as connection:
        assert connection.scalar(sa.select(event_documents.c.document)) == text.decode()


def test_id_that_is_there_already_changes_nothing(store: EventStore) -> None:
    first = event(id="e1", cost_nano=100)
    other = event(id="e1", cost_nano=999)
    assert store.append([first, other, event(id="e2", cost_nano=1)]) == Appended(
        2, 0, (Difference(first, other),)
    )
    assert store.append([event(id="e1", cost_nano=999), event(id="e3", cost_nano=10)]).added == 1
    assert store.append([]) == Appended(0, 0, ())
    assert store.find("e1") == first
    assert store.cost_by(()) == store.cost_by((), from_events=True)
    assert store.cost_by(())[0].cost_nano == 111
    assert store.recorded(["e1", "e3", "e9"]) == {"e1", "e3"}


def test_event_that_comes_again_is_told_from_one_that_comes_again_with_other_money(store: EventStore) -> None:
    first = event(cost_nano=100, doubted_nano=5)
    doubted, unknown = replace(first, doubted_nano=6), replace(first, cost_nano=None)
    store.append([first])
    again = store.append(
        [first, replace(first, status="failed"), doubted, event(), unknown], [b"{}", *[b" {}"] * 4]
    )
    assert (again.added, again.repeated) == (1, 2)
    assert again.differing == (Difference(first, doubted), Difference(first, unknown))
    assert store.append([first]) == Appended(0, 1, ())


def test_event_is_compared_with_what_was_recorded_and_not_with_its_corrections(store: EventStore) -> None:
    first = event(cost_nano=100)
    store.append([first])
    store.append_adjustments([adjustment(first, cost_delta_nano=50)])
    assert store.append([first]) == Appended(0, 1, ())
    other = replace(first, cost_nano=150)
    assert store.append([other]).differing == (Difference(first, other),)


@given(
    st.lists(st.one_of(any_events(), any_events(), any_adjustments(), any_outcomes()), max_size=50),
    st.randoms(use_true_random=False),
    st.integers(1, 9),
    st.integers(NOVEMBER_MS - DAY_MS, NOVEMBER_MS + 4 * DAY_MS),
    st.none() | st.integers(NOVEMBER_MS - DAY_MS, NOVEMBER_MS + 4 * DAY_MS),
)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_in_any_batches_and_order_gives_the_sums_of_a_plain_program(
    database: Where,
    new_database: Callable[[], Where],
    history: list[CostEvent | Adjustment | Outcome],
    chance: object,
    size: int,
    since: int,
    until: int | None,
) -> None:
    where = new_database()
    store = EventStore(where)
    record = Record()
    try:
        arriving = [*history, *history]
        chance.shuffle(arriving)  # type: ignore[attr-defined]
        for start in range(0, len(arriving), size):
            run = arriving[start : start + size]
            known = len(record.events), len(record.adjustments), len(record.outcomes)
            for item in run:
                record.add(item)
            added = (
                store.append([each for each in run if isinstance(each, CostEvent)]).added,
                store.append_adjustments([each for each in run if isinstance(each, Adjustment)]),
                store.append_outcomes([each for each in run if isinstance(each, Outcome)]),
            )
            now = len(record.events), len(record.adjustments), len(record.outcomes)
            assert added == tuple(after - before for after, before in zip(now, known, strict=True))
        _costs_are_the_records(store, record, since, until)
        _tasks_are_the_records(store, record)
        _rollups_are_the_records(where, record)
    finally:
        store.close()


QUESTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("customer",),
    ("feature", "plan"),
    ("provider", "model", "route"),
    ("customer", "workspace"),
    ("key",),
    ("customer", "feature", "model"),
    ("customer", "key"),
)


def _costs_are_the_records(store: EventStore, record: Record, since: int, until: int | None) -> None:
    for dimensions in QUESTIONS:
        columns = ["key_id" if name == "key" else name for name in dimensions]
        for account_id in ("default", "other"):
            wanted = record.sums(columns, account_id, since, until)
            for from_events in (False, True):
                rows = store.cost_by(dimensions, since, until, account_id=account_id, from_events=from_events)
                found = {
                    tuple(part or "" for part in row.key): dict(zip(MEASURES, row[1:], strict=True))
                    for row in rows
                }
                assert found == wanted


def _tasks_are_the_records(store: EventStore, record: Record) -> None:
    facts = record.facts()
    for (account_id, task_id), members in record.tasks().items():
        task = store.task(task_id, account_id)
        assert task is not None
        assert task.outcome == record.outcome_of((account_id, task_id))
        assert (task.first_ms, task.last_ms) == (members[0].started_ms, members[-1].started_ms)
        assert task.sums == total(facts[each.id] for each in members)
        assert task.names["customer"] == (members[0].customer or "")


def _rollups_are_the_records(where: Where, record: Record) -> None:
    every = total(record.facts().values())
    with beside(where) as connection:
        for rollup in ROLLUPS:
            sums = (sa.func.coalesce(sa.func.sum(rollup.table.c[name]), 0) for name in MEASURES)
            found = tuple(connection.execute(sa.select(*sums)).one())
            assert dict(zip(MEASURES, found, strict=True)) == every


def test_cost_is_asked_by_any_dimensions_in_any_order(store: EventStore) -> None:
    store.append(
        [
            event(customer="acme", feature="chat", model="m1", key_id="k1", cost_nano=5),
            event(customer="acme", feature=None, model="m2", key_id="k2", cost_nano=7),
            event(customer=None, feature="chat", model="m1", key_id="k1", started_ms=NOVEMBER_MS + DAY_MS),
        ]
    )
    rows = store.cost_by(("feature", "customer"))
    assert [(row.key, row.cost_nano) for row in rows] == [
        (("chat", None), 330_000),
        ((None, "acme"), 7),
        (("chat", "acme"), 5),
    ]
    assert [row.key for row in store.cost_by(("day",))] == [("2026-11-02",), ("2026-11-01",)]


@pytest.mark.parametrize("stride", [41, pytest.param(1, marks=pytest.mark.wide)])
def test_rollups_and_single_events_answer_every_combination_alike(database: Where, stride: int) -> None:
    store = EventStore(database)
    names = {"customer": "c", "workspace": "w", "feature": "f", "plan": "p", "model": "m", "provider": "v"}
    store.append(
        [
            event(
                started_ms=NOVEMBER_MS + n * 40 * 60_000,
                route_final=f"r{n % 2}",
                key_id=f"k{n % 3}",
                cost_nano=n,
                **{name: f"{letter}{n // k % 4}" for k, (name, letter) in enumerate(names.items(), 1)},
            )
            for n in range(150)
        ]
    )
    span = (NOVEMBER_MS + HOUR_MS + 5, NOVEMBER_MS + 3 * DAY_MS + 5 * HOUR_MS + 77)
    combinations = [
        each for count in range(len(DIMENSIONS) + 1) for each in itertools.combinations(DIMENSIONS, count)
    ]
    assert len(combinations) == 1_024
    for dimensions in combinations[::stride]:
        rows = store.cost_by(dimensions, *span)
        assert rows == store.cost_by(dimensions, *span, from_events=True)
    for dimensions in ((), ("feature",), ("model", "day"), ("hour",)):
        for name in names:
            where = {name: f"{names[name]}1"}
            rows = store.cost_by(dimensions, *span, where=where)
            assert rows == store.cost_by(dimensions, *span, where=where, from_events=True)
            assert rows
    store.close()


def test_the_dearest_alone_are_the_first_of_all(store: EventStore) -> None:
    store.append(
        [
            event(started_ms=NOVEMBER_MS + n * 7 * HOUR_MS, model=f"m{n % 5}", cost_nano=n % 11)
            for n in range(60)
        ]
    )
    for dimensions in (("model",), ("model", "day"), ("day",), ("hour",), ("feature", "model", "day"), ()):
        for since in (0, NOVEMBER_MS + 90 * 60_000):
            every = store.cost_by(dimensions, since)
            assert store.cost_by(dimensions, since, top=7) == every[:7]


def test_tasks_that_are_asked_for_by_hour_lie_in_the_hour_of_their_first_event(store: EventStore) -> None:
    store.append([event(task_id="t", started_ms=NOVEMBER_MS + n * HOUR_MS) for n in (2, 0, 1)])
    assert [(row.key, row.tasks) for row in sorted(store.cost_by(("hour",)))] == [
        (("2026-11-01T00:00Z",), 1),
        (("2026-11-01T01:00Z",), 0),
        (("2026-11-01T02:00Z",), 0),
    ]


def test_revenue_is_what_it_was_when_the_event_was_stored_and_the_document_says_what_came(
    store: EventStore,
) -> None:
    told, silent = event(revenue_nano=5, customer="a"), event(customer="b")
    owed = {"a": None, "b": (77, "feature_price"), "c": (0, "plan_included")}
    included = event(customer="c", revenue_nano=9)
    assert store.append([told, silent, included], revenue=lambda each: owed[each.customer or ""]).added == 3
    rows = store.cost_by(("customer",))
    assert rows == store.cost_by(("customer",), from_events=True)
    assert {row.key[0]: (row.revenue_nano, row.revenue_known) for row in rows} == {
        "a": (0, 0),
        "b": (77, 1),
        "c": (0, 1),
    }
    assert [each.revenue_nano for each in store.page(customer="c").events] == [9]
    store.append([event(customer="d", revenue_nano=0), event(customer="d", revenue_nano=3)])
    (row,) = store.cost_by((), where={"customer": "d"})
    assert (row.revenue_nano, row.revenue_known) == (3, 2)


def test_unknown_or_repeated_dimension_is_refused(store: EventStore) -> None:
    with pytest.raises(ValueError, match="'user' is not a dimension"):
        store.cost_by(("user",))
    with pytest.raises(ValueError, match="given twice"):
        store.cost_by(("day", "day"))
    with pytest.raises(ValueError, match="give the span instead"):
        store.cost_by((), where={"day": "2026-11-01"})
    with pytest.raises(ValueError, match="'user' is not a dimension"):
        store.cost_by((), where={"user": "u"})


def test_accounts_are_apart(store: EventStore) -> None:
    store.append([event(account_id="other"), event()])
    assert store.cost_by(())[0].events == 1
    assert store.cost_by((), account_id="other")[0].events == 1
    assert len(store.page(account_id="other").events) == 1


def test_a_batch_is_stored_without_a_look_at_the_rest_of_the_record(tmp_path: Path) -> None:
    """Whatever is asked while events, corrections and outcomes are stored is asked by a key."""
    store = EventStore(tmp_path / "t.db")
    asked: list[tuple[str, object]] = []

    def keep(_connection: object, _cursor: object, statement: str, given: object, *_rest: object) -> None:
        asked.append((statement, given[0] if isinstance(given, list) else given))

    sa.event.listen(store._engine, "before_cursor_execute", keep)
    alone = event()
    early = event()
    store.append_adjustments([adjustment(early, cost_delta_nano=5)])
    store.append([alone, early, event(task_id="t"), event(task_id="t", started_ms=NOVEMBER_MS - HOUR_MS)])
    store.append([event(task_id=alone.id), event(task_id="t", started_ms=NOVEMBER_MS - DAY_MS), early])
    store.append_adjustments([adjustment(alone, cost_delta_nano=5)])
    store.append_outcomes([Outcome(new_id(), "default", "t", "failure", 1)])
    store.close()
    scans = set()
    with sqlite3.connect(tmp_path / "t.db") as connection:
        for statement, given in asked:
            if not statement.startswith(("BEGIN", "PRAGMA")):
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", given).fetchall()  # type: ignore[arg-type]
                scans |= {str(row[3]) for row in plan if str(row[3]).startswith("SCAN")}
    assert {scan for scan in scans if "anon_1" not in scan} == {
        "SCAN adjustments USING INDEX adjustments_pending"  # for a single row
    }


def test_arrivals_meet_a_late_event_with_an_old_id(store: EventStore) -> None:
    early, late = event(), event()
    _, place = store.arrivals()
    store.append([late])
    found, place = store.arrivals(place)
    assert found == [late]
    store.append([early, late])
    found, place = store.arrivals(place)
    assert found == [early]
    store.append([event() for _ in range(5)])
    first, place = store.arrivals(place, limit=3)
    second, place = store.arrivals(place, limit=3)
    assert (len(first), len(second)) == (3, 2)
    assert store.arrivals(place) == ([], place)
    assert store.arrivals() == ([], place)


def test_event_that_cannot_be_stored_is_told_and_nothing_of_its_batch_is_there(store: EventStore) -> None:
    bads = (
        event(started_ms=-1),
        event(started_ms=2**70),
        event(customer="\ud800"),
        event(workspace="\x00"),
    )
    for bad in bads:
        with pytest.raises(UnstorableEvent):
            store.append([event(), bad], [b"{}", b"{}"])
    assert store.cost_by((), from_events=True) == []
    assert store.cost_by(()) == []


def test_sum_beyond_64_bits_is_refused_and_not_rounded(store: EventStore) -> None:
    dear = 2**53 - 1
    for _ in range(2):
        store.append([event(cost_nano=dear) for _ in range(500)])
    with pytest.raises(UnstorableEvent):
        store.append([event(cost_nano=dear) for _ in range(500)])
    assert store.cost_by(("customer",))[0].cost_nano == 1_000 * dear


def test_locked_database_is_unavailable_and_the_same_call_succeeds_later(
    database: Where,
) -> None:
    store = EventStore(database, patience_ms=20)
    other = open_database(database)
    batch = [event()]
    with writing(other), pytest.raises(StoreUnavailable, match=r"database is locked|lock timeout"):
        store.append(batch)
    assert store.append(batch).added == 1
    other.dispose()
    store.close()


def test_full_database_is_unavailable_and_holds_what_it_held(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "t.db")
    store.append([event()])

    def cap(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 40")

    sa.event.listen(sa.Engine, "connect", cap)
    try:
        full = EventStore(tmp_path / "t.db")
        with pytest.raises(StoreUnavailable, match="full"):
            full.append([event() for _ in range(2_000)])
        full.close()
    finally:
        sa.event.remove(sa.Engine, "connect", cap)
    assert store.cost_by(())[0].events == 1
    store.close()


def test_writers_in_several_threads_store_each_event_once(store: EventStore) -> None:
    made = [event() for _ in range(400)]
    added: list[int] = []

    def write() -> None:
        added.extend(store.append(made[start : start + 50]).added for start in range(0, 400, 50))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(added) == 400
    assert store.cost_by(()) == store.cost_by((), from_events=True)
    assert store.cost_by(())[0].events == 400


def test_appending_takes_less_than_300_us_of_processor_time_an_event(store: EventStore) -> None:
    """About 40 were measured (25,000 a second); the bound allows for a machine that is busy otherwise."""
    made = [event(customer=f"c{n % 200}", feature=f"f{n % 20}") for n in range(4_000)]
    texts = [encode(each) for each in made]
    start = time.process_time()
    for begin in range(0, len(made), 500):
        store.append(made[begin : begin + 500], texts[begin : begin + 500])
    spent = time.process_time() - start
    assert spent < 3 * len(made) / 10_000
