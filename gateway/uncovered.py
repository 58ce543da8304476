"""Uncovered requests: what may run while the ledger cannot be asked, by the policy of each key.

    closed      nothing: the caller is told to come back (the default of a key with a limit)
    open        everything, as long as the journal can be written (the default of a key without)
    allowance   up to the key's allowance: each worker has an equal share of it

What runs so is written to the journal first and told to the ledger when it is back, so its event and its
cost are never lost; what a limit could not be asked about is counted as uncovered money.
"""

from __future__ import annotations

import structlog

from budgets.hold import Hold
from budgets.journal import Journal, JournalUnavailable
from budgets.ledger import Lease, Ledger, Opened
from gateway.metrics import Metrics
from gateway.standing import Standing


class Uncovered:
    """Grants without the ledger, of one worker. `shares`: into how many parts an allowance is cut."""

    def __init__(self, ledger: Ledger, journal: Journal | None, metrics: Metrics, *, shares: int) -> None:
        self._ledger = ledger
        self._journal = journal
        self._metrics = metrics
        self._shares = shares
        self._granted: dict[str, tuple[str, int, str]] = {}  # request id -> key id, nano-USD, policy
        self._used: dict[str, int] = {}  # key id -> what of its share is granted and not told to the ledger
        self._log = structlog.get_logger("gateway.uncovered")

    def open(
        self, standing: Standing, request_id: str, hold: Hold, payload: bytes, now_ms: int
    ) -> Opened | None:
        """Let the request run without the ledger; None where its key's policy or the journal forbids it."""
        key, journal = standing.key, self._journal
        policy = key.when_ledger_down(limited=standing.rows.enforced)
        if policy == "closed" or journal is None:
            return None
        amount: int | None = hold.full
        if policy == "allowance":
            amount = hold.granted(key.allowance_nano // self._shares - self._used.get(key.id, 0))
        if amount is None:
            return None
        lease = self._ledger.uncovered(standing.of, request_id, standing.rows, hold, payload, now_ms)
        lease.held["m"] = amount
        try:
            journal.opened(lease, key.id)
        except JournalUnavailable as error:
            self._log.error("journal_unavailable", reason=str(error))
            return None
        self._granted[request_id] = (key.id, amount, policy)
        self._used[key.id] = self._used.get(key.id, 0) + amount
        self._metrics.uncovered(policy)
        return Opened(lease, hold.step_of({"m": amount}), lease.at_ms, None)

    def ended(self, lease: Lease, spent_nano: int) -> None:
        """Its cost is known: that is what of the share is used, and what was not covered by any limit."""
        granted = self._granted.get(lease.request_id)
        if granted is not None and not lease.covered:
            key_id, amount, policy = granted
            self._used[key_id] += spent_nano - amount
            self._granted[lease.request_id] = (key_id, spent_nano, policy)
            self._metrics.uncovered_cost(policy, spent_nano)

    def told(self, request_id: str) -> None:
        """The ledger knows of the request now: its limits count it."""
        if self._journal is not None:
            self._journal.done(request_id)
        granted = self._granted.pop(request_id, None)
        if granted is not None:
            key_id, amount, _ = granted
            self._used[key_id] -= amount
            if self._used[key_id] <= 0:
                del self._used[key_id]
