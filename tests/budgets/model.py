"""What the ledger promises, written a second time, as plainly as it can be said.

Nothing here is shared with the product: the Lua scripts are compared with this, answer for answer and
counter for counter.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Row:
    """One limit in one window."""

    value: int
    enforcement: str
    spent: int = 0
    reserved: int = 0
    doubted: int = 0

    @property
    def free(self) -> int:
        return self.value - self.spent - self.reserved - self.doubted

    @property
    def unspent(self) -> int:
        return self.value - self.spent - self.doubted


@dataclass
class Running:
    """One open request."""

    held: int
    rows: list[str]
    checkpoint: int = 0
    estimate: int | None = None


@dataclass
class Model:
    """The whole ledger of one key."""

    rows: dict[str, Row] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    outbox: list[tuple[str, int | None, int]] = field(default_factory=list)  # id, cost, doubted
    key_version: int = 1
    key_active: bool = True
    whole: bool = True

    def open(
        self,
        request_id: str,
        version: int,
        full: int,
        assumed: int,
        least: int,
        estimate: int | None,
    ) -> tuple[str, int | None]:
        """("OK", held), or (reason, None)."""
        if request_id in self.running or request_id in self.ended:
            return "EXISTS", None
        if not self.key_active:
            return "REVOKED", None
        if version != self.key_version:
            return "STALE", None
        if not self.whole:
            return "COLD", None
        hard = [row for row in self.rows.values() if row.enforcement == "hard"]
        held = self._grant([row.free for row in hard], full, assumed, least)
        if held is None:
            return ("BUSY" if all(row.unspent >= least for row in hard) else "EXHAUSTED"), None
        for row in self.rows.values():
            row.reserved += held
        self.running[request_id] = Running(held, list(self.rows), estimate=estimate)
        return "OK", held

    @staticmethod
    def _grant(frees: list[int], full: int, assumed: int, least: int) -> int | None:
        if not frees:
            return full
        free = min(frees)
        if full == least:
            return full if free >= full else None
        if free >= 20 * full or (assumed == full and free >= full):
            return full
        if free >= assumed:
            return assumed
        return free if free >= least else None

    def extend(self, request_id: str, extra: int) -> bool:
        request = self.running.get(request_id)
        if request is None:
            return False
        rows = [self.rows[name] for name in request.rows]
        if any(row.enforcement == "hard" and row.free < extra for row in rows):
            return False
        request.held += extra
        for row in rows:
            row.reserved += extra
        return True

    def heartbeat(self, request_id: str, cost: int) -> bool:
        request = self.running.get(request_id)
        if request is None:
            return False
        request.checkpoint = max(request.checkpoint, cost)
        return True

    def close(self, request_id: str, spent: int, doubted: int, cost: int | None) -> str:
        request = self.running.pop(request_id, None)
        if request is None:
            return "closed"
        for name in request.rows:
            row = self.rows[name]
            row.reserved -= request.held
            row.spent += spent
            row.doubted += doubted
        self.ended.add(request_id)
        self.outbox.append((request_id, cost, doubted))
        return "ok"

    def reap(self, request_id: str) -> bool:
        request = self.running.get(request_id)
        if request is None:
            return False
        known = max(request.estimate or 0, request.checkpoint)
        doubted = max(0, request.held - known) if request.rows else 0
        cost = known if known or request.estimate is not None else None
        return self.close(request_id, known, doubted, cost) == "ok"
