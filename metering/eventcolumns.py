"""The tables of events and of later knowledge: their columns. metering.eventtable adds to them.

The document is the event as it came and never changes; it lies apart, because rows are then narrow. The
columns are what is searched for and what is summed; they follow adjustments, tasks and outcomes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Table, Text

from metering.rollup import CORRECTED, measure_columns, metadata

NAMES = (
    "key_id",
    "customer",
    "workspace",
    "feature",
    "plan",
    "provider",
    "model",
    "route",
    "status",
    "outcome",
    "source",
    "task_id",
    "trace_id",
    "revenue_source",
)
"""What an event is searched and told apart by; "" is absence. `route` is the alias that served it. `task_id`
is set where others are of the task, too, or it has an outcome of its own."""

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("account_id", Text, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    *(Column(name, Text, nullable=False) for name in NAMES),
    *measure_columns(),
)
PLACES = {column.name: place for place, column in enumerate(events.columns)}
"""Where each column stands in a row of `events`, a plain tuple. The measures are its end."""
EventRow = tuple[Any, ...]

event_documents = Table(
    "event_documents",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
)
adjustments = Table(
    "adjustments",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("event_id", Text, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in CORRECTED),
    Column("pending", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
