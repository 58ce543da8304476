"""Single requests of a span, for questions that sums cannot answer; so few that a question stays quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from gateway.api.endpoint import Call
from gateway.api.spans import Span
from gateway.errors import BadRequest
from metering.event import CostEvent, decode
from metering.eventcolumns import event_documents, events
from metering.removal import check_complete

SINGLES_MAX = 10_000
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Single:
    """A request with the figures that may differ from its document: its corrected cost (the known part where
    `unpriced`) and its revenue (None: not known)."""

    event: CostEvent
    known_nano: int
    unpriced: bool
    revenue_nano: int | None
    revenue_source: str | None


class TooMany(BadRequest):
    """The span has more requests than are read one by one."""

    default_code = "too_many_events"


def singles(call: Call, span: Span, where: Mapping[str, str]) -> list[Single]:
    """All requests of the account that began in the span, oldest first. `where`: columns that must be so.

    Raises TooMany beyond SINGLES_MAX, and EventsRemoved where some were removed for their age.
    """
    names = [events.c[name] == value for name, value in where.items()]
    inside = (
        events.c.account_id == call.account_id,
        events.c.started_ms >= span.since_ms,
        events.c.started_ms < span.until_ms,
        *names,
    )
    with call.parts.engine.connect() as connection:
        check_complete(connection, span.since_ms, span.until_ms, documents=True)
        order = (events.c.started_ms, events.c.seq)
        places = connection.scalars(
            sa.select(events.c.seq).where(*inside).order_by(*order).limit(SINGLES_MAX + 1)
        ).all()
        if len(places) > SINGLES_MAX:
            raise TooMany(
                f"This is answered from single requests, {SINGLES_MAX} at most, and there are more. Ask for "
                "a shorter span, or for one customer, feature or model.",
                param="date_from",
            )
        found: list[Single] = []
        for start in range(0, len(places), _AT_ONCE):
            query = (
                sa.select(
                    events.c.cost_nano,
                    events.c.unpriced,
                    events.c.revenue_nano,
                    events.c.revenue_known,
                    events.c.revenue_source,
                    event_documents.c.document,
                )
                .join_from(events, event_documents, events.c.seq == event_documents.c.seq)
                .where(events.c.seq.in_(places[start : start + _AT_ONCE]))
                .order_by(*order)
            )
            found += [
                Single(
                    event=decode(row.document),
                    known_nano=row.cost_nano,
                    unpriced=bool(row.unpriced),
                    revenue_nano=row.revenue_nano if row.revenue_known else None,
                    revenue_source=row.revenue_source or None,
                )
                for row in connection.execute(query)
            ]
        return found
