"""Statements that are written out once, in the words of both drivers, for what runs for every event.

Handing each row to SQLAlchemy as names costs 20 us a row, a quarter of the whole append of an event.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Delete,
    Insert,
    MetaData,
    Select,
    Table,
    Text,
    Update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

COPY_MIN = 20
"""From so many rows on, a stream of rows takes less time than a statement for each."""
EngineName = Literal["sqlite", "postgresql"]

_QMARK = sqlite.dialect(paramstyle="qmark")
_FORMAT = postgresql.dialect(paramstyle="format")  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement in the words of each engine. Its parameters stand in the order in which they appear."""

    sqlite: str
    postgresql: str

    def run(self, connection: Connection, parameters: Sequence[Any] = ()) -> CursorResult[Any]:
        """Run it once."""
        return connection.exec_driver_sql(self.on(connection), tuple(parameters))

    def on(self, connection: Connection) -> str:
        """The text for this connection's driver."""
        return self.postgresql if is_postgresql(connection) else self.sqlite


def is_postgresql(connection: Connection) -> bool:
    """Whether the database is on a server."""
    return connection.dialect.name == "postgresql"


def engine_of(connection: Connection) -> EngineName:
    """Whose words this connection's driver speaks."""
    return "postgresql" if is_postgresql(connection) else "sqlite"


def written(build: Callable[[EngineName], Insert | Update | Delete | Select[Any]]) -> Statement:
    """The statement that `build` makes for each engine, in the driver's words."""
    return Statement(
        sqlite=str(build("sqlite").compile(dialect=_QMARK)),
        postgresql=str(build("postgresql").compile(dialect=_FORMAT)),
    )


def insert_into(engine: EngineName, table: Table) -> Any:
    """The engine's INSERT, which knows ON CONFLICT; both have the same methods."""
    return postgresql.insert(table) if engine == "postgresql" else sqlite.insert(table)


def insert_given(engine: EngineName, table: Table) -> Any:
    """An INSERT of many rows that `run_given` gives it: on a server one statement for all of them, to which
    they come as an array for each column."""
    names = [column.name for column in table.columns]
    if engine == "sqlite":
        return insert_into(engine, table).values({name: sa.bindparam(name) for name in names})
    arrays = [sa.cast(sa.bindparam(column.name), sa.ARRAY(column.type)) for column in table.columns]
    given = sa.func.unnest(*arrays).table_valued(*names).render_derived("given")
    return insert_into(engine, table).from_select(names, sa.select(given))


def run_given(statement: Statement, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
    """Run an `insert_given` for these rows, of which each has a value for every column; gives the number of
    rows that were inserted or changed."""
    if is_postgresql(connection):
        columns = zip(*rows, strict=True)
        return statement.run(connection, [listed(connection, column) for column in columns]).rowcount
    return connection.exec_driver_sql(statement.sqlite, list(rows)).rowcount


@lru_cache(maxsize=1_024)
def column_sum(column: Column[int]) -> ColumnElement[int]:
    """`whole_sum` of a table's column. Making it takes longer than reading a few rows; it never changes."""
    return whole_sum(column)


def whole_sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    """The sum as a 64-bit integer; beyond it is an error. (PostgreSQL sums bigints into a decimal.)"""
    return sa.cast(sa.func.sum(column), BigInteger)


def listed(connection: Connection, values: Collection[str] | Collection[int]) -> str:
    """Values of one kind as one parameter: what `among` looks for, or an array of PostgreSQL's."""
    if not is_postgresql(connection):
        return json.dumps(list(values))
    joined = '","'.join(map(str, values))
    if joined.count('"') > 2 * (len(values) - 1) or "\\" in joined:
        joined = '","'.join(str(each).replace("\\", r"\\").replace('"', r"\"") for each in values)
    return '{"' + joined + '"}' if values else "{}"


def among(engine: EngineName, column: ColumnElement[str]) -> ColumnElement[bool]:
    """The condition that a column of text is one of the values of the next parameter (`listed`). The
    statement stays the same for any number of them, so that it is prepared once."""
    if engine == "sqlite":
        return column.in_(sa.select(sa.func.json_each(sa.bindparam("values")).table_valued("value").c.value))
    return column == sa.any_(sa.cast(sa.bindparam("values"), sa.ARRAY(Text)))


def check_texts(rows: Sequence[tuple[Any, ...]], places: Iterable[int]) -> None:
    """Raise UnicodeError where a text in these places has a NUL character, which one engine would take."""
    for place in places:
        if "\0" in "".join([row[place] for row in rows]):
            raise UnicodeError("text with a NUL character cannot be stored")


class InsertRows:
    """Adds rows that are known to be new."""

    def __init__(self, table: Table) -> None:
        names = [column.name for column in table.columns]
        self._statement = written(
            lambda _engine: sa.insert(table).values({name: sa.bindparam(name) for name in names}).inline()
        )
        self._take = f"COPY {table.name} ({', '.join(names)}) FROM STDIN"

    def add(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add them: of each the values of every column. The write lock is held, texts are checked."""
        if len(rows) >= COPY_MIN and is_postgresql(connection):
            copy_rows(connection, self._take, rows)
        else:
            connection.exec_driver_sql(self._statement.on(connection), list(rows))


class InsertNew:
    """Adds rows to a table with `seq` and `id`, unless the id is there: of several with one id the first.

    The database gives them their `seq`.
    """

    def __init__(self, table: Table) -> None:
        columns = [column for column in table.columns if column.name != "seq"]
        values: dict[str, Any] = {column.name: sa.bindparam(column.name) for column in columns}
        self._texts = [place for place, column in enumerate(columns) if isinstance(column.type, Text)]
        self._copy = _Copy(table, columns)
        self._statement = written(
            lambda engine: (
                insert_into(engine, table)
                .values(values)
                .on_conflict_do_nothing(index_elements=[table.c.id])
                .inline()
            )
        )

    def add(self, connection: Connection, rows: Iterable[tuple[Any, ...]]) -> int:
        """Add them in this order, and give the number of those that are new.

        A row: the values of every column but `seq`, in their order. The write lock is held. Raises
        UnicodeError for NUL characters.
        """
        given = list(rows)
        check_texts(given, self._texts)
        if len(given) >= COPY_MIN and is_postgresql(connection):
            return self._copy.add(connection, given)
        return connection.exec_driver_sql(self._statement.on(connection), given).rowcount


def copy_rows(connection: Connection, take: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Send rows in one stream to a server; `take` is the COPY statement. Raises as other statements do."""
    driver: Any = connection.connection.dbapi_connection
    try:
        with driver.cursor() as cursor, cursor.copy(take) as stream:
            for row in rows:
                stream.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(
            take, None, error, connection.dialect.loaded_dbapi.Error, dialect=connection.dialect
        ) from error


class _Copy:
    """What InsertNew does with many rows on a server: they come in one stream, into a table of the
    connection's own, and go from there where they belong."""

    def __init__(self, table: Table, columns: Sequence[Column[Any]]) -> None:
        passing = Table(
            f"incoming_{table.name}",
            MetaData(),
            Column("place", BigInteger, autoincrement=False),
            *(Column(column.name, column.type) for column in columns),
            prefixes=["TEMPORARY"],
            postgresql_on_commit="DELETE ROWS",
        )
        moved = sa.select(*(passing.c[column.name] for column in columns))
        moved = moved.where(passing.c.place >= sa.bindparam("place")).order_by(passing.c.place)
        insert = postgresql.insert(table).from_select([column.name for column in columns], moved)
        self._make = str(CreateTable(passing, if_not_exists=True).compile(dialect=_FORMAT))
        self._take = f"COPY {passing.name} FROM STDIN"
        moving = insert.on_conflict_do_nothing(index_elements=[table.c.id]).inline()
        self._move = str(moving.compile(dialect=_FORMAT))

    def add(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        first = time.monotonic_ns()  # rows of earlier calls in the transaction are still there, before it
        connection.exec_driver_sql(self._make)
        copy_rows(connection, self._take, [(place, *row) for place, row in enumerate(rows, first)])
        return connection.exec_driver_sql(self._move, (first,)).rowcount
