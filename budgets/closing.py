"""The call that ends a request: the keys and arguments of close.lua. Pure."""

from __future__ import annotations

from itertools import chain

from budgets.answers import Lease
from budgets.hold import Settled
from budgets.names import names_on
from budgets.rowset import RowSet, pack_numbers
from budgets.wire import Argument

MARKER_MS = 600_000
"""How long a closed request is remembered, so that a repeated close is told apart from an unknown one."""
UNCOVERED_MARKER_MS = 7 * 86_400_000
"""The same for requests that ran while the ledger was away: their closes come from journals, perhaps late."""
AGAIN = "again"
"""In the fence's place: this close had been acknowledged before."""

Call = tuple[list[Argument], list[Argument]]
"""Keys, and arguments."""


def close_call_of(lease: Lease, settled: Settled, *, status: str, event: bytes, fence: str = "") -> Call:
    """How the lease's own worker, or who inherits its journal, ends it."""
    return close_call(
        lease.request_id,
        lease.rows,
        settled,
        status=status,
        event=event,
        at_ms=lease.at_ms,
        covered=lease.covered,
        fence=fence,
    )


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
) -> Call:
    """How a request is ended. `fence`: the heartbeat count that a reaper saw, or AGAIN."""
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
