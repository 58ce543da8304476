"""The SQLite database of one installation: opened the same way everywhere, and brought up to date first.

`open_database` gives a SQLAlchemy engine on `data_dir/tollkeeper.db` after running every numbered migration
that the file has not seen (`metering/migrations/NNNN_name.sql`, forward only). Migrations run in one
transaction under SQLite's write lock, so of two processes that start at once one migrates and the other
finds the work done; a failing migration leaves the file as it was. Each is recorded with a checksum of its
text: a file migrated by other text, or by a later version, is refused with a sentence.

Settings of every connection: WAL (readers never wait for the writer), foreign keys on, up to
BUSY_TIMEOUT_MS of patience with another writer, and synchronous FULL. In WAL mode, NORMAL may lose the last
commits in a power cut; the recorder deletes events from Redis as soon as they are committed here, so a
commit must be on the disk when it returns. It costs one fsync for a batch of events, not for each.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

BUSY_TIMEOUT_MS = 10_000
SQLITE_MIN = (3, 37, 0)
"""The first with STRICT tables, on which sums that overflow are errors and not floats."""

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_ms INTEGER NOT NULL
) STRICT
"""


class DatabaseError(Exception):
    """The database cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, without regard to the line ends of the checkout."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()


def open_database(path: Path, *, create: bool = True, migrations: Traversable | None = None) -> Engine:
    """An engine on the database at `path`, with the schema of this version.

    `create` False refuses a file that does not exist. `migrations` is the folder to read, by default this
    package's own. Raises DatabaseError. The caller disposes the engine.
    """
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        wanted = ".".join(map(str, SQLITE_MIN))
        raise DatabaseError(
            f"this Python uses SQLite {sqlite3.sqlite_version}; Tollkeeper needs {wanted} or later"
        )
    if not create and not path.is_file():
        raise DatabaseError(f"{path}: no such database; `tollkeeper serve` creates it at its first start")
    steps = load_migrations(migrations if migrations is not None else files("metering") / "migrations")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _prepare(path, steps)
    except sqlite3.Error as error:
        raise DatabaseError(f"{path}: cannot be opened: {error}") from error
    except OSError as error:
        raise DatabaseError(f"{path.parent}: cannot be created: {error}") from error
    return _engine(path)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that holds the write lock from its first moment, committed at the end.

    A transaction that reads first and asks for the lock later fails at once, without patience, when another
    writer came between; this one waits its turn.
    """
    with engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection, connection.begin():
        yield connection


def load_migrations(folder: Traversable) -> list[Migration]:
    """Every migration in the folder, in order. Raises DatabaseError unless they count 1, 2, 3 ..."""
    found = [
        Migration(int(match[1]), item.name, item.read_text(encoding="utf-8"))
        for item in folder.iterdir()
        if (match := _FILE_NAME.fullmatch(item.name))
    ]
    found.sort(key=lambda step: step.number)
    if [step.number for step in found] != list(range(1, len(found) + 1)):
        names = ", ".join(step.name for step in found)
        raise DatabaseError(f"migrations must be numbered 1, 2, 3 ... without gap or double; found {names}")
    return found


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


def _prepare(path: Path, steps: list[Migration]) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        _switch_to_wal(connection)
        _apply_connection_settings(connection)
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


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switching an empty file needs it alone, and SQLite does not wait here: it says BUSY at once."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
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


def _pending(connection: sqlite3.Connection, steps: list[Migration], path: Path) -> list[Migration]:
    """The steps that the file has not seen. Raises DatabaseError when its past is not a part of ours."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'").fetchone()
    if known is None:
        return steps
    rows = connection.execute(
        "SELECT number, name, checksum FROM schema_migrations ORDER BY number"
    ).fetchall()
    if rows and rows[-1][0] > len(steps):
        raise DatabaseError(
            f"{path}: written by a newer Tollkeeper (schema {rows[-1][0]}; this version knows {len(steps)}). "
            "Install that version or a later one, or restore the copy made before the upgrade"
        )
    for (_, name, checksum), step in zip(rows, steps, strict=False):
        if checksum != step.checksum:
            raise DatabaseError(
                f"{path}: was migrated by {name} with other content than this version's {step.name}; "
                "it belongs to another build of Tollkeeper"
            )
    return steps[len(rows) :]


def _migrate(connection: sqlite3.Connection, steps: list[Migration], path: Path) -> None:
    connection.execute(_RECORD)
    for step in _pending(connection, steps, path):  # asked again: another process may have been first
        for statement in statements(step.text):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO schema_migrations VALUES (?, ?, ?, ?)",
            (step.number, step.name, step.checksum, time.time_ns() // 1_000_000),
        )


def _apply_connection_settings(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -32768")  # KiB; the upper pages of every index stay in memory


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)))

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own; see begun
        _apply_connection_settings(connection)

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(
            f"BEGIN {connection.get_execution_options().get('sqlite_begin', 'DEFERRED')}"
        )

    return engine
