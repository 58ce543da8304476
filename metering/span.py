"""Between which moments an account has events, as its days tell, which stay when events are removed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from metering.eventcolumns import events
from metering.rollup import ROLLUPS

_DAYS = ROLLUPS[0]


def recorded_span(connection: Connection, account_id: str) -> tuple[int, int] | None:
    """(first, last) moment that an event of the account may have, ms; None where there is none."""
    bucket = _DAYS.table.c.bucket_ms
    mine = _DAYS.table.c.account_id == account_id
    first_ms, last_ms = connection.execute(
        sa.select(
            sa.select(sa.func.min(bucket)).where(mine).scalar_subquery(),
            sa.select(sa.func.max(bucket)).where(mine).scalar_subquery(),
        )
    ).one()
    return None if first_ms is None else (first_ms, last_ms + _DAYS.bucket_ms - 1)


def accounts(connection: Connection) -> list[str]:
    """Every account that has events or sums, in order: a look-up for each, whatever they have."""
    found: list[str] = []
    columns = (events.c.account_id, _DAYS.table.c.account_id)
    first = [sa.select(sa.func.min(column)).scalar_subquery() for column in columns]
    while True:
        nexts = [each for each in connection.execute(sa.select(*first)).one() if each is not None]
        if not nexts:
            return found
        found.append(min(nexts))
        after = found[-1]
        first = [sa.select(sa.func.min(column)).where(column > after).scalar_subquery() for column in columns]
