"""The record at one moment, for those who compare it with what has been counted elsewhere since.

A snapshot sums what was stored at its place; `later` gives what has been stored after a place. Together they
are everything, each event and adjustment once, however many recorders go on storing meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import sqlalchemy as sa
from sqlalchemy import Connection

from metering.adjustment import Adjustment, decode_adjustment
from metering.event import CostEvent, decode
from metering.eventcolumns import adjustments, event_documents, events
from metering.ingested import Uncounted, find_uncounted
from metering.rowsums import Sums, row_sums

BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where the record ended: the last event and the last adjustment in order of arrival."""

    event_seq: int
    adjustment_seq: int


@dataclass(frozen=True, slots=True)
class Later:
    """What was stored after a place, in order of arrival, and where the record ends now."""

    events: tuple[CostEvent, ...]
    adjustments: tuple[Adjustment, ...]
    place: Place
    uncounted: tuple[Uncounted, ...] = ()
    """All that the ledger has not counted yet, or has not told so."""


class Snapshot:
    """One moment of the record. `connection` is in a transaction that sees no later commits."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.place = place_of(connection)

    def row_sums(
        self,
        account_id: str,
        columns: Sequence[str],
        where: Mapping[str, str],
        from_ms: int,
        to_ms: int | None,
    ) -> dict[tuple[str, ...], Sums]:
        """As EventStore.row_sums."""
        return row_sums(self._connection, account_id, columns, where, from_ms, to_ms)

    @cached_property
    def pending(self) -> Mapping[str, Sequence[Adjustment]]:
        """Adjustments of events that are not here yet, by their event: they are in no sum."""
        found: dict[str, list[Adjustment]] = {}
        query = sa.select(adjustments.c.document).where(adjustments.c.pending == sa.literal_column("1"))
        for document in self._connection.scalars(query):
            adjustment = decode_adjustment(document)
            found.setdefault(adjustment.event_id, []).append(adjustment)
        return found

    @cached_property
    def uncounted(self) -> Sequence[Uncounted]:
        """What the sums have and rows of limits have not, or have not told so."""
        return find_uncounted(self._connection)


def place_of(connection: Connection) -> Place:
    """Where the record ends, as this transaction sees it."""
    event_seq = connection.scalar(sa.select(sa.func.max(events.c.seq))) or 0
    adjustment_seq = connection.scalar(sa.select(sa.func.max(adjustments.c.seq))) or 0
    return Place(event_seq, adjustment_seq)


def later(connection: Connection, place: Place) -> Later:
    """EventStore.later, inside a transaction."""
    event_seq, adjustment_seq = place.event_seq, place.adjustment_seq
    found: list[CostEvent] = []
    text = event_documents.c
    query = sa.select(text.seq, text.document).where(text.seq > event_seq).order_by(text.seq)
    for seq, document in connection.execute(query.execution_options(yield_per=BATCH)):
        event_seq = seq
        found.append(decode(document))
    corrections: list[Adjustment] = []
    query = (
        sa.select(adjustments.c.seq, adjustments.c.document)
        .where(adjustments.c.seq > adjustment_seq)
        .order_by(adjustments.c.seq)
    )
    for seq, document in connection.execute(query.execution_options(yield_per=BATCH)):
        adjustment_seq = seq
        corrections.append(decode_adjustment(document))
    waiting = tuple(find_uncounted(connection))
    return Later(tuple(found), tuple(corrections), Place(event_seq, adjustment_seq), waiting)
