"""The ledger as a worker uses it: open, extend, heartbeat, restore, close.

Every decision falls inside one Lua script on one shard; this class turns requests into script calls and
replies into values. Refusals are values, an unreachable ledger is an exception (`LedgerUnavailable`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from struct import Struct
from typing import Any, Literal, Protocol

from hiredis import ReplyError

from budgets.accrual import accrue, accrues
from budgets.connection import Argument, LedgerUnavailable
from budgets.hold import Extra, Hold, Settled, Step
from budgets.limit import AMOUNT_MAX, Attribution, LimitTerms, check_amount
from budgets.names import names_of, names_on, shard_of
from budgets.rowset import RowSet, RowSets, pack_numbers, read_record
from budgets.scripts import CLOSE, EXTEND, HEARTBEAT, OPEN, RESTORE, Script
from budgets.wire import ShardMoved

MARKER_MS = 600_000
"""How long a closed request is remembered, so that a repeated close is told apart from an unknown one."""
UNCOVERED_MARKER_MS = 7 * 86_400_000
"""The same for requests that ran while the ledger was away: their closes come from journals, perhaps late."""
HEARTBEAT_BATCH = 256
"""Leases renewed by one script call: about half a millisecond of the server's time."""
GRANTED = Struct("<2q")
"""What open.lua answers most of the time: when (ms), and what money is free (-1: no hard limit says)."""
AGAIN = "again"
"""In the fence's place: this close had been acknowledged before."""
REFUSED_BEFORE = frozenset(
    (
        *("OOM", "LOADING", "READONLY", "MISCONF", "NOPERM", "NOAUTH"),
        *("BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "NOSCRIPT"),
    )
)
"""Redis' first words when a script was refused before it began, so that nothing was written."""

Reason = Literal["EXHAUSTED", "BUSY", "RATE", "REVOKED", "EXPIRED", "STALE", "COLD", "EXISTS"]


class LedgerConnection(Protocol):
    """What the ledger needs of a connection, to one server or to a cluster."""

    def script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> asyncio.Future[Any]: ...

    def run_id_for(self, key: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Versions:
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


@dataclass(frozen=True, slots=True)
class Opened:
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


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a heartbeat found. `lost`: requests that have ended or are another's. `missing`: unknown ones."""

    lost: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Ledger:
    """The ledger's face to one worker. `owner` names the worker; only it may renew or extend its leases."""

    def __init__(self, connection: LedgerConnection, *, owner: str, lease_ms: int) -> None:
        self._connection = connection
        self._owner = owner
        self._lease_ms = lease_ms
        self._clock_lead_ms = 0  # Redis' clock less ours, learned when it mattered
        self._sets = RowSets()

    def rows(
        self, lists: Sequence[tuple[LimitTerms, ...]], versions: Versions, of: Attribution, now_ms: int
    ) -> RowSet:
        """The rows that a request counts on now. Raises budgets.rowset.TooManyLimits."""
        own = of.customer if versions.customer else None
        origin = (of.account_id, of.key_id, own, versions.key, versions.account, versions.customer, of.label)
        return self._sets.of(lists, origin, of, now_ms + self._clock_lead_ms)

    async def open(
        self,
        *,
        of: Attribution,
        request_id: str,
        versions: Versions,
        lists: Sequence[tuple[LimitTerms, ...]],
        hold: Hold,
        payload: bytes,
        now_ms: int,
        again: bool = False,
    ) -> Opened | Refused:
        """Check the key and every limit of `lists` that applies, and hold on all of them or on none.

        `payload` is the cost event in its open form; the reaper completes it if this worker vanishes.
        `again` repeats an open whose answer was lost (`LedgerUnavailable.sent`): if it had been granted to
        this owner, that grant is answered. Raises LedgerUnavailable, TooManyLimits.
        """
        names = names_of(of.account_id)
        for _ in range(3):  # a wrong clock costs one repetition, a boundary just then another
            rows = self.rows(lists, versions, of, now_ms)
            keys = [names.open + request_id, names.leases, names.meta, names.key + of.key_id, names.limits]
            keys += rows.hashes
            if versions.customer is not None:
                keys.append(f"{names.customer}{of.account_id}:{of.customer}")
            run_id = self._connection.run_id_for(names.meta)
            amounts = [hold.of(meter) for meter in rows.meters]
            fulls = [full for full, _, _ in amounts]
            numbers = (self._lease_ms, again, hold.ample_factor, *chain.from_iterable(amounts))
            args: list[Argument] = [
                request_id,
                self._owner,
                payload,
                f"{run_id} {versions.key} {versions.account} {versions.customer or 0}",
                f"ver:{of.account_id}",
                rows.opening + pack_numbers(numbers) + rows.expiries,
                rows.record,
                rows.meters,
                " ".join(map(str, fulls)),
                *rows.opened,
            ]
            try:
                reply = await self._run(OPEN, keys, args)
            except ShardMoved:
                continue  # another server serves the shard: it goes by another run id
            if type(reply) is bytes:  # all in full, and nothing else to tell
                at_ms, remaining = GRANTED.unpack(reply)
                held = dict(zip(rows.meters, fulls, strict=True))
                lease = Lease(request_id, of.account_id, rows, held, at_ms, payload)
                return Opened(lease, "full", at_ms, None if remaining < 0 else remaining)
            word = reply[0]
            if word == b"OK":
                return self._opened(of, request_id, rows, hold, payload, reply)
            if word != b"PERIOD":
                return _refusal(reply, rows)
            self._clock_lead_ms = int(reply[1]) - now_ms
        raise LedgerUnavailable("the shard's server or clock changes faster than it can be asked", sent=False)

    def _opened(
        self, of: Attribution, request_id: str, rows: RowSet, hold: Hold, payload: bytes, reply: list[bytes]
    ) -> Opened:
        at_ms = int(reply[2])
        if len(reply) > 5 and reply[5].decode() != rows.record:
            # Granted before, in windows that have ended since.
            rows = read_record(rows.shard, reply[5].decode(), reply[6].decode())
        held = dict(zip(rows.meters, map(int, reply[1].split()), strict=True))
        lease = Lease(request_id, of.account_id, rows, held, at_ms, payload)
        over = tuple(rows.limits[int(place) - 1] for place in reply[4].split()) if reply[4] else ()
        remaining = None if reply[3] == b"" else int(reply[3])
        return Opened(lease, hold.step_of(held), at_ms, remaining, over)

    def uncovered(
        self, of: Attribution, request_id: str, rows: RowSet, hold: Hold, payload: bytes, now_ms: int
    ) -> Lease:
        """A lease that nobody granted, for a request that runs although the ledger is away.

        The next heartbeat finds it missing; `restore` then brings it under the ledger.
        """
        held = {meter: hold.of(meter)[0] for meter in rows.meters}
        at_ms = now_ms + self._clock_lead_ms
        return Lease(request_id, of.account_id, rows, held, at_ms, payload, covered=False)

    async def accrue(self, of: Attribution, versions: Versions, rows: RowSet) -> bool:
        """Make the values of this window that are carried over from former ones; False where there are none,
        or `open` must be asked as it is. Raises LedgerUnavailable."""
        if of.customer is None or not accrues(rows):
            return False
        known = (versions.account, versions.customer)
        try:
            return await accrue(self._connection, of.account_id, known, of.customer, rows)
        except ReplyError as error:
            raise LedgerUnavailable(f"Redis refused accrue: {error}", sent=False) from error

    async def extend(self, lease: Lease, extra: Extra) -> bool:
        """Hold more on every row, or on none.

        False when a hard limit has not that much free, the ledger does not know all that was spent, or the
        lease is lost. Raises LedgerUnavailable.
        """
        rows = lease.rows
        extras = [check_amount(extra.of(meter), "the extra hold") for meter in rows.meters]
        if any(
            lease.held[meter] + more > AMOUNT_MAX for meter, more in zip(rows.meters, extras, strict=True)
        ):
            return False
        names = names_on(lease.shard)
        reply = await self._run(
            EXTEND,
            (names.open + lease.request_id, names.limits, names.meta, *rows.hashes),
            (
                self._owner,
                self._connection.run_id_for(names.meta),
                rows.meters,
                rows.shape,
                *extras,
                *rows.ids,
                *rows.fields,
            ),
        )
        if reply != b"OK":
            return False
        for meter, more in zip(rows.meters, extras, strict=True):
            lease.held[meter] += more
        return True

    async def heartbeat(self, leases: Sequence[tuple[Lease, int]]) -> Pulse:
        """Renew leases, each with what it has cost so far (nano-USD). Raises LedgerUnavailable.

        Lost requests are no longer this worker's: their upstream calls must be stopped. Missing ones are
        to be restored.
        """
        by_shard: dict[str, list[tuple[Lease, int]]] = {}
        for pair in leases:
            by_shard.setdefault(pair[0].shard, []).append(pair)
        calls = []
        for shard, pairs in by_shard.items():
            names = names_on(shard)
            for start in range(0, len(pairs), HEARTBEAT_BATCH):
                batch = pairs[start : start + HEARTBEAT_BATCH]
                keys: list[Argument] = [names.leases]
                args: list[Argument] = [self._owner, self._lease_ms]
                for lease, checkpoint_nano in batch:
                    keys.append(names.open + lease.request_id)
                    args += (lease.request_id, check_amount(checkpoint_nano, "a checkpoint"))
                calls.append(self._run(HEARTBEAT, keys, args))
        pulse = Pulse()
        for lost, missing in await asyncio.gather(*calls):
            pulse.lost.extend(request_id.decode() for request_id in lost)
            pulse.missing.extend(request_id.decode() for request_id in missing)
        return pulse

    async def restore(self, lease: Lease, checkpoint_nano: int) -> bool:
        """Put a running request back that the server does not know, whatever the limits say.

        False when it has ended by now or is another's. Raises LedgerUnavailable.
        """
        rows, names = lease.rows, names_on(lease.shard)
        reply = await self._run(
            RESTORE,
            (names.open + lease.request_id, names.leases, *rows.hashes),
            (
                lease.request_id,
                self._owner,
                self._lease_ms,
                lease.at_ms,
                _spaced(lease.held, rows.meters),
                rows.record,
                lease.payload,
                check_amount(checkpoint_nano, "a checkpoint"),
                rows.meters,
                rows.shape,
                *rows.ends,
                *rows.fields,
            ),
        )
        if reply == b"OK":
            lease.covered = True
        return bool(reply == b"OK")

    async def close(
        self, lease: Lease, settled: Settled, *, status: str, event: bytes, again: bool = False
    ) -> Closed:
        """End the request: free its hold, add what it came to, append the event to the outbox.

        All in one step, once; repeating it is safe and changes nothing. What was spent above the hold is
        recorded in full. Raises LedgerUnavailable: the caller repeats until it is told an end.

        `again`: its end had been told, and the server may have forgotten that. Where it has, the event is
        brought back, and the money left to who makes the ledger whole: it may be counted from the record.
        """
        keys, args = close_call(
            lease.request_id,
            lease.rows,
            settled,
            status=status,
            event=event,
            at_ms=lease.at_ms,
            covered=lease.covered,
            fence=AGAIN if again else "",
        )
        return Closed((await self._run(CLOSE, keys, args)).decode())

    async def _run(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        try:
            return await self._connection.script(script, keys, args)
        except ReplyError as error:
            began = str(error).partition(" ")[0] not in REFUSED_BEFORE
            raise LedgerUnavailable(f"Redis refused {script.name}: {error}", sent=began) from error


def close_call(
    request_id: str,
    rows: RowSet,
    settled: Settled,
    *,
    status: str,
    event: bytes,
    at_ms: int,
    covered: bool = True,
    fence: str = "",
) -> tuple[list[Argument], list[Argument]]:
    """Keys and arguments of close.lua. `fence`: the heartbeat count that a reaper saw, or AGAIN."""
    names = names_on(rows.shard)
    keys: list[Argument] = [names.open + request_id, names.leases, names.outbox, names.meta, *rows.hashes]
    if rows.asks_values:
        keys += (names.limits, names.notices)
    amounts = [settled.of(meter) for meter in rows.meters]
    args: list[Argument] = [
        request_id,
        status,
        MARKER_MS if covered else UNCOVERED_MARKER_MS,
        event,
        fence,
        rows.closing + pack_numbers((at_ms, *chain.from_iterable(amounts))),
        rows.layout,
        *rows.closed,
    ]
    return keys, args


def _spaced(held: Mapping[str, int], meters: str) -> str:
    return " ".join(str(held[meter]) for meter in meters)


def _refusal(reply: list[bytes], rows: RowSet) -> Refused:
    reason: Any = reply[0].decode()
    if len(reply) == 1:
        return Refused(reason)
    place, value, spent, free = (int(part) for part in reply[1:5])
    return Refused(
        reason=reason,
        limit=rows.limits[place - 1],
        row=rows.fields[place - 1],
        value=value,
        spent=spent,
        free=free,
        retry_ms=None if reply[5] == b"" else int(reply[5]),
    )


__all__ = [
    "Closed",
    "Extra",
    "Hold",
    "Lease",
    "Ledger",
    "LedgerUnavailable",
    "Opened",
    "Pulse",
    "Refused",
    "Settled",
    "Versions",
    "shard_of",
]
