"""Statements that are written out once, in the driver's words, for what runs for every event."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Delete, Insert, Table, Update, bindparam
from sqlalchemy.dialects.sqlite import dialect, insert


def driver_text(statement: Insert | Update | Delete) -> str:
    """The statement with `?` for its parameters, which stand in the order in which they appear.

    Handing each row to SQLAlchemy as names costs 20 us a row, a quarter of the whole append of an event.
    """
    return str(statement.compile(dialect=dialect(paramstyle="qmark")))


def insert_new(table: Table) -> str:
    """Add a row unless its id is there. Parameters: the values of every column but `seq`, in their order."""
    values: dict[str, Any] = {
        column.name: bindparam(column.name) for column in table.columns if column.name != "seq"
    }
    return driver_text(insert(table).values(values).on_conflict_do_nothing(index_elements=[table.c.id]))
