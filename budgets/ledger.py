"""The ledger as a worker uses it: open, extend, heartbeat, close.

Every decision falls inside one Lua script on one shard; this class turns requests into script calls and
replies into values. Refusals are values, an unreachable ledger is an exception (`LedgerUnavailable`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from hiredis import ReplyError

from budgets.connection import Argument, LedgerUnavailable, RedisConnection
from budgets.limit import LimitTerms, check_amount
from budgets.names import names_of, names_on, shard_of
from budgets.scripts import CLOSE, EXTEND, HEARTBEAT, OPEN, Script
from budgets.window import FOREVER_MS, LIFETIME, Window, window_at

MARKER_MS = 600_000
"""How long a closed request is remembered, so that a repeated close is told apart from an unknown one."""
HEARTBEAT_BATCH = 256
"""Leases renewed by one script call: about half a millisecond of the server's time."""
REFUSED_BEFORE = frozenset(
    (
        *("OOM", "LOADING", "READONLY", "MISCONF", "NOPERM", "NOAUTH"),
        *("BUSY", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "NOSCRIPT"),
    )
)
"""Redis' first words when a script was refused before it began, so that nothing was written."""

Step = Literal["full", "assumed", "clamped"]
Reason = Literal["EXHAUSTED", "BUSY", "REVOKED", "EXPIRED", "STALE", "COLD", "EXISTS"]


@dataclass(frozen=True, slots=True)
class Hold:
    """How much to hold, in nano-USD: three ceilings that differ only when nobody named a maximum output.

    full: at the client's own maximum, or at the model's. assumed: at the maximum that is assumed and
    written otherwise. least: at the smallest useful maximum. On hard limits `full` is granted when it fits
    `ample_factor` times, else `assumed`, else what is left down to `least`. When all three are equal,
    nothing but `full` is granted; without hard limits, always `full`.
    """

    full: int
    assumed: int
    least: int
    ample_factor: int = 20

    def __post_init__(self) -> None:
        for name in ("full", "assumed", "least"):
            check_amount(getattr(self, name), f"the hold's {name} amount")
        if not self.least <= self.assumed <= self.full:
            raise ValueError(f"a hold needs least <= assumed <= full, not {self}")

    def step_of(self, held_nano: int) -> Step:
        """Which of the rule's grants this amount is."""
        if held_nano == self.full:
            return "full"
        return "assumed" if held_nano == self.assumed else "clamped"


@dataclass(slots=True)
class Lease:
    """A worker's right to an open request.

    `rows` names the counters it holds on; `held_nano` grows when `extend` succeeds; `at_ms` is Redis' time.
    """

    request_id: str
    account_id: str
    shard: str
    rows: tuple[str, ...]
    held_nano: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The request may run. `remaining_nano`: what is free after this hold; None without a hard limit."""

    lease: Lease
    step: Step
    at_ms: int
    remaining_nano: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The request may not run, and nothing was written.

    EXHAUSTED: spent and doubted money leave too little. BUSY: only others' holds are in the way.
    REVOKED, EXPIRED: the key. STALE: the caller's copy of the key is old. COLD: the ledger does not know
    all that was spent. EXISTS: the request id was used. The amounts describe the refusing limit.
    """

    reason: Reason
    limit_id: str | None = None
    limit_nano: int | None = None
    spent_nano: int | None = None
    free_nano: int | None = None


class Closed(StrEnum):
    """How a close ended. OK: this call ended the request. CLOSED: it had ended before, nothing changed.

    MISSING: the server had lost the open record; the event was kept, and the money where it was not
    counted otherwise.
    """

    OK = "ok"
    CLOSED = "closed"
    MISSING = "missing"


class Ledger:
    """The ledger's face to one worker. `owner` names the worker; only it may renew or extend its leases."""

    def __init__(self, connection: RedisConnection, *, owner: str, lease_ms: int) -> None:
        self._connection = connection
        self._owner = owner
        self._lease_ms = lease_ms
        self._clock_lead_ms = 0  # Redis' clock less ours, learned when it mattered
        self._windows: dict[str, Window] = {"lifetime": LIFETIME}

    async def open(
        self,
        *,
        account_id: str,
        request_id: str,
        key_id: str,
        key_version: int,
        limits: Sequence[LimitTerms],
        hold: Hold,
        payload: bytes,
        now_ms: int,
        again: bool = False,
    ) -> Opened | Refused:
        """Check the key and every limit, and hold the money on all of them or on none.

        `payload` is the cost event in its open form; the reaper completes it if this worker vanishes.
        `again` repeats an open whose answer was lost (`LedgerUnavailable.sent`): if it had been granted to
        this owner, that grant is answered. Raises LedgerUnavailable.
        """
        names = names_of(account_id)
        for _ in range(3):  # a wrong clock costs one repetition, a boundary just then another
            moment_ms = now_ms + self._clock_lead_ms
            windows = [self._window(limit.window, moment_ms) for limit in limits]
            keys: list[Argument] = [names.open + request_id, names.leases, names.meta, names.key + key_id]
            rows: list[str] = []
            bounds: list[str] = []
            latest_start, earliest_end = 0, FOREVER_MS
            for limit, window in zip(limits, windows, strict=True):
                definition = names.limit + limit.id
                row = f"{definition}:{window.id}"
                keys += (definition, row)
                rows.append(row)
                bounds.append(f"{window.start_ms} {window.end_ms}")
                latest_start = max(latest_start, window.start_ms)
                earliest_end = min(earliest_end, window.end_ms)
            reply = await self._run(
                OPEN,
                keys,
                [
                    request_id,
                    self._owner,
                    key_version,
                    self._lease_ms,
                    hold.full,
                    hold.assumed,
                    hold.least,
                    hold.ample_factor,
                    latest_start,
                    earliest_end,
                    " ".join(bounds),
                    payload,
                    "1" if again else "0",
                ],
            )
            word = reply[0]
            if word == b"OK":
                held, at_ms = int(reply[1]), int(reply[2])
                if len(reply) > 4:  # granted before, perhaps in windows that have ended since
                    rows = reply[4].decode().split()
                lease = Lease(request_id, account_id, names.shard, tuple(rows), held, at_ms)
                return Opened(lease, hold.step_of(held), at_ms, int(reply[3]) if reply[3] else None)
            if word != b"PERIOD":
                return _refusal(reply, limits)
            self._clock_lead_ms = int(reply[1]) - now_ms
        raise LedgerUnavailable("Redis' clock leaves every window as soon as it is computed", sent=False)

    async def extend(self, lease: Lease, extra_nano: int) -> bool:
        """Hold `extra_nano` more on every row, or on none.

        False when a hard limit has not that much free, or the lease is lost. Raises LedgerUnavailable.
        """
        check_amount(lease.held_nano + check_amount(extra_nano, "the extra hold"), "the extended hold")
        keys: list[Argument] = [names_on(lease.shard).open + lease.request_id]
        for row in lease.rows:
            keys += (row.rpartition(":")[0], row)
        reply = await self._run(EXTEND, keys, (self._owner, extra_nano))
        if reply != b"OK":
            return False
        lease.held_nano += extra_nano
        return True

    async def heartbeat(self, leases: Sequence[tuple[Lease, int]]) -> list[str]:
        """Renew leases, each with what it has cost so far (nano-USD).

        Returns the ids of requests that are no longer this worker's (reaped, or lost with the server's
        memory): their upstream calls must be stopped. Raises LedgerUnavailable.
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
        return [request_id.decode() for lost in await asyncio.gather(*calls) for request_id in lost]

    async def close(
        self, lease: Lease, *, spent_nano: int, doubted_nano: int, status: str, event: bytes
    ) -> Closed:
        """End the request: free its hold, add spent and doubted money, append the event to the outbox.

        All in one step, once; repeating it is safe and changes nothing. Money spent above the hold is
        recorded in full. Raises LedgerUnavailable: the caller repeats until it is told an end.
        """
        check_amount(spent_nano, "the spent amount")
        check_amount(doubted_nano, "the doubted amount")
        names = names_on(lease.shard)
        reply = await self._run(
            CLOSE,
            (names.open + lease.request_id, names.leases, names.outbox, names.meta, *lease.rows),
            (lease.request_id, spent_nano, doubted_nano, status, MARKER_MS, event, "", lease.at_ms),
        )
        return Closed(reply.decode())

    async def _run(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        try:
            return await self._connection.script(script, keys, args)
        except ReplyError as error:
            began = str(error).partition(" ")[0] not in REFUSED_BEFORE
            raise LedgerUnavailable(f"Redis refused {script.name}: {error}", sent=began) from error

    def _window(self, kind: str, moment_ms: int) -> Window:
        window = self._windows.get(kind)
        if window is None or not window.covers(moment_ms):
            window = self._windows[kind] = window_at(kind, moment_ms)
        return window


def _refusal(reply: list[bytes], limits: Sequence[LimitTerms]) -> Refused:
    reason: Any = reply[0].decode()
    if len(reply) == 1:
        return Refused(reason)
    place, value, spent, free = (int(part) for part in reply[1:])
    return Refused(reason, limits[place - 1].id, value, spent, free)


__all__ = [
    "Closed",
    "Hold",
    "Lease",
    "Ledger",
    "LedgerUnavailable",
    "Opened",
    "RedisConnection",
    "Refused",
    "shard_of",
]
