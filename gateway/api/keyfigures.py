"""When keys were last used, from the rollup by key."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from metering.rollup import ROLLUPS

_BY_KEY = next(rollup for rollup in ROLLUPS if rollup.columns == ("key_id",))


def last_used(connection: Connection, account_id: str, keys: Sequence[str]) -> dict[str, int]:
    """The beginning of the bucket of each key's last recorded request; of those that have one."""
    columns = _BY_KEY.table.c
    query = (
        sa.select(columns.key_id, sa.func.max(columns.bucket_ms))
        .where(columns.account_id == account_id, columns.key_id.in_(keys))
        .group_by(columns.key_id)
    )
    return {key: int(at_ms) for key, at_ms in connection.execute(query)}
