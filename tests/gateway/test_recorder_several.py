"""Several recorders on one Redis and one event store, some of which die or sleep."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.recorder.outbox import GROUP
from metering.database import Where
from metering.event import CostEvent
from metering.eventstore import EventStore
from tests.budgets.server import Server, engine_binary, start_server
from tests.gateway.recorders import (
    OUTBOXES,
    Forked,
    assert_each_is_recorded_once,
    eventually,
    make_whole,
    pending,
    put,
    recording,
    spilled,
    waiting,
)
from tests.metering.events import event

IDLE_MS = 1_500


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(engine_binary(), tmp_path_factory.mktemp("valkey"))
    make_whole(server)
    yield server
    server.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.db"


@pytest.fixture
def where(engine_name: str, database: Where, path: Path) -> Where:
    """The record: beside what else a recorder keeps, or on a server."""
    return path if engine_name == "sqlite" else database


@pytest.fixture
def store(where: Where) -> Iterator[EventStore]:
    store = EventStore(where)
    yield store
    store.close()


def make(count: int) -> list[CostEvent]:
    return [event(cost_nano=n) for n in range(count)]


def put_everywhere(server: Server, events: list[CostEvent]) -> None:
    for place, stream in enumerate(OUTBOXES):
        put(server, events[place :: len(OUTBOXES)], stream)


def in_hand(server: Server) -> dict[str, int]:
    """Reader -> entries delivered to it and not settled."""
    pipeline = server.client.pipeline(transaction=False)
    for stream in OUTBOXES:
        pipeline.xinfo_consumers(stream, GROUP)
    found: dict[str, int] = {}
    # A recorder that has just begun may not have made every group yet.
    for readers in pipeline.execute(raise_on_error=False):
        for reader in readers if isinstance(readers, list) else []:
            name = reader["name"].decode()
            found[name] = found.get(name, 0) + int(reader["pending"])
    return found


def start_next(server: Server, path: Path, where: Where, number: int) -> tuple[Forked, str]:
    """A recorder, and the name under which it reads."""
    process = Forked(server, path, where=where, patience_ms=500, claim_idle_ms=IDLE_MS)
    slot = path.parent / f"recorder-{number}.slot"
    eventually(lambda: slot.exists() and slot.read_text().endswith("\n"))
    return process, slot.read_text().strip()


@pytest.mark.parametrize("count", [6_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_three_recorders_of_which_one_is_killed_and_one_sleeps_lose_and_double_nothing(
    server: Server, path: Path, where: Where, store: EventStore, count: int
) -> None:
    made = make(count)
    batches = [made[place::100] for place in range(100)]
    (killed, killed_name), (sleeping, name), (third, _) = (
        start_next(server, path, where, n) for n in range(3)
    )
    try:
        eventually(lambda: len(server.client.xinfo_groups(OUTBOXES[-1])) == 1)
        while in_hand(server).get(killed_name, 0) == 0:
            put_everywhere(server, batches.pop())
        killed.kill()
        while True:
            while in_hand(server).get(name, 0) == 0:
                put_everywhere(server, batches.pop())
            sleeping.send(signal.SIGSTOP)
            if in_hand(server)[name]:
                break
            sleeping.send(signal.SIGCONT)  # it had settled them before it stopped
        for batch in batches:
            put_everywhere(server, batch)
        # The third does all, theirs included; unless the second sleeps inside a transaction, which keeps
        # every other writer out until it wakes.
        asleep_until = time.monotonic() + 3 * IDLE_MS / 1_000
        eventually(lambda: waiting(server) == 0 or time.monotonic() > asleep_until)
        sleeping.send(signal.SIGCONT)
        eventually(lambda: waiting(server) == 0, within_s=60)
        sleeping.end()
        third.end()
    finally:
        for each in (killed, sleeping, third):
            each.kill()
    assert all(pending(server, stream) == 0 for stream in OUTBOXES)
    assert spilled(path) == []
    assert_each_is_recorded_once(store, made)


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_successor_of_a_killed_recorder_goes_on_at_once_with_what_it_had(
    server: Server, path: Path, store: EventStore
) -> None:
    made = make(300)
    with recording(server, path, idle_ms=60_000) as first:
        put(server, made[:1])
        first.until(lambda counters: counters.recorded == 1)
        (name,) = in_hand(server)
    put(server, made[1:])
    server.client.xreadgroup(GROUP, name, {OUTBOXES[7]: ">"})  # as if it had been killed with all in hand
    with recording(server, path, idle_ms=60_000) as second:
        second.until(lambda counters: counters.recorded == 299)
    assert set(in_hand(server)) == {name}
    assert_each_is_recorded_once(store, made)


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_readers_that_are_gone_are_forgotten(server: Server, path: Path, store: EventStore) -> None:
    put(server, make(1))
    with (
        recording(server, path, idle_ms=100) as one,
        recording(server, path, idle_ms=100, reader="gone") as other,
    ):
        eventually(lambda: len(in_hand(server)) == 2)
        other.end()
        eventually(lambda: "gone" not in in_hand(server))
        put(server, make(1))
        eventually(lambda: one.counters.recorded + other.counters.recorded == 2)
