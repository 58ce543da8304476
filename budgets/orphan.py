"""Orphan: an open record whose holder is gone, and the event and the settlement that it ends with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from budgets.answers import Lease
from budgets.hold import Settled
from budgets.limit import AMOUNT_MAX
from budgets.rowset import RowSet, read_record
from metering.event import CostEvent, EventError, decode

_NO_HEARTBEAT = b"0"
_MONEY, _TOKENS_A_MINUTE = "m", "k"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Orphan:
    """An open record whose holder is gone. `held`: an amount for each meter of `rows`."""

    heartbeats: bytes
    checkpoint_nano: int
    held: Mapping[str, int]
    opened_ms: int
    rows: RowSet
    payload: bytes

    @classmethod
    def of_lease(cls, lease: Lease) -> Orphan:
        """A lease that its holder noted elsewhere before it vanished."""
        return cls(_NO_HEARTBEAT, 0, lease.held, lease.at_ms, lease.rows, lease.payload)

    @classmethod
    def of_record(cls, request_id: str, shard: str, values: list[bytes | None]) -> Orphan:
        """The open record with these fields. What cannot be read of it counts as nothing: it has to end."""
        held, heartbeats, checkpoint, opened, record, meters, payload = values
        try:
            rows = read_record(shard, (record or b"").decode(), (meters or b"").decode() or _MONEY)
            amounts = dict(zip(rows.meters, map(int, (held or b"").split()), strict=True))
        except (ValueError, IndexError) as error:
            _log.error("orphan_rows_unreadable", request_id=request_id, reason=str(error))
            rows, amounts = read_record(shard, "", _MONEY), {_MONEY: _number(held)}
        return cls(
            heartbeats=heartbeats or _NO_HEARTBEAT,
            checkpoint_nano=_number(checkpoint),
            held=amounts,
            opened_ms=_number(opened),
            rows=rows,
            payload=payload or b"",
        )


@dataclass(slots=True)
class OrphanSettled(Settled):
    """What an orphan comes to: what was known of its cost, and on hard limits the rest of its hold in doubt.

    Its tokens are not known: none are spent, and what a rate was charged for them stays.
    """

    held: Mapping[str, int] = field(default_factory=dict)
    hard_meters: frozenset[str] = frozenset()

    def of(self, meter: str) -> tuple[int, int]:
        """(spent, doubted) on rows of this meter."""
        if meter in "iot":
            return 0, self.held.get(meter, 0) if meter in self.hard_meters else 0
        if meter == _TOKENS_A_MINUTE:
            return self.held.get(meter, 0), 0
        return Settled.of(self, meter)


def orphan_event(request_id: str, orphan: Orphan, now_ms: int) -> tuple[CostEvent, OrphanSettled]:
    """The event of a request whose holder vanished, and what it came to. Pure.

    The estimate is the greater of the payload's and the last checkpoint. A payload that cannot be read
    still gives an event, with the id and the money, because the hold has to end in one.
    """
    try:
        event = decode(orphan.payload)
    except EventError as error:
        _log.error("orphan_payload_unreadable", request_id=request_id, reason=str(error))
        event = CostEvent(id=request_id, started_ms=orphan.opened_ms)
    estimate = min(max(event.known_nano, orphan.checkpoint_nano), AMOUNT_MAX)
    held_nano = min(orphan.held.get(_MONEY, 0), AMOUNT_MAX)
    doubted = max(0, held_nano - estimate) if _MONEY in orphan.rows.hard_meters else 0
    if estimate or event.cost_nano is not None:
        event.cost_nano = estimate
        event.cost_status = "estimated"
    event.id = request_id
    event.status = "orphaned"
    event.outcome = "unknown"
    event.closed_by = "reaper"
    event.cost_upper_nano = max(estimate, held_nano)
    event.held_nano = held_nano
    event.doubted_nano = doubted
    event.ended_ms = now_ms
    settled = OrphanSettled(estimate, doubted, held=orphan.held, hard_meters=orphan.rows.hard_meters)
    return event, settled


def _number(value: bytes | None) -> int:
    try:
        return max(0, int(value or 0))
    except ValueError:
        return 0
