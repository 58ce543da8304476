from __future__ import annotations

from collections.abc import Iterator

import pytest

from metering.database import Where
from metering.event import CostEvent
from metering.eventstore import EventsRemoved, EventStore
from metering.rollup import DAY_MS, HOUR_MS
from tests.metering.events import NOVEMBER_MS, adjustment, event
from tests.metering.test_rowsums import sums_of

FLOOR_MS = NOVEMBER_MS + 3 * DAY_MS


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


def some_days() -> list[CostEvent]:
    """Six days, an event every 3 hours, of two customers."""
    return [
        event(
            started_ms=NOVEMBER_MS + n * 3 * HOUR_MS + 7,
            customer=f"c{n % 2}",
            cost_nano=10**6 + n,
            task_id=f"t{n // 9}" if n % 3 == 0 else None,
        )
        for n in range(48)
    ]


def test_sums_and_tasks_stay_and_single_events_are_gone(store: EventStore) -> None:
    made = some_days()
    store.append(made)
    questions = ((), ("customer",), ("customer", "day"), ("feature", "model"), ("key", "hour"))
    before = [store.cost_by(each) for each in questions]
    tasks = [store.task(f"t{n}") for n in range(5)]
    removed = store.remove_events(FLOOR_MS + 5 * HOUR_MS)
    assert (removed.events, removed.complete_since_ms) == (24, FLOOR_MS)
    assert store.complete_since() == FLOOR_MS
    assert [store.cost_by(each) for each in questions] == before
    assert [store.task(f"t{n}") for n in range(5)] == tasks
    assert store.find(made[0].id) is None
    assert len(store.page(limit=100).events) == 24
    assert store.recorded([each.id for each in made]) == {each.id for each in made[24:]}
    assert store.remove_events(FLOOR_MS).events == 0


def test_a_question_for_removed_events_is_refused_and_never_answered_without_them(store: EventStore) -> None:
    store.append(some_days())
    store.remove_events(FLOOR_MS)
    for since in (0, FLOOR_MS - 1, NOVEMBER_MS + HOUR_MS + 5):
        with pytest.raises(EventsRemoved) as refused:
            store.cost_by((), since, from_events=True)
        assert refused.value.complete_since_ms == FLOOR_MS
    with pytest.raises(EventsRemoved):
        store.cost_by(("customer",), NOVEMBER_MS + HOUR_MS + 5)
    with pytest.raises(EventsRemoved):
        store.cost_by(("customer", "key"), NOVEMBER_MS)
    with pytest.raises(EventsRemoved):
        store.row_sums("default", ("trace_id",), {}, NOVEMBER_MS, None)
    assert store.cost_by(("customer",), NOVEMBER_MS + HOUR_MS)
    assert store.cost_by((), FLOOR_MS, from_events=True)[0].events == 24
    assert store.cost_by((), FLOOR_MS + 5)[0].events == 24


def test_sums_that_begin_inside_of_a_removed_day_stay_right_where_that_was_asked_for(
    store: EventStore,
) -> None:
    made = some_days()
    store.append(made)
    birth = NOVEMBER_MS + DAY_MS + 5 * HOUR_MS + 1_234
    assert store.remove_events(FLOOR_MS, [birth, NOVEMBER_MS, FLOOR_MS + 5]).events == 16
    counted = [each for each in made if each.started_ms >= birth]
    for columns in (("customer",), ("key_id",), ("feature",), ("customer", "feature"), ("account_id",)):
        assert store.row_sums("default", columns, {}, birth, None) == sums_of(counted, [], columns)
    of_one = store.row_sums("default", ("customer",), {"customer": "c0"}, birth, FLOOR_MS + 5 * HOUR_MS)
    inside = [each for each in counted if each.customer == "c0" and each.started_ms < FLOOR_MS + 5 * HOUR_MS]
    assert of_one == sums_of(inside, [], ("customer",))
    for columns, since in ((("customer",), NOVEMBER_MS + 5), (("trace_id",), birth)):
        with pytest.raises(EventsRemoved):
            store.row_sums("default", columns, {}, since, None)
    assert all(each.started_ms >= FLOOR_MS for each in store.page(limit=100).events)
    assert store.find(made[10].id) is None
    store.remove_events(FLOOR_MS + DAY_MS)
    assert store.row_sums("default", (), {}, birth, None) == sums_of(counted, [], ())


def test_what_came_last_stays_so_that_no_place_in_the_order_of_arrival_comes_again(store: EventStore) -> None:
    store.append([event(started_ms=FLOOR_MS)])
    late = event(started_ms=NOVEMBER_MS)
    store.append([late])
    _, place = store.arrivals()
    assert store.remove_events(FLOOR_MS).events == 0
    store.append([event(started_ms=FLOOR_MS + 1)])
    assert len(store.arrivals(place)[0]) == 1
    assert store.remove_events(FLOOR_MS).events == 1
    assert store.cost_by(())[0].events == 3


def test_an_event_that_comes_after_its_time_is_summed_and_removed_with_the_next_round(
    store: EventStore,
) -> None:
    store.append(some_days())
    store.remove_events(FLOOR_MS)
    late = event(started_ms=NOVEMBER_MS + 5, task_id="t0", cost_nano=77)
    store.append([late, event(started_ms=FLOOR_MS)])
    assert store.cost_by(())[0].events == 50
    assert store.cost_by((), NOVEMBER_MS, NOVEMBER_MS + HOUR_MS)[0].cost_nano == 10**6 + 77
    task = store.task("t0")
    assert task is not None
    assert task.first_ms == late.started_ms
    assert sum(row.tasks for row in store.cost_by(("day",))) == 48 - 16 + 6 + 1
    assert store.remove_events(FLOOR_MS).events == 1


def test_corrections_go_with_their_events_and_what_they_changed_stays(store: EventStore) -> None:
    made = some_days()
    store.append(made)
    store.append_adjustments(
        [adjustment(made[0], cost_delta_nano=5), adjustment(made[-1], cost_delta_nano=7)]
    )
    before = store.cost_by(())
    store.remove_events(FLOOR_MS)
    assert store.cost_by(()) == before
    assert store.adjustments_of(made[0].id) == []
    assert len(store.adjustments_of(made[-1].id)) == 1


def test_a_rebuild_touches_nothing_before_the_removal_and_mends_what_is_after(store: EventStore) -> None:
    store.append([*some_days(), event(account_id="other", started_ms=FLOOR_MS + 9)])
    questions = ((), ("customer",), ("customer", "day"), ("feature", "model"), ("key", "hour"))
    before = [store.cost_by(each) for each in questions]
    store.remove_events(FLOOR_MS)
    made = store.rebuild()
    assert made.buckets > 0
    assert [store.cost_by(each) for each in questions] == before
    assert store.cost_by((), account_id="other")[0].events == 1
