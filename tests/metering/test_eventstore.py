from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from metering import eventtable
from metering.database import Where, open_database, writing
from metering.event import CostEvent, encode
from metering.eventstore import (
    Appended,
    CostRow,
    Difference,
    EventStore,
    StoreUnavailable,
    UnstorableEvent,
)
from metering.rollup import DAY_MS, DIMENSIONS, MEASURES, ROLLUPS, measured
from tests.metering.events import NOVEMBER_MS, adjustment, any_events, event


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


def summed(events: Sequence[CostEvent]) -> tuple[int, ...]:
    """The measures of the events, added up in Python."""
    return tuple(map(sum, zip(*map(measured, events), strict=True))) if events else (0,) * len(MEASURES)


def measures(row: CostRow) -> tuple[int, ...]:
    return tuple(getattr(row, name) for name in MEASURES)


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
        assert connection.scalar(sa.select(eventtable.events.c.document)) == text.decode()


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
    st.lists(any_events(), max_size=25),
    st.randoms(use_true_random=False),
    st.integers(1, 7),
    st.integers(NOVEMBER_MS - DAY_MS, NOVEMBER_MS + 4 * DAY_MS),
    st.none() | st.integers(NOVEMBER_MS - DAY_MS, NOVEMBER_MS + 4 * DAY_MS),
)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rollups_equal_sums_over_events_for_any_batches_order_and_span(
    database: Where,
    new_database: Callable[[], Where],
    events: list[CostEvent],
    chance: object,
    size: int,
    since: int,
    until: int | None,
) -> None:
    where = new_database()
    store = EventStore(where)
    try:
        first: dict[str, CostEvent] = {}
        for start in range(0, len(events), size):
            batch = events[start : start + size]
            fresh = {each.id: each for each in reversed(batch) if each.id not in first}
            assert store.append(batch).added == len(fresh)
            first |= fresh
        repeated = [*events]
        chance.shuffle(repeated)  # type: ignore[attr-defined]
        assert store.append(repeated).added == 0
        inside = [
            e for e in first.values() if since <= e.started_ms and (until is None or e.started_ms < until)
        ]
        for dimensions in (
            (),
            ("customer",),
            ("feature", "day"),
            ("provider", "model", "route"),
            ("key",),
            ("customer", "model"),
        ):
            rows = store.cost_by(dimensions, since, until)
            assert rows == store.cost_by(dimensions, since, until, from_events=True)
            total = tuple(map(sum, zip(*map(measures, rows), strict=True))) if rows else summed([])
            assert total == summed(inside)
        every = summed(list(first.values()))
        with beside(where) as connection:
            for rollup in ROLLUPS:
                wanted = every
                if rollup.only is not None:
                    wanted = summed([e for e in first.values() if getattr(e, rollup.only)])
                sums = (sa.func.coalesce(sa.func.sum(rollup.table.c[name]), 0) for name in MEASURES)
                assert tuple(connection.execute(sa.select(*sums)).one()) == wanted
    finally:
        store.close()


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
    for count in range(len(DIMENSIONS) + 1):
        for dimensions in itertools.combinations(DIMENSIONS, count):
            assert sum(row.cost_nano for row in store.cost_by(dimensions)) == 330_012


def test_unknown_or_repeated_dimension_is_refused(store: EventStore) -> None:
    with pytest.raises(ValueError, match="'user' is not a dimension"):
        store.cost_by(("user",))
    with pytest.raises(ValueError, match="given twice"):
        store.cost_by(("day", "day"))


def test_accounts_are_apart(store: EventStore) -> None:
    store.append([event(account_id="other"), event()])
    assert store.cost_by(())[0].events == 1
    assert store.cost_by((), account_id="other")[0].events == 1
    assert len(store.page(account_id="other").events) == 1


def test_pages_meet_every_event_once_in_both_directions(store: EventStore) -> None:
    made = [event() for _ in range(25)]
    store.append(made[12:])
    store.append(made[:12])
    ids = [each.id for each in made][::-1]
    page = store.page(limit=10)
    seen = [each.id for each in page.events]
    pages = [page]
    while page.older is not None:
        page = store.page(limit=10, before=page.older)
        seen += [each.id for each in page.events]
        pages.append(page)
    assert seen == ids
    assert [len(each.events) for each in pages] == [10, 10, 5]
    back = store.page(limit=10, after=pages[2].newer)
    assert back.events == pages[1].events
    last = store.page(limit=10, after=back.newer)
    assert last.events == pages[0].events
    assert last.newer is None
    assert store.page(limit=10, after=ids[0]).events == ()


def test_pages_are_filtered_by_each_name_and_by_its_absence(store: EventStore) -> None:
    kinds = ("customer", "feature", "key_id", "model")
    store.append([event(**{kind: "wanted"}) for kind in kinds])
    store.append([event(status="failed"), event(customer=None)])
    for kind in kinds:
        (found,) = store.page(**{kind: "wanted"}).events  # type: ignore[arg-type]
        assert getattr(found, kind) == "wanted"
    assert [each.status for each in store.page(status="failed").events] == ["failed"]
    assert [each.customer for each in store.page(customer="").events] == [None]
    assert store.page(customer="wanted", status="failed").events == ()


def test_no_page_sorts_the_events_of_a_whole_account(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "t.db")
    asked: list[tuple[str, object]] = []

    def note(_c: object, _k: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        for filters in (
            {},
            {"customer": "c"},
            {"feature": "f"},
            {"key_id": "k"},
            {"model": "m"},
            {"status": "s"},
        ):
            store.page(before="x", **filters)  # type: ignore[arg-type]
            store.page(after="x", **filters)  # type: ignore[arg-type]
        store.arrivals(3)
    finally:
        store.close()
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    plans = 0
    with sqlite3.connect(tmp_path / "t.db") as connection:
        for statement, parameters in asked:
            if statement.startswith("SELECT"):
                plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())  # type: ignore[arg-type]
                assert "TEMP B-TREE" not in plan, plan
                plans += 1
    assert plans == 13


def test_a_batch_is_rolled_up_from_its_own_rows_alone(tmp_path: Path) -> None:
    """An index in the order of a rollup's columns would be read whole for each batch."""
    EventStore(tmp_path / "t.db").close()
    with sqlite3.connect(tmp_path / "t.db") as connection:
        for statement in eventtable._ROLL_UP:
            plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement.sqlite}", (1,)).fetchall())
            assert "SEARCH events USING INTEGER PRIMARY KEY (rowid>?)" in plan
        for statement in eventtable._SETTLE:
            plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement.sqlite}").fetchall())
            assert "SCAN adjustments USING INDEX adjustments_pending" in plan
            assert "SCAN events" not in plan


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
