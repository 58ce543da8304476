from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.recorder.storage import Storage
from metering import database
from metering.event import CostEvent, encode
from metering.eventstore import EventStore, StoreUnavailable
from tests.metering.events import event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.db"


@pytest.fixture
def storage(path: Path) -> Iterator[Storage]:
    storage = Storage(path)
    yield storage
    storage.close()


def append(storage: Storage, *events: CostEvent) -> int:
    return storage.append(events, [encode(each) for each in events]).added


def recorded(path: Path, *events: CostEvent) -> int:
    store = EventStore(path, create=False)
    try:
        return len(store.recorded([each.id for each in events]))
    finally:
        store.close()


def move(path: Path, to: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{to}{suffix}")


def test_first_use_makes_the_database(storage: Storage, path: Path) -> None:
    made = event()
    assert append(storage, made) == 1
    assert recorded(path, made) == 1


def test_file_that_was_moved_away_takes_no_more_events_until_it_is_back(storage: Storage, path: Path) -> None:
    first, second = event(), event()
    append(storage, first)
    move(path, path.with_name("away.db"))
    with pytest.raises(StoreUnavailable, match="no such database"):
        append(storage, second)
    assert not path.exists()
    move(path.with_name("away.db"), path)
    assert append(storage, first, second) == 1
    assert recorded(path, first, second) == 2


def test_file_that_is_replaced_during_a_write_has_not_taken_the_events(
    storage: Storage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(storage, event())
    made = event()
    plain = EventStore.append

    def replaced_meanwhile(*arguments: object, **more: object) -> object:
        move(path, path.with_name("away.db"))
        path.write_bytes(b"no database")
        return plain(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(EventStore, "append", replaced_meanwhile)
    with pytest.raises(StoreUnavailable, match="moved, deleted or replaced"):
        append(storage, made)
    monkeypatch.undo()
    with pytest.raises(StoreUnavailable, match="not a database"):
        append(storage, made)


def test_file_that_replaces_it_is_used_from_then_on(storage: Storage, path: Path) -> None:
    first, second = event(), event()
    append(storage, first)
    move(path, path.with_name("away.db"))
    EventStore(path).close()
    assert append(storage, second) == 1
    assert (recorded(path, first, second), recorded(path.with_name("away.db"), first, second)) == (1, 1)


def test_locked_database_is_unavailable_and_usable_afterwards(
    storage: Storage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    made = event()
    append(storage, event())
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="locked"):
            append(storage, made)
    lock.execute("ROLLBACK")
    lock.close()
    assert append(storage, made) == 1
