"""An entry of the ledger's streams, as the recorder carries it from Redis to the event store. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivered entry: its stream, its id there, and its fields.

    Of an outbox, field `e` is a closed request's cost event and field `a` an adjustment, field
    `c` a batch of recorded events that was counted; the fields of a notice are as budgets.names says.
    """

    stream: bytes
    id: bytes
    fields: dict[bytes, bytes]
