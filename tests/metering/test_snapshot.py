"""The record at one moment: what a snapshot sums, and what came later, are everything once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metering.adjustment import Adjustment
from metering.database import Where
from metering.event import CostEvent
from metering.eventstore import EventStore, StoreUnavailable

ACCOUNT = "default"


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


def event(name: str, cost_nano: int) -> CostEvent:
    return CostEvent(id=name, customer="acme", cost_nano=cost_nano, started_ms=1_000)


def adjustment(name: str, event_id: str, cost_nano: int) -> Adjustment:
    return Adjustment(name, event_id, ACCOUNT, 1, "operator", "told", cost_nano)


def test_a_snapshot_does_not_see_what_is_stored_meanwhile(store: EventStore) -> None:
    store.append([event("a", 10)])
    with store.snapshot() as snapshot:
        store.append([event("b", 5)])
        store.append_adjustments([adjustment("x", "a", 100)])
        sums = snapshot.row_sums(ACCOUNT, ("customer",), {}, 0, None)
        assert sums[("acme",)].spent_nano == 10
        assert snapshot.place.event_seq == 1
    later = store.later(snapshot.place)
    assert [each.id for each in later.events] == ["b"]
    assert [each.id for each in later.adjustments] == ["x"]
    assert store.later(later.place).events == ()


def test_adjustments_whose_events_are_not_here_are_told(store: EventStore) -> None:
    store.append([event("a", 10)])
    store.append_adjustments([adjustment("x", "a", 1), adjustment("y", "b", 2)])
    with store.snapshot() as snapshot:
        assert {name: [each.id for each in found] for name, found in snapshot.pending.items()} == {"b": ["y"]}
        assert snapshot.row_sums(ACCOUNT, (), {}, 0, None)[()].spent_nano == 11
    store.append([event("b", 20)])
    with store.snapshot() as snapshot:
        assert snapshot.pending == {}


def test_an_empty_record_ends_at_nothing(store: EventStore) -> None:
    with store.snapshot() as snapshot:
        assert (snapshot.place.event_seq, snapshot.place.adjustment_seq) == (0, 0)


def test_a_database_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "tollkeeper.db")
    (tmp_path / "tollkeeper.db").unlink()
    (tmp_path / "tollkeeper.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreUnavailable), store.snapshot():
        pass
