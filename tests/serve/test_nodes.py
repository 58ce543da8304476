"""Several nodes: each a whole `tollkeeper serve`, with one Redis and one PostgreSQL server in common."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from metering.eventstore import EventStore
from tests.budgets.server import Server, engine_binary, start_server
from tests.databases import PostgresServer

from .conftest import ROOT, Installation, Make
from .test_serve import complete, first_key

pytestmark = [
    pytest.mark.wide,
    pytest.mark.debian,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and relies on death signals"),
]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    server = start_server(engine_binary(), tmp_path)
    yield server
    server.stop()


def command(one: Installation, *arguments: str) -> str:
    """What a command of this installation prints."""
    program = [sys.executable, "-P", "-c", "from gateway.cli import main; main()", *arguments]
    where = ["--config", str(one.config), "--data-dir", str(one.data_dir)]
    environment = {**os.environ, "PYTHONPATH": ROOT, "COLUMNS": "200"}
    done = subprocess.run([*program, *where], capture_output=True, text=True, timeout=90, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_two_nodes_share_keys_and_record_and_outlive_a_crash_of_the_server(
    make_real: Make, tmp_path: Path, redis: Server, postgres: PostgresServer
) -> None:
    url = postgres.fresh()
    one, other = make_real(tmp_path / "one"), make_real(tmp_path / "other")
    with one.config.open("a") as config:
        config.write(f"redis: {{url: '{redis.url}'}}\ndatabase: {{url: '{url}'}}\n")
    await one.start(until="events tail")
    key = first_key(one)
    await other.start()
    ids = complete(one, key, 2) + complete(other, key, 2)
    postgres.stop(signal.SIGQUIT)
    try:
        ids += complete(one, key, 2) + complete(other, key, 2)  # what is served does not depend on it
    finally:
        postgres.start()
    with closing(EventStore(url, create=False)) as store:
        async with asyncio.timeout(90):
            while len(store.recorded(ids)) < len(ids):
                await asyncio.sleep(0.05)
        (row,) = store.cost_by(())
        assert (row.events, row.successes) == (len(ids), len(ids))
        assert store.cost_by(("customer", "model")) == store.cost_by(("customer", "model"), from_events=True)
    assert "first key" in command(other, "keys", "list")
    assert "gpt-4o-mini" in command(other, "report", "--by", "model")
    assert not list(tmp_path.glob("*/tollkeeper.db"))
    assert await one.end() == 0
    assert await other.end() == 0
