"""The call that opens a request: the keys and arguments of open.lua, and what its reply says. Pure."""

from __future__ import annotations

from itertools import chain
from struct import Struct
from typing import Any

from budgets.answers import Lease, Opened, Refused, Versions
from budgets.hold import Hold
from budgets.limit import Attribution
from budgets.names import names_of
from budgets.rowset import RowSet, pack_numbers, read_record
from budgets.wire import Argument

GRANTED = Struct("<2q")
"""What open.lua answers most of the time: when (ms), and what money is free (-1: no hard limit says)."""


def open_call(
    rows: RowSet,
    *,
    of: Attribution,
    request_id: str,
    owner: str,
    run_id: str,
    versions: Versions,
    hold: Hold,
    payload: bytes,
    lease_ms: int,
    again: bool,
) -> tuple[list[Argument], list[Argument]]:
    """How a request is opened on these rows. `run_id`: of the server that the caller is connected to."""
    names = names_of(of.account_id)
    keys: list[Argument] = [names.open + request_id, names.leases, names.meta, names.key + of.key_id]
    keys += (names.limits, *rows.hashes)
    if versions.customer is not None:
        keys.append(f"{names.customer}{of.account_id}:{of.customer}")
    amounts = [hold.of(meter) for meter in rows.meters]
    numbers = (lease_ms, again, hold.ample_factor, *chain.from_iterable(amounts))
    args: list[Argument] = [
        request_id,
        owner,
        payload,
        f"{run_id} {versions.key} {versions.account} {versions.customer or 0}",
        f"ver:{of.account_id}",
        rows.opening + pack_numbers(numbers) + rows.expiries,
        rows.record,
        rows.meters,
        " ".join([str(full) for full, _, _ in amounts]),
        *rows.opened,
    ]
    return keys, args


def read_opened(
    reply: Any, rows: RowSet, *, of: Attribution, request_id: str, hold: Hold, payload: bytes
) -> Opened:
    """The grant that open.lua answers: 16 bytes where all is held in full, else a list."""
    if type(reply) is bytes:
        at_ms, free = GRANTED.unpack(reply)
        held = {meter: hold.of(meter)[0] for meter in rows.meters}
        lease = Lease(request_id, of.account_id, rows, held, at_ms, payload)
        return Opened(lease, "full", at_ms, None if free < 0 else free)
    at_ms = int(reply[2])
    if len(reply) > 5 and reply[5].decode() != rows.record:
        # Granted before, in windows that have ended since.
        rows = read_record(rows.shard, reply[5].decode(), reply[6].decode())
    held = dict(zip(rows.meters, map(int, reply[1].split()), strict=True))
    lease = Lease(request_id, of.account_id, rows, held, at_ms, payload)
    over = tuple(rows.limits[int(place) - 1] for place in reply[4].split()) if reply[4] else ()
    remaining = None if reply[3] == b"" else int(reply[3])
    return Opened(lease, hold.step_of(held), at_ms, remaining, over)


def read_refused(reply: list[bytes], rows: RowSet) -> Refused:
    """The refusal that open.lua answers."""
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
