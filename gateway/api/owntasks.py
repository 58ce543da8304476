"""Which tasks a key that is bound to a customer or a feature may know of: those that are its own alone.

A task's sums are of all its events, and whoever names a task in an event is in it. So a task with an event of
somebody else is not told to such a key, and it says nothing of what became of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from gateway.api.endpoint import Call
from gateway.api.eventfigures import reading
from metering.eventcolumns import events


def own_tasks(call: Call, task_ids: Sequence[str]) -> set[str]:
    """Those of these tasks in which no event is of another customer or feature; all, for a key that is not
    bound. Events that were removed for their age are not looked at."""
    bound = {"customer": call.bound_customer, "feature": call.bound_feature}
    others = [events.c[name] != value for name, value in bound.items() if value is not None]
    if not others or not task_ids:
        return set(task_ids)
    shared = (
        sa.select(events.c.task_id)
        .where(
            events.c.account_id == call.account_id,
            events.c.task_id != sa.literal_column("''"),
            events.c.task_id.in_(task_ids),
            sa.or_(*others),
        )
        .distinct()
    )
    with reading(call.parts.engine) as connection:
        return set(task_ids) - {row.task_id for row in connection.execute(shared)}
