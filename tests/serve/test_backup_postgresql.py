"""A backup of an installation on PostgreSQL while it serves: our file, then the server's own dump, as
docs/backup.md says; and another installation made from the two."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from accounts.keyring import Keyring
from accounts.limitbook import LimitBook
from budgets.limit import check_terms
from gateway.cli import main
from metering.costsums import CostRow
from metering.database import Where, open_database
from metering.eventstore import EventStore
from tests.databases import PostgresServer

from .conftest import Make
from .test_backup import LEDGER, Load, cli, settled, spent
from .test_serve import complete, first_key

pytestmark = [
    pytest.mark.slow,
    pytest.mark.debian,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and relies on death signals"),
]


async def test_file_and_dump_together_are_the_installation(
    make_real: Make, tmp_path: Path, postgres: PostgresServer
) -> None:
    first_url, second_url = postgres.fresh(), postgres.fresh()
    one = make_real()
    plain = one.config.read_text() + LEDGER
    one.config.write_text(on(plain, first_url))
    await one.start(until="events tail")
    key = first_key(one)
    place = ("--config", one.config, "--data-dir", one.data_dir)
    await asyncio.to_thread(cli, "limits", "set", "first key", "month", "100", *place)
    load, file, dump = Load(one, key), tmp_path / "hot.tar.gz", tmp_path / "record.dump"
    with load.going():
        await load.reach(20)
        before = list(load.answered)
        await asyncio.to_thread(cli, "backup", file, *place)
        await asyncio.to_thread(run, postgres, "pg_dump", "--format=custom", "--file", str(dump), first_url)
        await load.reach(len(load.answered) + 5)
        await one.end()
    kept = names(first_url)

    await asyncio.to_thread(run, postgres, "pg_restore", "--dbname", second_url, str(dump))
    there = tmp_path / "there"
    two = make_real(there)
    # The restored one has a database of its own; the first one's is what a mistaken name would show.
    two.config.write_text(on(plain, second_url))
    await asyncio.to_thread(cli, "restore", file, "--config", two.config, "--data-dir", there)
    await two.start()
    after = await asyncio.to_thread(complete, two, key, 2)
    async with asyncio.timeout(90):
        while not settled(two):
            await asyncio.sleep(0.05)
    total, recorded = sums(second_url, [*before, *after])
    assert recorded == {*before, *after}
    assert total.events == count(second_url)
    assert spent(two) == [(total.cost_nano, 0)]
    assert names(second_url) == kept
    by_key, _ = sums(second_url, [], "key")
    assert by_key == total._replace(key=by_key.key)
    await two.end()


def run(server: PostgresServer, program: str, *arguments: str) -> None:
    done = subprocess.run([str(server.programs / program), *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def sums(where: Where, ids: list[str], *by: str) -> tuple[CostRow, set[str]]:
    """The one row of sums, and which of these events are recorded."""
    store = EventStore(where)
    try:
        (row,) = store.cost_by(by)
        assert store.cost_by(by, from_events=True) == [row]
        return row, store.recorded(ids)
    finally:
        store.close()


def count(where: Where) -> int:
    engine = open_database(where)
    try:
        with engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(DISTINCT id) FROM events").scalar_one())
    finally:
        engine.dispose()


def names(where: Where) -> list[object]:
    """Keys and limits as they are recorded."""
    engine = open_database(where)
    try:
        keys = Keyring(engine, None).list()
        limits = LimitBook(engine, None, check_terms).list(scope="key", scope_ids=[each.id for each in keys])
        return [*keys, *limits]
    finally:
        engine.dispose()


async def test_restore_wants_the_database_first(
    make_real: Make, tmp_path: Path, postgres: PostgresServer
) -> None:
    one = make_real()
    plain = one.config.read_text()
    one.config.write_text(on(plain, postgres.fresh()))
    await one.start(until="events tail")
    file, there = tmp_path / "hot.tar.gz", tmp_path / "there"
    await asyncio.to_thread(cli, "backup", file, "--config", one.config, "--data-dir", one.data_dir)
    await one.end()
    words = ["restore", str(file), "--config", str(one.config), "--data-dir", str(there)]
    for config, told in ((plain, "PostgreSQL"), (on(plain, postgres.fresh()), "pg_restore")):
        one.config.write_text(config)
        refused = await asyncio.to_thread(CliRunner().invoke, main, words)
        assert refused.exit_code != 0
        assert told in refused.output


def on(config: str, url: str) -> str:
    """The configuration with its record in this database."""
    return f"{config}database: {{url: '{url}'}}\n"
