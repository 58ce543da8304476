from __future__ import annotations

from collections.abc import Iterator

import pytest

from metering.database import Where
from metering.event import CostEvent
from metering.eventstore import EventStore, Outcome, UnknownCursor
from metering.ids import new_id
from metering.rollup import DAY_MS, HOUR_MS
from tests.metering.events import NOVEMBER_MS, adjustment, event


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


def said(task_id: str, outcome: str, at_ms: int = 1, **changes: str) -> Outcome:
    return Outcome(new_id(), changes.pop("account_id", "default"), task_id, outcome, at_ms, **changes)


def counted(store: EventStore, *dimensions: str) -> dict[tuple[str | None, ...], tuple[int, int]]:
    """Tasks and successes by these, from rollups; single events must say the same."""
    rows = store.cost_by(dimensions)
    assert rows == store.cost_by(dimensions, from_events=True)
    return {row.key: (row.tasks, row.task_successes) for row in rows}


def test_a_request_is_its_own_task_and_several_are_the_one_that_they_name(store: EventStore) -> None:
    store.append([event(), event(task_id="t"), event(task_id="t"), event(task_id="t", account_id="other")])
    assert counted(store) == {(): (2, 2)}


def test_a_task_counts_where_its_first_event_lies_and_succeeds_as_its_final_one(store: EventStore) -> None:
    store.append([event(task_id="t", feature="write", started_ms=NOVEMBER_MS + 50, outcome="success")])
    assert counted(store, "feature") == {("write",): (1, 1)}
    store.append([event(task_id="t", feature="read", started_ms=NOVEMBER_MS + 90, outcome="failure")])
    assert counted(store, "feature") == {("write",): (1, 0), ("read",): (0, 0)}
    store.append([event(task_id="t", feature="plan", started_ms=NOVEMBER_MS - DAY_MS, outcome="failure")])
    assert counted(store, "feature", "day") == {
        ("plan", "2026-10-31"): (1, 0),
        ("write", "2026-11-01"): (0, 0),
        ("read", "2026-11-01"): (0, 0),
    }


def test_requests_that_name_an_earlier_request_as_their_task_join_it_in_any_order(store: EventStore) -> None:
    for first_alone in (True, False):
        one = event(started_ms=NOVEMBER_MS, customer="a" if first_alone else "b")
        more = event(started_ms=NOVEMBER_MS + 5, customer=one.customer, task_id=one.id, outcome="failure")
        for each in (one, more) if first_alone else (more, one):
            store.append([each])
        task = store.task(one.id)
        assert task is not None
        assert (task.sums["events"], task.sums["tasks"], task.outcome) == (2, 1, "failure")
    assert counted(store, "customer") == {("a",): (1, 0), ("b",): (1, 0)}


def test_an_outcome_counts_before_and_after_the_events_come(store: EventStore) -> None:
    alone, unfinished = event(), event(task_id="t", outcome="failure")
    given = [said("t", "success", reason="accepted"), said(alone.id, "rejected"), said("never", "failure")]
    assert store.append_outcomes(given) == 3
    assert store.append_outcomes(given) == 0
    waiting = store.task("t")
    assert waiting is not None
    assert (waiting.first_ms, waiting.outcome, waiting.reason) == (None, "success", "accepted")
    store.append([alone, unfinished])
    assert counted(store) == {(): (2, 1)}
    store.append_outcomes([said(alone.id, "success", at_ms=5), said("t", "failure", at_ms=0)])
    assert counted(store) == {(): (2, 2)}
    assert [each.outcome for each in store.outcomes_of(alone.id)] == ["rejected", "success"]


def test_an_outcome_of_another_account_says_nothing(store: EventStore) -> None:
    mine = event()
    store.append([mine])
    store.append_outcomes([said(mine.id, "failure", account_id="other")])
    assert counted(store) == {(): (1, 1)}
    assert store.task(mine.id, "elsewhere") is None


def test_a_tasks_sums_are_its_events_with_what_became_known_later(store: EventStore) -> None:
    first = event(task_id="t", cost_nano=100)
    store.append([first])
    store.append_adjustments([adjustment(first, cost_delta_nano=11)])
    store.append([event(task_id="t", cost_nano=None, revenue_nano=7, attempts=[])])
    task = store.task("t")
    assert task is not None
    assert (task.sums["cost_nano"], task.sums["unpriced"], task.sums["revenue_nano"]) == (111, 1, 7)
    founder = event(cost_nano=5)
    store.append([founder])
    store.append_adjustments([adjustment(founder, cost_delta_nano=2)])
    store.append([event(cost_nano=30, task_id=founder.id)])
    joined = store.task(founder.id)
    assert joined is not None
    assert joined.sums["cost_nano"] == 37


def test_tasks_are_paged_newest_first_by_names_and_outcomes(store: EventStore) -> None:
    made: list[CostEvent] = []
    for n in range(30):
        names = {"customer": f"c{n % 3}", "feature": f"f{n % 2}"}
        made.append(event(task_id=f"t{n:02d}", started_ms=NOVEMBER_MS + n * HOUR_MS, **names))
        made.append(event(task_id=f"t{n:02d}", started_ms=NOVEMBER_MS + (n + 40) * HOUR_MS))
    store.append(made)
    store.append_outcomes([said("t07", "failure"), said("unseen", "failure"), said("t16", "failure")])

    def walked(**given: object) -> list[str]:
        page = store.tasks(limit=4, **given)  # type: ignore[arg-type]
        found = [each.task_id for each in page.tasks]
        while page.older is not None:
            page = store.tasks(limit=4, before=page.older, **given)  # type: ignore[arg-type]
            found += [each.task_id for each in page.tasks]
        return found

    names = [f"t{n:02d}" for n in reversed(range(30))]
    assert walked() == names
    assert walked(customer="c1") == [f"t{n:02d}" for n in reversed(range(30)) if n % 3 == 1]
    assert walked(customer="c1", feature="f0", most=5) == [
        f"t{n:02d}" for n in reversed(range(30)) if n % 3 == 1 and n % 2 == 0
    ]
    assert walked(outcome="failure") == walked(outcome="failure", most=6) == ["t16", "t07"]
    assert walked(since_ms=NOVEMBER_MS + 3 * HOUR_MS, until_ms=NOVEMBER_MS + 6 * HOUR_MS) == names[24:27]
    assert store.tasks(account_id="other").tasks == ()
    with pytest.raises(UnknownCursor):
        store.tasks(before="x")
    with pytest.raises(ValueError, match="status"):
        store.tasks(status="failed")


def test_a_thousand_tasks_in_one_batch_are_settled_together(store: EventStore) -> None:
    made = [event(task_id=f"t{n % 600}", outcome="failure" if n < 600 else "success") for n in range(1_200)]
    assert store.append(made).added == 1_200
    assert counted(store) == {(): (600, 600)}
