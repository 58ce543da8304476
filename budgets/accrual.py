"""Accrual: values of limits whose unused part is carried over into the next window.

Such a limit has a value of its own in each window, made by one script at the first request of the window:
the allowance, and what was left of the windows before, up to a bound. A request whose value is not made yet
is answered COLD by `open`; the worker then makes it (`accrue`) and asks again, so that every other request
of the window costs what any request costs.

What is held when a window's value is made counts as used. What was left is known from the ledger alone: a
ledger that lost its memory gives the plain allowance, never more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from budgets.connection import Argument
from budgets.limit import LimitTerms
from budgets.names import names_of
from budgets.rowset import ACCRUED, RowSet
from budgets.scripts import ACCRUE, Script
from budgets.window import Window, window_of

FORMER_MAX = 400
"""So many idle windows are carried over at most: more than a year of days."""


class ScriptConnection(Protocol):
    """What is needed of a connection, to one server or to a cluster."""

    def script(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> Any: ...

    def run_id_for(self, key: str) -> str: ...


def accrues(rows: RowSet) -> bool:
    """Whether some value of these rows is made window by window."""
    return any(name.startswith(ACCRUED) for name in rows.ids)


async def accrue(
    connection: ScriptConnection,
    account_id: str,
    versions: tuple[int, int | None],
    customer: str,
    rows: RowSet,
) -> bool:
    """Make the values of these rows that are not made yet; False when `open` must be asked as it is.

    versions: of the account's and the customer's documents, as `open` is told them. Raises LedgerUnavailable
    and redis' own refusals.
    """
    names = names_of(account_id)
    account, own = versions
    for place, limit in enumerate(rows.limits):
        if limit.carry is None:
            continue
        window = window_of(limit, rows.start_ms)
        former = former_windows(limit, window)
        keys: list[Argument] = [
            names.limits,
            f"{names.base}accrued",
            names.meta,
            f"{names.customer}{account_id}:{customer}",
            *(names.window + each.id for each in former),
        ]
        args: list[Argument] = [
            connection.run_id_for(names.meta),
            f"ver:{account_id}",
            account,
            "" if own is None else own,
            rows.ids[place],
            rows.fields[place],
            limit.value_id,
            limit.carry[0],
            window.start_ms,
            window.end_ms,
            *(each.end_ms for each in former),
        ]
        if await connection.script(ACCRUE, keys, args) != b"OK":
            return False
    return True


def former_windows(limit: LimitTerms, window: Window) -> list[Window]:
    """The windows before this one, the latest first: as many as can matter to what is carried over."""
    most = limit.carry[0] if limit.carry is not None else 0
    enough = min(FORMER_MAX, -(-most // max(1, limit.value)) + 1)
    found: list[Window] = []
    while len(found) < enough and window.start_ms > 0:
        window = window_of(limit, window.start_ms - 1)
        found.append(window)
    return found
