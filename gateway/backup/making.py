"""Making a backup: the ledger's own state first, the database last, then one file of it all."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from redis.exceptions import RedisError

from budgets.client import SyncClient, connect_sync
from budgets.journal import FOLDER as JOURNALS
from budgets.journal import SUFFIX as JOURNAL
from gateway.backup.archive import members_of, write_archive
from gateway.backup.copies import copy_database, copy_files, schema_of
from gateway.backup.hotstate import dump_ledger
from gateway.backup.manifest import BackupError, Manifest
from gateway.recorder.spill import DAMAGED, SUFFIX
from gateway.recorder.spill import FOLDER as SPILL
from gateway.serve import lock
from gateway.serve.children import ChildFailed
from gateway.serve.valkey import EmbeddedValkey
from gateway.settings import Settings
from metering.database import DatabaseError, open_database

DATABASE = "database.db"
LEDGER = "ledger.jsonl"
REDIS_TIMEOUT_S = 60.0


def make_backup(settings: Settings, target: Path) -> Manifest:
    """Write the installation to `target`, whether it runs or not. Raises BackupError."""
    made_ms = time.time_ns() // 1_000_000
    place = target.absolute().parent
    if not place.is_dir():
        raise BackupError(f"{place}: no such directory")
    data_dir, record = settings.server.data_dir, settings.record
    if isinstance(record, Path) and not record.is_file():
        raise BackupError(f"{record}: no such database; there is nothing to back up")
    try:
        with _folder(place) as folder:
            copy_files(data_dir / JOURNALS, folder / JOURNALS, JOURNAL)
            with ledger_of(settings) as client, (folder / LEDGER).open("wb") as out:
                keys, entries = dump_ledger(client, out)
            for suffix in (SUFFIX, DAMAGED):
                copy_files(data_dir / SPILL, folder / SPILL, suffix)
            if isinstance(record, Path):
                kind, schema = "sqlite", copy_database(record, folder / DATABASE)
            else:
                kind, schema = "postgresql", _schema(record)
            manifest = Manifest(
                version=version("tollkeeper"),
                made_ms=made_ms,
                database="sqlite" if kind == "sqlite" else "postgresql",
                schema=schema,
                ledger_keys=keys,
                ledger_entries=entries,
                members=members_of(folder),
            )
            write_archive(target, folder, manifest)
    except RedisError as error:
        raise BackupError(f"the ledger's Redis failed: {error}") from None
    except (OSError, sqlite3.Error, DatabaseError) as error:
        raise BackupError(f"no backup was made: {error}") from None
    return manifest


@contextmanager
def ledger_of(settings: Settings) -> Iterator[SyncClient]:
    """A client of the ledger's Redis: the running server's, or the embedded one, started for this alone.

    Nobody else can start on the data directory meanwhile. Raises BackupError, redis.RedisError.
    """
    data_dir = settings.server.data_dir
    if settings.redis.url is not None:
        with connected(settings.redis.url) as client:
            yield client
        return
    announced = lock.running(data_dir)
    if announced is not None and announced.redis_url is not None:
        with connected(announced.redis_url) as client:
            yield client
        return
    try:
        held = lock.DirectoryLock.take(data_dir)
    except lock.DirectoryBusy as error:
        raise BackupError(f"{error}; it is starting or ending: try again in a moment") from None
    try:
        with embedded(data_dir) as client:
            yield client
    finally:
        held.release()


@contextmanager
def connected(url: str) -> Iterator[SyncClient]:
    """A patient client. Raises redis.RedisError."""
    client = connect_sync(url, timeout_s=REDIS_TIMEOUT_S, connect_timeout_s=5)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def embedded(data_dir: Path) -> Iterator[SyncClient]:
    """The embedded server of a data directory that the caller has locked, ended in order afterwards.

    Raises BackupError where it does not start, redis.RedisError.
    """
    with asyncio.Runner() as runner:
        valkey = EmbeddedValkey(data_dir, appendfsync="always")
        try:
            runner.run(valkey.start())
            with connected(valkey.url) as client:
                yield client
        except ChildFailed as error:
            raise BackupError(f"the embedded server does not start: {error}") from None
        finally:
            runner.run(valkey.stop())


def _schema(url: str) -> int:
    engine = open_database(url, create=False)
    try:
        return schema_of(engine)
    finally:
        engine.dispose()


@contextmanager
def _folder(place: Path) -> Iterator[Path]:
    """A folder for the parts, beside the file that is made of them: there is room, or there is none."""
    folder = Path(tempfile.mkdtemp(prefix=".tollkeeper-backup-", dir=place))
    os.chmod(folder, 0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
