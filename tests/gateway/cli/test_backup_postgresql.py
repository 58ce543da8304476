"""A backup of an installation whose record is on PostgreSQL: our file, then the server's own dump while
others write, as docs/backup.md says; and what is made of the two."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from accounts.keyring import Keyring
from accounts.limitbook import LimitBook
from budgets.limit import check_terms
from budgets.names import names_of
from gateway.backup.making import embedded
from gateway.cli import main
from metering.database import Where, open_database, writing
from metering.eventstore import EventStore
from tests.budgets.server import Server
from tests.databases import PostgresServer
from tests.gateway.cli.conftest import Run, fault_of
from tests.metering.events import adjustment, event

pytestmark = [pytest.mark.wide, pytest.mark.debian]
NAMES = names_of("default")
URL = "TOLLKEEPER_DATABASE__URL"
QUESTIONS: tuple[tuple[str, ...], ...] = ((), ("customer", "day"), ("key", "hour"), ("feature", "model"))


def test_file_and_dump_together_are_the_installation(
    run: Run, serving: Server, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = postgres.fresh(), postgres.fresh()
    monkeypatch.setenv(URL, first)
    run("keys", "create", "--name", "app", "--limit", "month=100")
    made = [
        event(started_ms=1_763_700_000_000 + n * 999_999, cost_nano=n, task_id=f"t{n // 3}")
        for n in range(90)
    ]
    with closing(EventStore(first)) as store:
        store.append(made)
        store.append_adjustments([adjustment(made[3], cost_delta_nano=77)])
        engine = open_database(first)
        with writing(engine) as connection:  # what nobody has committed is in neither
            connection.exec_driver_sql("DELETE FROM events")
            done = run("backup", tmp_path / "hot.tar.gz")
            assert done.exit_code == 0, done.output
            assert "pg_dump" in done.stderr
            call(postgres, "pg_dump", "--format=custom", "--file", tmp_path / "record.dump", first)
            connection.rollback()
        engine.dispose()
        before = [store.cost_by(each) for each in QUESTIONS]
        store.append([event(started_ms=1_763_700_000_001)])  # later than the backup

    there = tmp_path / "there"
    restore = ("restore", tmp_path / "hot.tar.gz", "--data-dir", there)
    monkeypatch.setenv(URL, second)
    assert "pg_restore" in fault_of(cli(*restore))
    call(postgres, "pg_restore", "--dbname", second, tmp_path / "record.dump")
    assert cli(*restore).exit_code == 0
    with closing(EventStore(second, create=False)) as store:
        assert [store.cost_by(each) for each in QUESTIONS] == before
        assert [store.cost_by(each, from_events=True) for each in QUESTIONS] == before
        assert store.recorded([each.id for each in made]) == {each.id for each in made}
        store.rebuild()
        assert [store.cost_by(each) for each in QUESTIONS] == before
        # Whoever stores goes on: no number is given twice.
        store.append([event(started_ms=1_763_700_000_001)])
        assert store.cost_by(())[0].events == 91
    assert keys_and_limits(second) == keys_and_limits(first)
    with embedded(there) as redis:
        client: Any = redis
        (published,) = client.keys(f"{NAMES.key}*")
        assert client.hgetall(published) == serving.client.hgetall(published)
        assert client.hgetall(NAMES.limits) == serving.client.hgetall(NAMES.limits)
    monkeypatch.delenv(URL)
    assert "PostgreSQL" in fault_of(cli("restore", tmp_path / "hot.tar.gz", "--data-dir", tmp_path / "no"))


def cli(*words: object) -> Result:
    """A command without the data directory of the first installation."""
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def call(server: PostgresServer, program: str, *arguments: object) -> None:
    command = [str(server.programs / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def keys_and_limits(where: Where) -> list[object]:
    engine = open_database(where, create=False)
    try:
        keys = Keyring(engine, None).list()
        limits = LimitBook(engine, None, check_terms).list(scope="key", scope_ids=[each.id for each in keys])
    finally:
        engine.dispose()
    assert keys
    assert limits
    return [*keys, *limits]
