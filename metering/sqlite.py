"""A database in one file: SQLite, opened the same way everywhere, and brought up to date first.

Migrations run in one transaction under SQLite's write lock, so of two processes that start at once one
migrates and the other finds the work done; a failing migration leaves the file as it was.

Settings of every connection: WAL (readers never wait for the writer), foreign keys on, some patience with
another writer, and synchronous FULL. In WAL mode, NORMAL may lose the last commits in a power cut; the
recorder deletes events from Redis as soon as they are committed here, so a commit must be on the disk when it
returns. It costs one fsync for a batch of events, not for each.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from metering.migration import DatabaseError, Migration, unseen

SQLITE_MIN = (3, 37, 0)
"""The first with STRICT tables, on which sums that overflow are errors and not floats."""
WRITES = {"sqlite_begin": "IMMEDIATE"}
"""Options of a connection whose transactions hold the write lock from their first moment."""

_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_ms INTEGER NOT NULL
) STRICT
"""


def open_sqlite(path: Path, steps: Sequence[Migration], *, create: bool, patience_ms: int) -> Engine:
    """As metering.database.open_database, for a file."""
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        wanted = ".".join(map(str, SQLITE_MIN))
        raise DatabaseError(
            f"this Python uses SQLite {sqlite3.sqlite_version}; Tollkeeper needs {wanted} or later"
        )
    if not create and not path.is_file():
        raise DatabaseError(f"{path}: no such database; `tollkeeper serve` creates it at its first start")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _prepare(path, steps, patience_ms)
    except sqlite3.Error as error:
        raise DatabaseError(f"{path}: cannot be opened: {error}") from error
    except OSError as error:
        raise DatabaseError(f"{path.parent}: cannot be created: {error}") from error
    return _engine(path, patience_ms)


def statements(text: str) -> Iterator[str]:
    """The single statements of a migration; what `executescript` would run, but inside our transaction."""
    pending = ""
    for line in text.splitlines(keepends=True):
        if not pending and (not line.strip() or line.lstrip().startswith("--")):
            continue
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""
    if pending.strip():
        raise DatabaseError(f"a migration ends inside a statement: {pending.strip()[:80]!r}")


def _prepare(path: Path, steps: Sequence[Migration], patience_ms: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=patience_ms / 1000)
    try:
        _switch_to_wal(connection, patience_ms)
        _apply_connection_settings(connection, patience_ms)
        if _pending(connection, steps, path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                _migrate(connection, steps, path)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
    finally:
        connection.close()


def _switch_to_wal(connection: sqlite3.Connection, patience_ms: int) -> None:
    """Switching an empty file needs it alone, and SQLite does not wait here: it says BUSY at once."""
    deadline = time.monotonic() + patience_ms / 1000
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise sqlite3.OperationalError(f"the file system does not support WAL (journal mode is {mode})")
        return


def _pending(connection: sqlite3.Connection, steps: Sequence[Migration], path: Path) -> Sequence[Migration]:
    """The steps that the file has not seen. Raises DatabaseError when its past is not a part of ours."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'").fetchone()
    if known is None:
        return steps
    applied = connection.execute(
        "SELECT number, name, checksum FROM schema_migrations ORDER BY number"
    ).fetchall()
    return unseen(steps, applied, str(path))


def _migrate(connection: sqlite3.Connection, steps: Sequence[Migration], path: Path) -> None:
    connection.execute(_RECORD)
    for step in _pending(connection, steps, path):  # asked again: another process may have been first
        for statement in statements(step.text):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO schema_migrations VALUES (?, ?, ?, ?)",
            (step.number, step.name, step.checksum, time.time_ns() // 1_000_000),
        )


def _apply_connection_settings(connection: sqlite3.Connection, patience_ms: int) -> None:
    connection.execute(f"PRAGMA busy_timeout = {patience_ms}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # 32 MB: rows of rollups that every batch changes go to the file once for several batches.
    connection.execute("PRAGMA wal_autocheckpoint = 8000")
    connection.execute("PRAGMA cache_size = -32768")  # KiB; the upper pages of every index stay in memory


def _engine(path: Path, patience_ms: int) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)))

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own; see begun
        _apply_connection_settings(connection, patience_ms)

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(
            f"BEGIN {connection.get_execution_options().get('sqlite_begin', 'DEFERRED')}"
        )

    return engine
