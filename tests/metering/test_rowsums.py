from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.adjustment import Adjustment
from metering.database import Where
from metering.event import CostEvent
from metering.eventstore import EventStore, Sums, UnstorableEvent
from metering.rollup import CORRECTED, DAY_MS, HOUR_MS, MEASURES, measured
from tests.metering.events import NOVEMBER_MS, adjustment, any_adjustments, any_events, event

QUESTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("account_id",),
    ("key_id",),
    ("customer",),
    ("customer", "feature"),
    ("customer", "workspace"),
    ("workspace", "customer"),
    ("feature",),
    ("plan",),
    ("trace_id",),
    ("route",),
    ("customer", "plan", "route"),
    ("account_id", "feature"),
)
MOMENTS = st.integers(NOVEMBER_MS - DAY_MS, NOVEMBER_MS + 4 * DAY_MS)


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


def name_of(event: CostEvent, column: str) -> str:
    return getattr(event, "route_final" if column == "route" else column) or ""


def sums_of(
    events: Sequence[CostEvent], adjustments: Sequence[Adjustment], columns: Sequence[str]
) -> dict[tuple[str, ...], Sums]:
    """The rows' sums, added up in Python from events and adjustments."""
    found: dict[tuple[str, ...], Sums] = {}
    for each in events:
        key = tuple(name_of(each, column) for column in columns)
        if "" in key:
            continue
        own = [a for a in adjustments if (a.event_id, a.account_id) == (each.id, each.account_id)]
        usage = each.usage or {}
        more = (
            each.known_nano + sum(a.cost_delta_nano for a in own),
            each.doubted_nano + sum(a.doubted_delta_nano for a in own),
            usage.get("input_tokens", 0),
            usage.get("output_tokens", 0),
            1,
        )
        found[key] = Sums(*(a + b for a, b in zip(found.get(key, (0,) * 5), more, strict=True)))
    return found


@given(
    st.lists(any_events(), max_size=25),
    st.lists(any_adjustments(), max_size=25),
    st.randoms(use_true_random=False),
    st.integers(1, 12),
    MOMENTS,
    st.none() | MOMENTS,
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_are_those_of_events_and_adjustments_in_any_order_and_however_often_they_come(
    database: Where,
    new_database: Callable[[], Where],
    events: list[CostEvent],
    adjustments: list[Adjustment],
    chance: object,
    size: int,
    since: int,
    until: int | None,
) -> None:
    store = EventStore(new_database())
    try:
        first: dict[str, CostEvent] = {}
        known: dict[str, Adjustment] = {}
        arriving: list[CostEvent | Adjustment] = [*events, *adjustments] * 2
        chance.shuffle(arriving)  # type: ignore[attr-defined]
        for start in range(0, len(arriving), size):
            run = arriving[start : start + size]
            fresh = {e.id: e for e in reversed(run) if isinstance(e, CostEvent) and e.id not in first}
            assert store.append([e for e in run if isinstance(e, CostEvent)]).added == len(fresh)
            first |= fresh
            later = {a.id: a for a in reversed(run) if isinstance(a, Adjustment) and a.id not in known}
            assert store.append_adjustments([a for a in run if isinstance(a, Adjustment)]) == len(later)
            known |= later
        applied = [*known.values()]
        mine = [e for e in first.values() if e.account_id == "default"]
        inside = [e for e in mine if since <= e.started_ms and (until is None or e.started_ms < until)]
        for columns in QUESTIONS:
            whole = sums_of(inside, applied, columns)
            assert store.row_sums("default", columns, {}, since, until) == whole
            for key in list(whole)[:2]:
                where = dict(zip(columns, key, strict=True))
                assert store.row_sums("default", columns, where, since, until) == {key: whole[key]}
        _costs_are_corrected(store, inside, applied, since, until)
        for each in first.values():
            assert store.find(each.id) == each
    finally:
        store.close()


def _costs_are_corrected(
    store: EventStore,
    events: Sequence[CostEvent],
    adjustments: Sequence[Adjustment],
    since: int,
    until: int | None,
) -> None:
    """cost_by, from rollups and from events, gives the events' measures plus the adjustments'."""
    ids = {(each.id, each.account_id) for each in events}
    own = [each for each in adjustments if (each.event_id, each.account_id) in ids]
    wanted = dict.fromkeys(MEASURES, 0)
    for each in events:
        for name, amount in zip(MEASURES, measured(each), strict=True):
            wanted[name] += amount
    for delta in own:
        wanted["cost_nano"] += delta.cost_delta_nano
        wanted["doubted_nano"] += delta.doubted_delta_nano
        wanted["unknown_nano"] += delta.unknown_delta_nano
        wanted["unpriced"] += delta.unpriced_delta
    for dimensions in ((), ("customer", "feature"), ("model",), ("key", "day"), ("customer", "model")):
        rows = store.cost_by(dimensions, since, until)
        assert rows == store.cost_by(dimensions, since, until, from_events=True)
        for name in (*CORRECTED, "events"):
            assert sum(getattr(row, name) for row in rows) == wanted[name]


def test_sums_count_the_half_open_span_of_the_start(store: EventStore) -> None:
    starts = (NOVEMBER_MS - 1, NOVEMBER_MS, NOVEMBER_MS + HOUR_MS - 1, NOVEMBER_MS + HOUR_MS)
    store.append([event(started_ms=start, cost_nano=10**n, doubted_nano=3) for n, start in enumerate(starts)])

    def of_key(from_ms: int, to_ms: int | None, key: str = "key_1") -> tuple[int, int]:
        found = store.row_sums("default", ("key_id",), {"key_id": key}, from_ms, to_ms)
        sums = found.get((key,), Sums(0, 0, 0, 0, 0))
        return sums.spent_nano, sums.doubted_nano

    assert of_key(NOVEMBER_MS, NOVEMBER_MS + HOUR_MS) == (110, 6)
    assert of_key(0, 2**53 - 1) == (1_111, 12)
    assert of_key(0, None) == (1_111, 12)
    assert of_key(NOVEMBER_MS, NOVEMBER_MS) == (0, 0)
    assert of_key(0, None, "key_2") == (0, 0)


def test_accounts_are_apart(store: EventStore) -> None:
    mine, theirs = event(), event(account_id="other")
    store.append([mine, theirs])
    assert store.row_sums("other", ("account_id",), {}, 0, None) == {
        ("other",): Sums(330_000, 0, 1_200, 300, 1)
    }
    assert store.row_sums("default", ("customer",), {"account_id": "other"}, 0, None) == {}
    assert store.row_sums("nobody", (), {}, 0, None) == {}
    store.append_adjustments([adjustment(theirs, account_id="default", cost_delta_nano=7)])
    assert store.row_sums("other", ("account_id",), {}, 0, None)[("other",)].spent_nano == 330_000


def test_route_is_the_alias_that_served(store: EventStore) -> None:
    store.append([event(route="asked", route_final="fast"), event(route="asked", route_final=None)])
    assert list(store.row_sums("default", ("route",), {}, 0, None)) == [("fast",)]


@pytest.mark.parametrize(
    ("columns", "where"),
    [
        (("user",), {}),
        (("customer", "customer"), {}),
        ((), {"model": "m"}),
        (("customer",), {"customer": ""}),
    ],
)
def test_names_that_no_row_has_are_refused(
    store: EventStore, columns: tuple[str, ...], where: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"is not a name of rows|is empty"):
        store.row_sums("default", columns, where, 0, None)


def test_an_event_of_the_year_9999_makes_no_look_up_endless(store: EventStore) -> None:
    store.append([event(started_ms=0), event(started_ms=253_402_300_799_999), event()])
    found = store.row_sums("default", ("customer",), {"customer": "acme"}, 0, None)
    assert found[("acme",)].requests == 3


def test_no_question_reads_more_of_the_events_than_its_span(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "t.db")
    store.append([event(started_ms=NOVEMBER_MS + n * HOUR_MS) for n in range(100)])
    asked: list[tuple[str, object]] = []

    def note(_c: object, _k: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        for columns in QUESTIONS:
            where = {column: "x" for column in columns if column != "account_id"}
            for given_ in ({}, where):
                store.row_sums("default", columns, given_, NOVEMBER_MS + 5, NOVEMBER_MS + 3 * DAY_MS + 5)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
        store.close()
    with sqlite3.connect(tmp_path / "t.db") as connection:
        for statement, parameters in asked:
            plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]  # type: ignore[arg-type]
            assert not any(step.startswith("SCAN events") for step in plan), plan
            for step in plan:
                if step.startswith("SEARCH events"):
                    assert "INDEX events_by_start (account_id=? AND started_ms" in step, plan


def test_adjustment_is_kept_beside_its_event(store: EventStore) -> None:
    one, late = event(cost_nano=100), event(cost_nano=None)
    first, second = adjustment(one, cost_delta_nano=5), adjustment(one, doubted_delta_nano=-1, note="n")
    early = adjustment(late, cost_delta_nano=9, unpriced_delta=-1)
    store.append([one])
    assert store.append_adjustments([first, second, first, early]) == 3
    assert store.append_adjustments([]) == 0
    assert store.adjustments_of(one.id) == [first, second]
    assert store.recorded_adjustments([first.id, early.id, "nobody"]) == {first.id, early.id}
    assert store.cost_by(())[0].cost_nano == 105
    store.append([late])
    (row,) = store.cost_by(())
    assert (row.cost_nano, row.unpriced, row.events) == (114, 0, 2)


def test_adjustments_beyond_64_bits_are_refused_whole(store: EventStore) -> None:
    dear = [event(cost_nano=2**53 - 1) for _ in range(500)]
    store.append(dear)
    store.append([event(cost_nano=2**53 - 1) for _ in range(500)])
    more = [adjustment(each, cost_delta_nano=2**53 - 1) for each in dear]
    with pytest.raises(UnstorableEvent):
        store.append_adjustments(more)
    assert store.adjustments_of(dear[0].id) == []
    assert store.cost_by(("customer",))[0].cost_nano == 1_000 * (2**53 - 1)
