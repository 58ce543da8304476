"""A database on a PostgreSQL server, for several nodes: checked, migrated and opened the same way everywhere.

Migrations run in one transaction under the lock that every writer takes, so of several nodes that start at
once one migrates and the others find the work done; a failing migration leaves the database as it was.

One advisory lock is what SQLite's write lock is: whoever writes takes it first and holds it to the commit. So
the numbers of arrival (`seq`) are given in the order of commits, which readers of what is new depend on, two
writers never wait for each other's rows, and a change is published before the next one is recorded. A node
that stops in the middle of a transaction loses its connection, and with it the lock.

The URL is libpq's: several hosts, TLS, service and password files are its business. Readers take a snapshot
at their first statement (REPEATABLE READ) and may not write.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event

from metering.migration import DatabaseError, Migration, unseen

if TYPE_CHECKING:
    import psycopg

SCHEMES = ("postgresql://", "postgres://")
SERVER_MIN = 13
WRITES = {"isolation_level": "READ COMMITTED", "postgresql_readonly": False, "takes_write_lock": True}
"""Options of a connection whose transactions hold the write lock from their first moment. Each statement
under the lock sees what was committed before it, and so all that earlier holders did."""
BUSY = frozenset({"55P03", "40001", "40P01"})
"""SQLSTATEs of another writer in the way: lock_not_available, serialization_failure, deadlock_detected."""
TOO_LARGE = frozenset({"54000"})
"""SQLSTATE program_limit_exceeded: an index cannot hold the row."""
GONE = frozenset({"42P01", "3F000", "42501"})
"""SQLSTATEs of a database that was replaced, or taken from us, under a running node: undefined_table,
invalid_schema_name, insufficient_privilege."""

_LOCK = 0x746F6C6C6B656570
"""The advisory lock of all writers; "tollkeep" in ASCII."""
_HELD_IDLE_MS = 60_000
"""How long a writer may hold the lock and say nothing, before the server ends its connection."""
_DEFAULTS = {
    "application_name": "tollkeeper",
    "connect_timeout": "10",
    # A server whose machine is gone is noticed within a minute.
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "45000",
}
_BEGIN_WRITING = f"""
SELECT set_config('lock_timeout', %s, true),
       set_config('idle_in_transaction_session_timeout', '{_HELD_IDLE_MS}', true),
       set_config('synchronous_commit', CASE current_setting('synchronous_commit')
           WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true),
       set_config('enable_seqscan', 'off', true),
       pg_advisory_xact_lock({_LOCK})
"""
# Events leave Redis when their commit returns: then it must be on a disk, whatever the server's default is.
# What writers read, they read by an index, also in tables that grew too fast for the statistics about them.
_IDENTITY = "SELECT pg_postmaster_start_time(), 'schema_migrations'::regclass::oid"
_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_ms BIGINT NOT NULL
)
"""
_HINTS = (
    (r"password authentication failed|no password supplied", "check the user and the password"),
    (r'database "(.+)" does not exist', "create it first: CREATE DATABASE name ENCODING 'UTF8'"),
    (r'role "(.+)" does not exist', "create the user first, and let it own the database"),
    (r"no pg_hba.conf entry", "the server's pg_hba.conf does not let this user in from here"),
    (r"could not translate host name|failed to resolve host", "check the host and the port"),
    (r"Connection refused|timeout expired|No such file or directory", "is the server running there?"),
    (r"permission denied for schema", "let the user own the database, or GRANT CREATE ON SCHEMA to it"),
)


def open_postgresql(url: str, steps: Sequence[Migration], *, create: bool, patience_ms: int) -> Engine:
    """As metering.database.open_database, for a server."""
    if not url.startswith(SCHEMES):
        raise DatabaseError("a database's URL begins with postgresql://")
    try:
        import psycopg
    except ImportError as error:
        raise DatabaseError(
            f"{shown(url)}: the driver for PostgreSQL is not installed ({error}); "
            "pip install 'tollkeeper[postgres]'"
        ) from None
    try:
        connect = _connector(url)
        with connect() as connection:
            _judge(connection, shown(url))
            _prepare(connection, steps, shown(url), create=create, patience_ms=patience_ms)
    except psycopg.Error as error:
        raise DatabaseError(f"{shown(url)}: {_explained(error)}") from error
    return _engine(connect, patience_ms)


def identity(engine: Engine) -> object:
    """Differs after a restart of the server, or of another one in its place, and where tables were made anew:
    whatever puts an earlier state back does one of these."""
    with engine.connect() as connection:
        return tuple(connection.exec_driver_sql(_IDENTITY).one())


def shown(url: str) -> str:
    """Host and database of the URL; who logs in, and how, is left out."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def _connector(url: str) -> Callable[[], psycopg.Connection[Any]]:
    """What opens a connection. What the URL does not say is as in _DEFAULTS."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    said = conninfo_to_dict(url)
    more = {name: value for name, value in _DEFAULTS.items() if name not in said}
    return lambda: psycopg.connect(url, **more)  # type: ignore[arg-type, unused-ignore]


def _judge(connection: psycopg.Connection[Any], name: str) -> None:
    """Raise DatabaseError where the server or the database cannot keep the record."""
    version = connection.info.server_version // 10_000
    if version < SERVER_MIN:
        raise DatabaseError(
            f"{name}: the server is PostgreSQL {version}; {SERVER_MIN} or later is needed. Upgrade it, or "
            "use another server"
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise DatabaseError(
            f"{name}: the database's encoding is {encoding}; create one with "
            "ENCODING 'UTF8' TEMPLATE template0"
        )
    (standby,) = _one(connection, "SELECT pg_is_in_recovery()")
    if standby:
        raise DatabaseError(
            f"{name}: the server is a standby and takes no writes; name its primary, or all of them with "
            "?target_session_attrs=read-write"
        )


def _prepare(
    connection: psycopg.Connection[Any],
    steps: Sequence[Migration],
    name: str,
    *,
    create: bool,
    patience_ms: int,
) -> None:
    pending = _pending(connection, steps, name, create=create)
    connection.rollback()
    if not pending:
        return
    connection.execute(_BEGIN_WRITING, (str(patience_ms),))
    connection.execute(_RECORD)
    for step in _pending(connection, steps, name):  # asked again: another node may have been first
        connection.execute(step.text.encode())
        connection.execute(
            "INSERT INTO schema_migrations VALUES (%s, %s, %s, %s)",
            (step.number, step.name, step.checksum, time.time_ns() // 1_000_000),
        )
    connection.commit()


def _pending(
    connection: psycopg.Connection[Any], steps: Sequence[Migration], name: str, *, create: bool = True
) -> Sequence[Migration]:
    """The steps that the database has not seen. Raises DatabaseError when its past is not a part of ours."""
    (known,) = _one(connection, "SELECT to_regclass('schema_migrations') IS NOT NULL")
    if not known:
        if not create:
            raise DatabaseError(
                f"{name}: holds no tables of Tollkeeper; `tollkeeper serve` makes them at its first start"
            )
        return steps
    applied = connection.execute("SELECT number, name, checksum FROM schema_migrations ORDER BY number")
    return unseen(steps, applied.fetchall(), name)


def _one(connection: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


def _explained(error: psycopg.Error) -> str:
    """The driver's words on one line, and what to do where we know it."""
    words = " ".join(str(error).split())
    for pattern, advice in _HINTS:
        if re.search(pattern, words):
            return f"{words} ({advice})"
    return words


def _engine(connect: Callable[[], psycopg.Connection[Any]], patience_ms: int) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
        pool_pre_ping=True,  # a connection that a restart of the server ended is replaced before it is used
        pool_size=8,
        max_overflow=8,
    )

    @event.listens_for(engine, "connect")
    def connected(connection: psycopg.Connection[Any], _record: Any) -> None:
        # Compiling a question takes longer than answering it from a rollup.
        connection.execute("SET jit TO off")
        connection.commit()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        if connection.get_execution_options().get("takes_write_lock"):
            connection.exec_driver_sql(_BEGIN_WRITING, (str(patience_ms),))

    return engine
