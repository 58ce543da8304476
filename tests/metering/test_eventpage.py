from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from metering.database import Where
from metering.event import CostEvent
from metering.eventpage import FILTERS
from metering.eventstore import EventStore, Page, UnknownCursor
from metering.rollup import DAY_MS, HOUR_MS
from tests.metering.events import NOVEMBER_MS, event
from tests.metering.model import name_of

OFFERED = ("customer", "feature", "model", "status", "source", "key_id", "task_id", "trace_id")


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


def some_events() -> list[CostEvent]:
    """Of many names, arriving in no order."""
    made = [
        event(
            started_ms=NOVEMBER_MS + n // 2 * HOUR_MS,
            customer=f"c{n % 3}" if n % 7 else None,
            feature=f"f{n % 2}",
            model=f"m{n % 5}",
            key_id=f"k{n % 2}",
            status="failed" if n % 4 == 0 else "succeeded",
            source="sdk" if n % 6 == 0 else "gateway",
            task_id=f"t{n // 10}" if n % 3 == 0 else None,
            trace_id=f"r{n // 20}" if n % 2 else None,
        )
        for n in range(60)
    ]
    return made[30:] + made[:30]


def walked(store: EventStore, limit: int, **given: object) -> list[Page]:
    pages = [store.page(limit=limit, **given)]  # type: ignore[arg-type]
    while pages[-1].older is not None:
        pages.append(store.page(limit=limit, before=pages[-1].older, **given))  # type: ignore[arg-type]
    return pages


def ids(pages: list[Page]) -> list[str]:
    return [each.id for page in pages for each in page.events]


def newest_first(events: list[CostEvent]) -> list[str]:
    """By start; of one moment by arrival, which is by id within a batch."""
    return [each.id for each in sorted(events, key=lambda each: (each.started_ms, each.id), reverse=True)]


def test_pages_meet_every_event_once_in_both_directions(store: EventStore) -> None:
    made = [event(started_ms=NOVEMBER_MS + n // 3) for n in range(25)]
    store.append(made)
    pages = walked(store, 10)
    assert ids(pages) == newest_first(made)
    assert [len(page.events) for page in pages] == [10, 10, 5]
    back = store.page(limit=10, after=pages[2].newer)
    assert back.events == pages[1].events
    last = store.page(limit=10, after=back.newer)
    assert last.events == pages[0].events
    assert last.newer is None
    newest = pages[0].events[0].id
    assert store.page(limit=10, after=newest) == Page((), None, None)
    assert store.page(limit=2, before=newest).events == pages[0].events[1:3]


def test_every_combination_of_names_finds_what_a_plain_search_finds(store: EventStore) -> None:
    made = some_events()
    store.append(made)
    wanted = {"customer": "c1", "feature": "f0", "model": "m2", "status": "failed", "source": "sdk",
              "key_id": "k0", "task_id": "t1", "trace_id": ""}  # fmt: skip
    for count in (1, 2, 3, 8):
        for names in itertools.islice(
            itertools.combinations(OFFERED, count), 0, None, 3 if count == 3 else 1
        ):
            where = {name: wanted[name] for name in names}
            found = [each for each in made if all(name_of(each, n) == value for n, value in where.items())]
            assert ids(walked(store, 4, **where)) == newest_first(found), where
            assert ids(walked(store, 4, most=5, **where)) == newest_first(found), where


def test_absent_names_and_usual_words_are_found_too(store: EventStore) -> None:
    made = some_events()
    store.append(made)
    for name, value in (("customer", ""), ("status", "succeeded"), ("source", "gateway"), ("task_id", "")):
        found = [each for each in made if name_of(each, name) == value]
        assert found
        assert ids(walked(store, 50, **{name: value})) == newest_first(found)


def test_a_span_is_half_open_and_holds_at_every_depth(store: EventStore) -> None:
    made = some_events()
    store.append(made)
    since, until = NOVEMBER_MS + 5 * HOUR_MS, NOVEMBER_MS + 25 * HOUR_MS
    inside = [each for each in made if since <= each.started_ms < until]
    for where in ({}, {"feature": "f1"}):
        found = [each for each in inside if all(name_of(each, n) == value for n, value in where.items())]
        pages = walked(store, 7, since_ms=since, until_ms=until, **where)
        assert ids(pages) == newest_first(found)
        back = store.page(limit=100, after=pages[-1].newer, since_ms=since, until_ms=until, **where)
        assert ids([back]) == newest_first(found)[: -len(pages[-1].events)]


def test_a_page_looks_at_no_more_events_than_it_may_and_says_where_to_go_on(store: EventStore) -> None:
    store.append(
        [event(started_ms=NOVEMBER_MS + n, provider="rare" if n == 3 else "usual") for n in range(300)]
    )
    first = store.page(limit=5, most=100, provider="rare")
    assert first.events == ()
    assert first.older is not None
    pages = walked(store, 5, most=100, provider="rare")
    assert [len(page.events) for page in pages][:3] == [0, 0, 1]
    assert ids(pages) == [each.id for each in store.page(provider="rare").events]


@pytest.mark.wide
def test_rare_names_are_looked_for_in_growing_portions_and_each_event_is_met_once(store: EventStore) -> None:
    made = [
        event(started_ms=NOVEMBER_MS + n // 4, provider="rare" if n % 61 == 7 else "usual")
        for n in range(700)
    ]
    store.append(made)
    rare = newest_first([each for each in made if each.provider == "rare"])
    assert len(rare) == 12
    for most in (None, 550, 700, 10_000):
        for limit in (3, 9, 12):
            pages = walked(store, limit, most=most, provider="rare")
            assert ids(pages) == rare, (most, limit)
            back = store.page(limit=50, after=f"{NOVEMBER_MS - 1}.-", most=most, provider="rare")
            known = len(back.events)
            assert ids([back]) == rare[len(rare) - known :], (most, limit)
            assert known == len(rare) or (most == 550 and back.newer is not None)
    assert [len(page.events) for page in walked(store, 12, most=550, provider="rare")] == [9, 3]
    assert store.page(limit=5, most=10_000, provider="nobody").older is None


def test_a_task_of_one_event_is_found_by_its_id(store: EventStore) -> None:
    alone, first = event(), event()
    store.append([alone, first, event(task_id=first.id)])
    assert ids([store.page(task_id=alone.id)]) == [alone.id]
    assert store.page(task_id=alone.id, customer="nobody").events == ()
    assert store.page(task_id=alone.id, account_id="other").events == ()
    assert len(store.page(task_id=first.id).events) == 2
    assert store.page(task_id="nothing").events == ()


def test_an_account_sees_its_own_events_and_cursors_alone(store: EventStore) -> None:
    mine, theirs = event(), event(account_id="other")
    store.append([mine, theirs])
    assert store.page(account_id="other").events == (theirs,)
    assert store.find(theirs.id, "default") is None
    assert store.find(theirs.id, "other") == theirs
    with pytest.raises(UnknownCursor):
        store.page(before=theirs.id)
    with pytest.raises(UnknownCursor):
        store.page(before="x")
    with pytest.raises(ValueError, match="user"):
        store.page(user="u")


def test_no_page_sorts_or_scans_the_events_of_a_whole_account(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "t.db")
    made = event()
    store.append([made])
    asked: list[tuple[str, object]] = []

    def note(_c: object, _k: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    leads = (None, *OFFERED)
    try:
        for name in leads:
            filters = {} if name is None else {name: "t" if name == "task_id" else "x"}
            cursor = f"{NOVEMBER_MS}.{made.id}"
            store.page(before=cursor, account_id="a", **filters)  # type: ignore[arg-type]
            store.page(after=cursor, most=500, account_id="a", **filters)  # type: ignore[arg-type]
        store.page(customer="c", model="m", status="failed", since_ms=5, until_ms=9, most=500)
        store.arrivals(3)
    finally:
        store.close()
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    plans = 0
    with sqlite3.connect(tmp_path / "t.db") as connection:
        for statement, parameters in asked:
            if statement.startswith("SELECT"):
                plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())  # type: ignore[arg-type]
                if "SCAN walked" not in plan:  # those are at most as many as were asked for
                    assert "TEMP B-TREE" not in plan, plan
                assert "SCAN events" not in plan, plan
                if "INDEX events_by" in plan:
                    assert "started_ms" in plan, plan
                plans += 1
    assert plans > 2 * len(leads)


def test_every_name_of_the_record_can_be_asked_for(store: EventStore) -> None:
    store.append([event(workspace="w", plan="p", started_ms=NOVEMBER_MS + DAY_MS)])
    (found,) = store.page().events
    for name in FILTERS:
        if name != "task_id":
            assert store.page(**{name: name_of(found, name)}).events == (found,)
