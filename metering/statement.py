"""Statements that are written out once, in the words of both drivers, for what runs for every event.

Handing each row to SQLAlchemy as names costs 20 us a row, a quarter of the whole append of an event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
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


def written(build: Callable[[EngineName], Insert | Update | Delete]) -> Statement:
    """The statement that `build` makes for each engine, in the driver's words."""
    return Statement(
        sqlite=str(build("sqlite").compile(dialect=_QMARK)),
        postgresql=str(build("postgresql").compile(dialect=_FORMAT)),
    )


def insert_into(engine: EngineName, table: Table) -> Any:
    """The engine's INSERT, which knows ON CONFLICT; both have the same methods."""
    return postgresql.insert(table) if engine == "postgresql" else sqlite.insert(table)


def whole_sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    """The sum as a 64-bit integer; beyond it is an error. (PostgreSQL sums bigints into a decimal.)"""
    return sa.cast(sa.func.sum(column), BigInteger)


class InsertNew:
    """Adds rows to a table with `seq` and `id`, unless the id is there: of several with one id the first.

    `numbered`: rows bring their `seq`, else the database gives it. Without an id it is `seq` that is new.
    """

    def __init__(self, table: Table, *, numbered: bool = False) -> None:
        columns = [column for column in table.columns if numbered or column.name != "seq"]
        key = table.c.id if "id" in table.c else table.c.seq
        values: dict[str, Any] = {column.name: sa.bindparam(column.name) for column in columns}
        texts = [place for place, column in enumerate(columns) if isinstance(column.type, Text)]
        self._texts = itemgetter(*texts, texts[0])  # one too many: of a single one no tuple would come
        self._copy = _Copy(table, columns, key)
        self._statement = written(
            lambda engine: (
                insert_into(engine, table)
                .values(values)
                .on_conflict_do_nothing(index_elements=[key])
                .inline()
            )
        )

    def add(self, connection: Connection, rows: Iterable[tuple[Any, ...]]) -> int:
        """Add them in this order, and give the number of those that are new.

        A row: the values of every column in their order; `seq` only where rows bring it. The write lock is
        held. Raises UnicodeError for NUL characters, which one engine would take.
        """
        given = list(rows)
        for row in given:
            if "\0" in "".join(self._texts(row)):
                raise UnicodeError("text with a NUL character cannot be stored")
        if len(given) >= COPY_MIN and is_postgresql(connection):
            return self._copy.add(connection, given)
        return connection.exec_driver_sql(self._statement.on(connection), given).rowcount


class _Copy:
    """What InsertNew does with many rows on a server: they come in one stream, into a table of the
    connection's own, and go from there where they belong."""

    def __init__(self, table: Table, columns: Sequence[Column[Any]], key: Column[Any]) -> None:
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
        self._move = str(
            insert.on_conflict_do_nothing(index_elements=[key]).inline().compile(dialect=_FORMAT)
        )

    def add(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        first = time.monotonic_ns()  # rows of earlier calls in the transaction are still there, before it
        connection.exec_driver_sql(self._make)
        driver: Any = connection.connection.dbapi_connection
        try:
            with driver.cursor() as cursor, cursor.copy(self._take) as stream:
                for place, row in enumerate(rows, first):
                    stream.write_row((place, *row))
        except connection.dialect.loaded_dbapi.Error as error:
            raise DBAPIError.instance(
                self._take, None, error, connection.dialect.loaded_dbapi.Error, dialect=connection.dialect
            ) from error
        return connection.exec_driver_sql(self._move, (first,)).rowcount
