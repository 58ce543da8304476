"""`tollkeeper backup` and `tollkeeper restore`: what is in the file, what comes back, what is refused."""

from __future__ import annotations

import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from budgets.names import names_of
from gateway.backup.making import embedded
from gateway.cli import main
from gateway.serve.lock import DirectoryLock
from metering.database import open_database, writing
from metering.event import CostEvent
from metering.eventstore import EventStore
from tests.budgets.server import Server
from tests.gateway.cli.conftest import Run, fault_of

NAMES = names_of("default")
RECORDED = [CostEvent(id=f"0193-{n}", cost_nano=n, started_ms=1_763_700_000_000) for n in range(1, 4)]


@pytest.fixture
def installation(run: Run, data_dir: Path, serving: Server) -> None:
    """It has some of everything."""
    run("keys", "create", "--name", "app")
    with closing(EventStore(data_dir / "tollkeeper.db")) as store:
        store.append(RECORDED)
    redis = serving.client
    redis.hset(NAMES.meta, mapping={"complete_since": 1, "run_id": "this one"})
    redis.zadd(NAMES.leases, {"runs": 99_999_999_999_999, "ended": 99_999_999_999_999})
    redis.hset(f"{NAMES.open}runs", mapping={"owner": "w", "held": "5"})
    redis.hset(f"{NAMES.open}begun-later", mapping={"owner": "w", "held": "6"})
    redis.set(f"{NAMES.open}ended", "succeeded", px=600_000)
    redis.hset(NAMES.limits, mapping={f"limit-{n}": n for n in range(1_500)})
    redis.set(f"{NAMES.base}claim:k:d", "short", px=1)
    pipeline = redis.pipeline(transaction=False)
    for n in range(1_200):
        pipeline.xadd(NAMES.outbox, {"e": b"\x00\xff%d" % n, "x": b""}, id=f"{n + 1}-0")
    pipeline.execute()
    redis.xdel(NAMES.outbox, "7-0")
    redis.set("another:t2", "not ours")


@pytest.fixture
def backup(run: Run, installation: None, tmp_path: Path) -> Path:
    run("backup", tmp_path / "b.tar.gz")
    return tmp_path / "b.tar.gz"


def restore(*words: Any) -> Result:
    return CliRunner().invoke(main, ["restore", *map(str, words)], catch_exceptions=False)


@pytest.mark.wide
def test_all_comes_back_in_another_place(backup: Path, tmp_path: Path, serving: Server) -> None:
    there = tmp_path / "there"
    done = restore(backup, "--data-dir", there)
    assert done.exit_code == 0, done.output
    with closing(EventStore(there / "tollkeeper.db", create=False)) as store:
        assert store.recorded([each.id for each in RECORDED]) == {each.id for each in RECORDED}
    with closing(sqlite3.connect(there / "tollkeeper.db")) as connection:
        assert connection.execute("SELECT count(*) FROM keys").fetchone() == (1,)
    assert not list(there.glob(".restoring*"))
    with embedded(there) as redis:
        client: Any = redis
        was = serving.client
        assert client.xrange(NAMES.outbox) == was.xrange(NAMES.outbox)
        assert client.xlen(NAMES.outbox) == 1_199
        assert client.hgetall(NAMES.limits) == was.hgetall(NAMES.limits)
        assert client.hgetall(f"{NAMES.open}runs") == {b"owner": b"w", b"held": b"5"}
        assert 0 < client.pttl(f"{NAMES.open}ended") <= 600_000
        leases = [(b"ended", 99_999_999_999_999), (b"runs", 99_999_999_999_999)]
        assert client.zrange(NAMES.leases, 0, -1, withscores=True) == leases
        (published,) = was.keys(f"{NAMES.key}*")
        assert client.hgetall(published) == was.hgetall(published)
        # What was begun after the leases were read, what has expired, what tells that a ledger is whole, and
        # what is not ours.
        for absent in (f"{NAMES.open}begun-later", f"{NAMES.base}claim:k:d", NAMES.meta, "another:t2"):
            assert not client.exists(absent)


def test_database_is_one_moment_though_others_write(
    backup: Path, run: Run, data_dir: Path, tmp_path: Path
) -> None:
    engine = open_database(data_dir / "tollkeeper.db")
    with writing(engine) as connection:  # an unfinished transaction holds the write lock, and is not in it
        connection.exec_driver_sql("DELETE FROM keys")
        done = run("backup", tmp_path / "second.tar.gz")
        assert done.exit_code == 0, done.output
    engine.dispose()
    restore(tmp_path / "second.tar.gz", "--data-dir", tmp_path / "there")
    with closing(sqlite3.connect(tmp_path / "there" / "tollkeeper.db")) as connection:
        assert connection.execute("SELECT count(*) FROM keys").fetchone() == (1,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.wide
def test_stopped_installation_is_backed_up_and_replaced_with_force(backup: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    restore(backup, "--data-dir", there)
    again = tmp_path / "again.tar.gz"
    words = ["backup", str(again), "--data-dir", str(there)]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    assert "tollkeeper.db" in fault_of(restore(again, "--data-dir", there))
    before = (there / "tollkeeper.db").stat().st_ino
    done = restore(again, "--data-dir", there, "--force")
    assert done.exit_code == 0, done.output
    (aside,) = there.glob("replaced-*")
    assert (aside / "tollkeeper.db").stat().st_ino == before
    assert (aside / "valkey").is_dir()
    with embedded(there) as redis:
        client: Any = redis
        assert client.xlen(NAMES.outbox) == 1_199


def test_another_redis_takes_it_only_when_it_has_no_ledger(
    backup: Path, tmp_path: Path, serving: Server
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"redis: {{url: '{serving.url}'}}\n")
    words = (backup, "--config", config, "--data-dir", tmp_path / "there")
    assert "running" in fault_of(restore(*words, "--force"))
    serving.client.delete(NAMES.leases)
    assert "--force" in fault_of(restore(*words))
    serving.client.set(f"{NAMES.base}left", "over")
    assert restore(*words, "--force").exit_code == 0
    assert not serving.client.exists(f"{NAMES.base}left", NAMES.meta)
    assert serving.client.xlen(NAMES.outbox) == 1_199
    assert serving.client.get("another:t2") == b"not ours"


def test_running_server_is_not_overwritten(run: Run, backup: Path, data_dir: Path) -> None:
    assert "stop it first" in fault_of(run("restore", backup, "--force"))
    assert "exists already" in fault_of(run("backup", backup))


def damaged(backup: Path) -> Iterator[tuple[str, bytes]]:
    whole = backup.read_bytes()
    yield "cannot be read", whole[: len(whole) // 2]
    yield "cannot be read", b"hello"
    yield "", whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]


def test_what_is_damaged_is_refused_before_anything_is_touched(backup: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    for words, content in damaged(backup):
        bad = tmp_path / "bad.tar.gz"
        bad.write_bytes(content)
        assert words in fault_of(restore(bad, "--data-dir", there))
        assert {each.name for each in there.iterdir()} == {"serve.lock"}
    assert "no such file" in fault_of(restore(tmp_path / "none", "--data-dir", there))


def altered(backup: Path, target: Path, **changes: Any) -> Path:
    """The backup with another manifest or content: `manifest` is merged, `member` is changed by a byte,
    `extra` is added."""
    with tarfile.open(backup, "r:gz") as source, tarfile.open(target, "w:gz") as out:
        for item in source:
            content = source.extractfile(item)
            assert content is not None
            text = content.read()
            if item.name == "manifest.json":
                text = orjson.dumps(orjson.loads(text) | changes.get("manifest", {}))
            if item.name == changes.get("member"):
                text = text[:-1] + bytes([text[-1] ^ 1])
            if item.name != changes.get("without"):
                _put(out, item.name, text)
        if "extra" in changes:
            _put(out, changes["extra"], b"x")
    return target


def _put(out: tarfile.TarFile, name: str, text: bytes) -> None:
    item = tarfile.TarInfo(name)
    item.size = len(text)
    out.addfile(item, BytesIO(text))


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"manifest": {"schema": 9_999, "version": "99.0"}}, "newer Tollkeeper"),
    ({"manifest": {"format": 2}}, "format 2"),
    ({"manifest": {"ledger": "t3"}}, "ledger t3"),
    ({"manifest": {"database": "postgresql"}}, "PostgreSQL"),
    ({"manifest": {"members": "x"}}, "manifest"),
    ({"member": "database.db"}, "checksum of database.db"),
    ({"member": "ledger.jsonl"}, "checksum of ledger.jsonl"),
    ({"without": "database.db"}, "database.db is missing"),
    ({"extra": "../outside"}, "does not name"),
]


def test_what_this_version_cannot_use_is_refused(backup: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    for changes, words in UNUSABLE:
        other = altered(backup, tmp_path / "other.tar.gz", **changes)
        assert words in fault_of(restore(other, "--data-dir", there))
        assert {each.name for each in there.iterdir()} == {"serve.lock"}


def test_nothing_to_back_up(tmp_path: Path) -> None:
    words = ["backup", str(tmp_path / "b"), "--data-dir", str(tmp_path / "none")]
    assert "nothing to back up" in fault_of(CliRunner().invoke(main, words, catch_exceptions=False))
    DirectoryLock.take(tmp_path / "none").release()
    assert not (tmp_path / "b").exists()
