"""An installation from a backup: all of it is read and proved first, then put in place.

The restored ledger does not say of itself that it is whole, so the next start counts every limit anew from
the record and what was on the way, before it admits anybody. Requests that ran when the backup was made have
no process any more; the reaper ends them, with an event each.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from budgets.client import SyncClient
from budgets.journal import FOLDER as JOURNALS
from gateway.backup.archive import unpack
from gateway.backup.hotstate import holds_ledger, is_in_use, load_ledger, remove_ledger
from gateway.backup.making import DATABASE, LEDGER, connected, embedded
from gateway.backup.manifest import BackupError, Kind, Manifest, check_usable
from gateway.recorder.spill import FOLDER as SPILL
from gateway.serve import lock
from gateway.settings import Settings
from metering.database import DatabaseError, open_database
from metering.migration import load_migrations, shipped

VALKEY = "valkey"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and where things that were there before are now; None where there was nothing."""

    manifest: Manifest
    replaced: Path | None


def restore(settings: Settings, source: Path, *, force: bool) -> Restored:
    """Put the backup in the place of the configured installation, which must not run.

    What is there already is only replaced with `force`: files are moved aside, keys in Redis are removed.
    Raises BackupError; up to the last step nothing of what was there is touched.
    """
    data_dir = settings.server.data_dir
    try:
        held = lock.DirectoryLock.take(data_dir)
    except lock.DirectoryBusy as error:
        raise BackupError(str(error)) from None
    try:
        with _folder(data_dir) as folder:
            manifest = unpack(source, folder)
            record = settings.record
            kind: Kind = "sqlite" if isinstance(record, Path) else "postgresql"
            check_usable(manifest, kind, load_migrations(shipped(kind))[-1].number)
            if not isinstance(record, Path):
                _check_there(record)
            present = _present(data_dir, record)
            if present and not force:
                raise BackupError(
                    f"{data_dir} holds an installation already ({', '.join(each.name for each in present)}); "
                    "choose another directory, or replace it with --force"
                )
            _bring_ledger(settings, folder, force=force)
            replaced = _move_aside(data_dir, present)
            for name in (JOURNALS, SPILL, VALKEY):
                if (folder / name).exists():
                    (folder / name).rename(data_dir / name)
            if isinstance(record, Path):  # last: without it nothing starts as if all were there
                (folder / DATABASE).rename(record)
    except RedisError as error:
        raise BackupError(f"the ledger's Redis failed: {error}") from None
    except (OSError, DatabaseError) as error:
        raise BackupError(f"nothing was restored: {error}") from None
    finally:
        held.release()
    return Restored(manifest, replaced)


def _bring_ledger(settings: Settings, folder: Path, *, force: bool) -> None:
    """Fill the configured Redis, or an embedded server's files in `folder`, which nobody uses yet."""
    url = settings.redis.url
    with connected(url) if url is not None else embedded(folder) as client:
        if url is not None:
            _clear(client, force=force)
        with (folder / LEDGER).open("rb") as lines:
            load_ledger(client, lines)


def _clear(client: SyncClient, *, force: bool) -> None:
    if not holds_ledger(client):
        return
    if is_in_use(client):
        raise BackupError("redis.url: a gateway has requests running on that server; stop all gateways first")
    if not force:
        raise BackupError(
            "redis.url: that server holds a ledger already; choose another one, or replace it with --force"
        )
    remove_ledger(client)


def _check_there(url: str) -> None:
    """The server's database was restored by its own tools before."""
    try:
        open_database(url, create=False).dispose()
    except DatabaseError as error:
        raise BackupError(
            f"{error}. Restore the database with its own tools first (pg_restore), then repeat this"
        ) from None


def _present(data_dir: Path, record: Path | str) -> list[Path]:
    """What of an installation is in the data directory; folders count where anything is in them."""
    found = [each for each in map(data_dir.joinpath, (JOURNALS, SPILL, VALKEY)) if _filled(each)]
    if isinstance(record, Path):
        found += [each for each in (record, *_beside(record)) if each.exists()]
    return found


def _filled(folder: Path) -> bool:
    return folder.is_dir() and any(True for _ in folder.iterdir())


def _beside(record: Path) -> tuple[Path, ...]:
    """The files that SQLite keeps beside a database: with another database they would destroy it."""
    return tuple(record.with_name(record.name + end) for end in ("-wal", "-shm"))


def _move_aside(data_dir: Path, present: list[Path]) -> Path | None:
    for name in (JOURNALS, SPILL, VALKEY):  # empty folders are in the way, too
        folder = data_dir / name
        if folder.is_dir() and not _filled(folder):
            folder.rmdir()
    if not present:
        return None
    aside = data_dir / time.strftime("replaced-%Y%m%d-%H%M%S", time.gmtime())
    aside.mkdir(mode=0o700)
    for path in present:
        path.rename(aside / path.name)
    return aside


@contextmanager
def _folder(data_dir: Path) -> Iterator[Path]:
    """A folder on the same file system, so that everything is put in place by renaming."""
    folder = Path(tempfile.mkdtemp(prefix=".restoring-", dir=data_dir))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
