"""An outcome that was given for a task: what the app, or a person, says became of the work.

It counts from the moment it is stored, in place of what the task's final event says, and may come before any
event of the task. Outcomes are never edited: of several the latest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Table, Text

from metering.rollup import metadata
from metering.statement import InsertNew

OUTCOMES = ("success", "failure", "rejected", "unknown")

outcomes = Table(
    "outcomes",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    *(Column(name, Text, nullable=False) for name in ("account_id", "task_id", "outcome", "reason")),
    Column("at_ms", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was said of a task. `id`: a UUIDv7 of the saying, so that it counts once; `at_ms`: when."""

    id: str
    account_id: str
    task_id: str
    outcome: str
    at_ms: int
    reason: str | None = None


def insert_outcomes(connection: Connection, given: Sequence[Outcome]) -> list[Outcome]:
    """Add those whose ids are new, and give them. The write lock is held."""
    ids = [each.id for each in given]
    known = set(connection.scalars(sa.select(outcomes.c.id).where(outcomes.c.id.in_(ids))))
    first = {each.id: each for each in reversed(given) if each.id not in known}
    rows = [
        (each.id, each.account_id, each.task_id, each.outcome, each.reason or "", each.at_ms)
        for each in first.values()
    ]
    if rows:
        _INSERT.add(connection, rows)
    return list(first.values())


def outcomes_of(connection: Connection, account_id: str, task_id: str) -> list[Outcome]:
    """What was said of the task, the latest last."""
    query = (
        sa.select(outcomes)
        .where(outcomes.c.account_id == account_id, outcomes.c.task_id == task_id)
        .order_by(outcomes.c.at_ms, outcomes.c.id)
    )
    return [
        Outcome(row.id, row.account_id, row.task_id, row.outcome, row.at_ms, row.reason or None)
        for row in connection.execute(query)
    ]


_INSERT = InsertNew(outcomes)
