"""The ledger as a worker uses it: open, extend, heartbeat, restore, close.

Every decision falls inside one Lua script on one shard; this class turns requests into script calls and
replies into values. Refusals are values, an unreachable ledger is an exception (`LedgerUnavailable`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hiredis import ReplyError

from budgets.accrual import accrue, accrues
from budgets.answers import CLOSED_AS, Closed, Lease, Opened, Pulse, Refused, Versions
from budgets.closing import AGAIN, close_call_of
from budgets.connection import Argument, LedgerUnavailable
from budgets.hold import Extra, Hold, Settled
from budgets.limit import AMOUNT_MAX, Attribution, LimitTerms, check_amount
from budgets.names import names_of, names_on, shard_of
from budgets.opening import open_call, read_opened, read_refused
from budgets.rowset import RowSet, RowSets
from budgets.scripts import CLOSE, EXTEND, HEARTBEAT, OPEN, RESTORE, Script
from budgets.wire import ShardMoved

HEARTBEAT_BATCH = 256
"""Leases renewed by one script call: about half a millisecond of the server's time."""
REFUSED_BEFORE = frozenset(
    (
        *("OOM", "LOADING", "READONLY", "MISCONF", "NOPERM", "NOAUTH"),
        *("BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "NOSCRIPT"),
    )
)
"""Redis' first words when a script was refused before it began, so that nothing was written."""


class LedgerConnection(Protocol):
    """What the ledger needs of a connection, to one server or to a cluster."""

    def script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> asyncio.Future[Any]: ...

    def run_id_for(self, key: str) -> str: ...


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

    def covers(self, rows: RowSet, now_ms: int) -> bool:
        """Whether these rows are still those of a request that begins now."""
        return rows.covers(now_ms + self._clock_lead_ms)

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
        rows: RowSet | None = None,
        again: bool = False,
    ) -> Opened | Refused:
        """Check the key and every limit of `lists` that applies, and hold on all of them or on none.

        `rows`: those of these lists, where the caller has looked them up for this moment already.
        `payload` is the cost event in its open form; the reaper completes it if this worker vanishes.
        `again` repeats an open whose answer was lost (`LedgerUnavailable.sent`): if it had been granted to
        this owner, that grant is answered. Raises LedgerUnavailable, TooManyLimits.
        """
        meta = names_of(of.account_id).meta
        for _ in range(3):  # a wrong clock costs one repetition, a boundary just then another
            rows = rows or self.rows(lists, versions, of, now_ms)
            keys, args = open_call(
                rows,
                of=of,
                request_id=request_id,
                owner=self._owner,
                run_id=self._connection.run_id_for(meta),
                versions=versions,
                hold=hold,
                payload=payload,
                lease_ms=self._lease_ms,
                again=again,
            )
            try:
                reply = await self._run(OPEN, keys, args)
            except ShardMoved:
                continue  # another server serves the shard: it goes by another run id
            if type(reply) is bytes or reply[0] == b"OK":
                return read_opened(reply, rows, of=of, request_id=request_id, hold=hold, payload=payload)
            if reply[0] != b"PERIOD":
                return read_refused(reply, rows)
            self._clock_lead_ms, rows = int(reply[1]) - now_ms, None
        raise LedgerUnavailable("the shard's server or clock changes faster than it can be asked", sent=False)

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
        fence = AGAIN if again else ""
        keys, args = close_call_of(lease, settled, status=status, event=event, fence=fence)
        return CLOSED_AS[await self._run(CLOSE, keys, args)]

    async def _run(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        try:
            return await self._connection.script(script, keys, args)
        except ReplyError as error:
            began = str(error).partition(" ")[0] not in REFUSED_BEFORE
            raise LedgerUnavailable(f"Redis refused {script.name}: {error}", sent=began) from error


def _spaced(held: Mapping[str, int], meters: str) -> str:
    return " ".join(str(held[meter]) for meter in meters)


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
