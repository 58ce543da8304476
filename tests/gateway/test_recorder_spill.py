"""The recorder while the event store is away for long: what leaves Redis, and that all of it arrives."""

from __future__ import annotations

import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from budgets.names import all_shards, names_on
from gateway.recorder.outbox import GROUP, Outbox
from gateway.recorder.spill import FOLDER
from gateway.recorder.spilled import SpilledDocuments
from gateway.recorder.water import SPILL_MAX, Water, excess, low_enough, too_high
from metering import database
from metering.event import CostEvent, decode
from metering.eventstore import EventStore
from tests.budgets.server import Server, engine_binary, start_server
from tests.gateway.doomed_recorder import doomed
from tests.gateway.recorders import (
    OUTBOXES,
    SHARD,
    Forked,
    assert_each_is_recorded_once,
    eventually,
    put,
    spilled,
    waiting,
)
from tests.gateway.recorders import (
    recording as recording_to,
)
from tests.metering.events import event

HIGH_WATER = 200


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(engine_binary(), tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Server:
    shared_server.client.flushall()
    return shared_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "t.db"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    store = EventStore(path)
    yield store
    store.close()


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The database, held by another writer."""
    lock = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        lock.execute("ROLLBACK")
        lock.close()


def make(count: int) -> list[CostEvent]:
    return [event(cost_nano=n) for n in range(count)]


def put_everywhere(server: Server, events: list[CostEvent]) -> None:
    for place, stream in enumerate(OUTBOXES):
        put(server, events[place :: len(OUTBOXES)], stream)


@pytest.mark.parametrize(
    ("water", "expected"),
    [
        (Water(100, 0), (False, False, 20)),
        (Water(80, 0), (False, True, 0)),
        (Water(101, 0), (True, False, 21)),
        (Water(9_999, 0), (True, False, SPILL_MAX)),
        (Water(0, 80), (True, False, SPILL_MAX)),
        (Water(0, 75), (False, False, SPILL_MAX)),
        (Water(0, 74), (False, True, 0)),
    ],
)
def test_water_is_high_by_entries_or_by_memory(water: Water, expected: tuple[bool, bool, int]) -> None:
    assert (too_high(water, 100), low_enough(water, 100), excess(water, 100)) == expected


def test_backlog_above_high_water_is_spilled_and_drained_when_the_database_is_back(
    server: Server, path: Path, store: EventStore, capfd: pytest.CaptureFixture[str]
) -> None:
    made = make(1_000)
    with locked(path):
        put_everywhere(server, made)
        with recording_to(server, path, high_water=HIGH_WATER, segment_bytes=100_000) as running:
            running.until(lambda counters: counters.state == "spilling")
            running.until(lambda counters: counters.backlog <= HIGH_WATER * 8 // 10)
            assert waiting(server) <= HIGH_WATER * 8 // 10
            assert len(spilled(path)) > 1
            counters = running.counters
            assert counters.waiting_entries == counters.spilled >= 1_000 - HIGH_WATER
            assert counters.waiting_bytes == sum(part.stat().st_size for part in spilled(path))
    # The recorder has ended with the database away: everything is in files and in Redis.
    kept = {decode(document).id for document in SpilledDocuments(path.parent / FOLDER).events()}
    assert len(kept) == running.counters.spilled
    with recording_to(server, path, high_water=HIGH_WATER) as running:
        running.until(lambda counters: counters.recorded == 1_000)
        running.until(lambda counters: counters.waiting_entries == 0 and counters.state == "recording")
    assert running.counters.drained == len(kept)
    assert spilled(path) == []
    assert waiting(server) == 0
    assert_each_is_recorded_once(store, made)
    assert "spilling" in capfd.readouterr().out


def test_backlog_below_high_water_stays_in_redis(server: Server, path: Path, store: EventStore) -> None:
    made = make(HIGH_WATER)
    with recording_to(server, path, high_water=HIGH_WATER) as running:
        with locked(path):
            put_everywhere(server, made)
            running.until(lambda counters: counters.state == "database_unavailable")
            running.until(lambda counters: counters.backlog == HIGH_WATER)
        running.until(lambda counters: counters.recorded == HIGH_WATER)
    assert running.counters.spilled == 0
    assert_each_is_recorded_once(store, made)


def test_redis_that_runs_out_of_memory_is_relieved_though_few_entries_wait(
    server: Server, path: Path, store: EventStore
) -> None:
    made = make(1_500)
    with locked(path):
        put(server, made)
        used = int(server.client.info("memory")["used_memory"])
        server.client.config_set("maxmemory", used * 100 // 85)
        try:
            with recording_to(server, path) as running:
                running.until(lambda counters: counters.spilled > 0)
                eventually(lambda: Outbox(server.client).water().memory_percent < 80)
                put(server, made[:10])  # and so it can take new work
        finally:
            server.client.config_set("maxmemory", 0)
    with recording_to(server, path) as running:
        eventually(lambda: waiting(server) == 0 and spilled(path) == [])
    assert_each_is_recorded_once(store, made)


def test_spilled_entry_that_can_never_be_stored_becomes_a_dead_letter_once(
    server: Server, path: Path, store: EventStore
) -> None:
    made = make(2_100)  # the last are not in the batch that is tried while the database is away
    with locked(path):
        put(server, [*made[:150], event(id="bad", started_ms=-1), *made[150:]])
        server.client.xadd(SHARD.outbox, {"e": b"no event"})
        with recording_to(server, path, high_water=1, segment_bytes=16_000_000) as running:
            running.until(lambda counters: counters.spilled >= 2_102)
    (segment,) = spilled(path)
    content = segment.read_bytes()
    with recording_to(server, path) as running:
        running.until(lambda counters: counters.dead == 2 and counters.recorded == 2_100)
        eventually(lambda: spilled(path) == [])
    segment.write_bytes(content)  # as if it had been killed before the segment was removed
    with recording_to(server, path) as running:
        running.until(lambda counters: counters.duplicates == 2_100)
        eventually(lambda: spilled(path) == [])
    assert server.client.xlen(SHARD.dead) == 2
    assert_each_is_recorded_once(store, made)


def test_recorder_that_starts_while_the_database_is_away_spills_and_waits_for_it(
    server: Server, path: Path
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 500)
    made = make(1_000)
    put_everywhere(server, made)
    with recording_to(server, path, high_water=HIGH_WATER) as running:
        running.until(lambda counters: counters.state == "spilling")
        path.unlink()
        EventStore(path).close()
        running.until(lambda counters: counters.recorded == 1_000)
    store = EventStore(path)
    assert_each_is_recorded_once(store, made)
    store.close()


def test_disk_that_is_full_leaves_entries_in_redis_and_is_told(
    server: Server, path: Path, store: EventStore, capfd: pytest.CaptureFixture[str]
) -> None:
    made = make(1_000)
    (path.parent / FOLDER).write_text("no folder can be made here")
    with recording_to(server, path, high_water=HIGH_WATER) as running:
        with locked(path):
            put_everywhere(server, made)
            running.until(lambda counters: counters.state == "spill_failed")
            assert waiting(server) == 1_000
            (path.parent / FOLDER).unlink()
            running.until(lambda counters: counters.spilled > 0)
        running.until(lambda counters: counters.recorded == 1_000)
    assert_each_is_recorded_once(store, made)
    said = capfd.readouterr().out
    assert said.count("spill_failed") == 1


def test_disk_that_fills_up_in_mid_write_loses_nothing(server: Server, path: Path, store: EventStore) -> None:
    """A limit on the size of any file of the recorder's process: as a full disk, for database and spill."""
    put(server, make(1))
    made = make(3_000)
    process = Forked(server, path, high_water=100)
    eventually(lambda: waiting(server) == 0)
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (150_000, hard))
    put_everywhere(server, made)
    eventually(lambda: (path.parent / FOLDER).is_dir())  # it has tried
    assert waiting(server) == 3_000
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    eventually(lambda: waiting(server) == 0 and spilled(path) == [])
    process.end()
    assert store.recorded([each.id for each in made]) == {each.id for each in made}
    assert sum(row.events for row in store.cost_by(())) == 3_001


@pytest.mark.parametrize("stride", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_recorder_killed_between_any_two_steps_of_spilling_and_draining_loses_and_doubles_nothing(
    server: Server, path: Path, store: EventStore, stride: int
) -> None:
    made: list[CostEvent] = []
    died = 0
    for dies_after in range(0, 1_000, stride):
        batch = make(300)
        put(server, batch)
        process = Forked.context.Process(target=doomed, args=(server.url, path, 300, dies_after))
        process.start()
        process.join()
        made += batch
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        died += 1
        with recording_to(server, path, reader=GROUP):
            eventually(lambda: waiting(server) == 0 and spilled(path) == [])
    assert died >= 150 // stride
    assert waiting(server) == 0
    assert spilled(path) == []
    assert [
        names_on(shard).dead for shard in all_shards() if server.client.exists(names_on(shard).dead)
    ] == []
    assert_each_is_recorded_once(store, made)
