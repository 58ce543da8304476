"""The database of one installation: keys, limits, plans, customers and events, in a file or on a server.

A path is a SQLite file, enough for one machine; a `postgresql://` URL is a server, for several nodes. Both
are opened here, after running every numbered migration that the database has not seen (forward only). The
tables are described once, in SQLAlchemy Core; statements that run for every event are written out for both
engines (metering.statement).

Whoever writes, of all processes and nodes, holds one lock from its transaction's first moment to its last.
Whoever reads sees the database as it was at its transaction's first statement.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from metering import postgresql, sqlite
from metering.migration import DatabaseError, load_migrations, shipped

__all__ = [
    "BUSY_TIMEOUT_MS",
    "DatabaseError",
    "Where",
    "identity",
    "is_busy",
    "is_gone",
    "is_too_large",
    "open_database",
    "shown",
    "writing",
]

BUSY_TIMEOUT_MS = 10_000
"""How long a writer waits for another one."""

Where = Path | str
"""A SQLite file, or the URL of a PostgreSQL database."""


def open_database(
    where: Where,
    *,
    create: bool = True,
    patience_ms: int | None = None,
    migrations: Traversable | None = None,
) -> Engine:
    """An engine on the database, with the schema of this version.

    `create` False refuses a database without our tables. `patience_ms`: how long to wait for another writer.
    `migrations` is the folder to read, by default this package's own. Raises DatabaseError. The caller
    disposes the engine.
    """
    patience_ms = BUSY_TIMEOUT_MS if patience_ms is None else patience_ms
    if isinstance(where, Path):
        steps = load_migrations(migrations or shipped("sqlite"))
        return sqlite.open_sqlite(where, steps, create=create, patience_ms=patience_ms)
    steps = load_migrations(migrations or shipped("postgresql"))
    return postgresql.open_postgresql(where, steps, create=create, patience_ms=patience_ms)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that holds the write lock from its first moment, committed at the end.

    A transaction that reads first and asks for the lock later would decide by what another writer changes
    meanwhile; this one waits its turn, and sees all that was committed before.
    """
    options = sqlite.WRITES if engine.dialect.name == "sqlite" else postgresql.WRITES
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def is_busy(error: DBAPIError) -> bool:
    """Whether another writer was in the way, and nothing else."""
    if getattr(error.orig, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return True
    return getattr(error.orig, "sqlstate", None) in postgresql.BUSY


def is_too_large(error: DBAPIError) -> bool:
    """Whether a row can never be stored because of its size: names too long for an index together."""
    return getattr(error.orig, "sqlstate", None) in postgresql.TOO_LARGE


def is_gone(error: DBAPIError) -> bool:
    """Whether what failed is not the statement: tables are not there any more, or must not be touched."""
    return getattr(error.orig, "sqlstate", None) in postgresql.GONE


def identity(where: Where, engine: Engine | None = None) -> object:
    """What tells the database that is there now from another one in its place; None where there is no file.

    SQLite goes on writing to a file that was moved or deleted. A server's connections end with the database,
    so that who only writes need not know; who compares with what was read before asks, by an engine on it.
    """
    if not isinstance(where, Path):
        return where if engine is None else postgresql.identity(engine)
    try:
        found = os.stat(where)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def shown(where: Where) -> str:
    """The database, for people: without its password."""
    return str(where) if isinstance(where, Path) else postgresql.shown(where)
