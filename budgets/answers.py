"""What a worker names to the ledger and is answered: Versions, Lease, Opened, Refused, Closed, Pulse."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

from budgets.hold import Step
from budgets.limit import LimitTerms
from budgets.rowset import RowSet

Reason = Literal["EXHAUSTED", "BUSY", "RATE", "REVOKED", "EXPIRED", "STALE", "COLD", "EXISTS"]


class Versions(NamedTuple):
    """Which copies a caller decides by: of its key, of the account's limits, and of the customer's own.

    `customer`: None when no customer of the account has limits of its own, or none is named; 0: this one
    has none.
    """

    key: int
    account: int = 0
    customer: int | None = None


@dataclass(slots=True)
class Lease:
    """A worker's right to an open request.

    `held`: the amount on rows of each meter, which grows when `extend` succeeds. `at_ms`: when it was
    opened, by Redis' clock. `covered`: the ledger holds it; False while the ledger has been away ever since
    its opening. `payload`: its event in the open form, to put it back if the server loses its memory.
    """

    request_id: str
    account_id: str
    rows: RowSet
    held: dict[str, int]
    at_ms: int
    payload: bytes = b""
    covered: bool = True

    @property
    def shard(self) -> str:
        """The shard on which it is open."""
        return self.rows.shard

    @property
    def held_nano(self) -> int:
        """The money that is held on every limit of money; 0 without one."""
        return self.held.get("m", 0)


class Opened(NamedTuple):
    """The request may run. `remaining_nano`: what money is free after this hold; None without a hard limit.

    `over`: limits that would have refused it if they were hard.
    """

    lease: Lease
    step: Step
    at_ms: int
    remaining_nano: int | None
    over: tuple[LimitTerms, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The request may not run, and nothing was written.

    EXHAUSTED: what is spent and doubted leaves too little. BUSY: only others' holds are in the way. RATE: too
    many in too short a time. REVOKED, EXPIRED: the key. STALE: one of the caller's copies is old. COLD: the
    ledger does not know all that was spent. EXISTS: the request id was used. The amounts describe the
    refusing limit, in its own unit; `row` names its row; `retry_ms` is when it may be worth trying again.
    """

    reason: Reason
    limit: LimitTerms | None = None
    row: str | None = None
    value: int | None = None
    spent: int | None = None
    free: int | None = None
    retry_ms: int | None = None


class Closed(StrEnum):
    """How a close ended. OK: this call ended the request. CLOSED: it had ended before, nothing changed.

    MISSING: the server had lost the open record, or never had it; the event was kept, and the money where
    it was not counted otherwise.
    """

    OK = "ok"
    CLOSED = "closed"
    MISSING = "missing"


CLOSED_AS = {each.value.encode(): each for each in Closed}
"""By the word that the script answers."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a heartbeat found. `lost`: requests that have ended or are another's. `missing`: unknown ones."""

    lost: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
