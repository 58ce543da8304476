"""What the ledger promises, written a second time, as plainly as it can be said.

Nothing here is shared with the product: the Lua scripts are compared with this, answer for answer and
counter for counter. Amounts are integers; a kind's three are those of a hold: full, assumed, least.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

PARTS = {
    "account": ("account_id",),
    "key": ("key_id",),
    "customer": ("customer",),
    "workspace": ("customer", "workspace"),
    "feature": ("feature",),
    "customer_feature": ("customer", "feature"),
    "plan": ("plan",),
    "trace": ("trace_id",),
    "route": ("route",),
}
RATES = ("requests_per_minute", "tokens_per_minute")
MINUTE_US = 60_000_000
Names = Mapping[str, str | None]
RowName = tuple[str, ...]
Amounts = Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Terms:
    """One limit, its value apart. `things`: what it is on, part by part; * is each."""

    id: str
    scope: str
    things: tuple[str, ...]
    kind: str
    enforcement: str

    def row(self, names: Names) -> RowName | None:
        found = [names[part] for part in PARTS[self.scope]]
        if any(
            want not in ("*", thing) or thing is None for want, thing in zip(self.things, found, strict=True)
        ):
            return None
        return (self.id, *map(str, found)) if "*" in self.things else (self.id,)


@dataclass
class Row:
    spent: int = 0
    reserved: int = 0
    doubted: int = 0


@dataclass
class Running:
    held: dict[str, int]
    rows: list[tuple[Terms, RowName]]
    checkpoint: int = 0


@dataclass
class Answer:
    """How an opening ends. `limits`: those that may be named as the reason; `over`: those that only tell."""

    word: str
    held: dict[str, int] = field(default_factory=dict)
    limits: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)
    remaining: int | None = None


@dataclass
class Model:
    """The ledger of one account and one key."""

    limits: list[Terms] = field(default_factory=list)
    values: dict[str, int] = field(default_factory=dict)
    rows: dict[RowName, Row] = field(default_factory=lambda: defaultdict(Row))
    arrivals: dict[RowName, Fraction] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    lost: dict[str, Running] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    outbox: list[tuple[str, int]] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=lambda: {"key": 1, "account": 1, "customer": 1})
    active: bool = True
    whole: bool = True

    def answer(
        self, request_id: str, versions: Mapping[str, int], names: Names, wants: Amounts, now_us: int
    ) -> Answer:
        """What opening now would be answered. Changes nothing."""
        if request_id in self.running or request_id in self.ended:
            return Answer("EXISTS")
        if not self.whole:
            return Answer("COLD")
        if not self.active:
            return Answer("REVOKED")
        if any(versions[what] < version for what, version in self.versions.items()):
            return Answer("STALE")
        rows = self.rows_of(names)
        if any(limit.id not in self.values for limit, _ in rows):
            return Answer("COLD")
        counted = [
            (limit, self.values[limit.id], self.rows[name]) for limit, name in rows if limit.kind not in RATES
        ]
        hard = [each for each in counted if each[0].enforcement == "hard"]
        late = {
            limit.id
            for limit, name in rows
            if limit.kind in RATES and self.wait(limit, name, wants, now_us) > 0
        }
        over = {limit.id for limit, value, row in counted if free(value, row) < wants[limit.kind][2]} | late
        for word, short in (
            (
                "EXHAUSTED",
                {
                    each.id
                    for each, value, row in hard
                    if value - row.spent - row.doubted < wants[each.kind][2]
                },
            ),
            ("BUSY", {each.id for each, value, row in hard if free(value, row) < wants[each.kind][2]}),
            ("RATE", {limit.id for limit, _ in rows if limit.id in late and limit.enforcement == "hard"}),
        ):
            if short:
                return Answer(word, limits=short)
        held = {}
        for kind in {"money", *(limit.kind for limit, _ in rows)}:
            held[kind] = grant(
                [free(value, row) for limit, value, row in hard if limit.kind == kind], *wants[kind]
            )
        rest = [free(value, row) - held["money"] for limit, value, row in hard if limit.kind == "money"]
        return Answer("OK", held, over=over, remaining=min(rest, default=None))

    def open(self, request_id: str, names: Names, wants: Amounts, held: dict[str, int], now_us: int) -> None:
        """It was granted."""
        rows = self.rows_of(names)
        self.lost.pop(request_id, None)
        for limit, name in rows:
            if limit.kind not in RATES:
                self.rows[name].reserved += held[limit.kind]
            elif self.wait(limit, name, wants, now_us) <= 0:
                self.arrivals[name] = self.arrival(limit, name, wants, now_us)
        self.running[request_id] = Running(held, rows)

    def rows_of(self, names: Names) -> list[tuple[Terms, RowName]]:
        return [(limit, row) for limit in self.limits if (row := limit.row(names)) is not None]

    def arrival(self, limit: Terms, name: RowName, wants: Amounts, now_us: int) -> Fraction:
        cost = self.cost_us(limit, wants[limit.kind][0])
        return max(self.arrivals.get(name, Fraction(0)), Fraction(now_us)) + min(cost, Fraction(MINUTE_US))

    def wait(self, limit: Terms, name: RowName, wants: Amounts, now_us: int) -> Fraction:
        return self.arrival(limit, name, wants, now_us) - now_us - MINUTE_US

    def cost_us(self, limit: Terms, amount: int) -> Fraction:
        return Fraction(amount * MINUTE_US, self.values[limit.id])

    def extend(self, request_id: str, extra: Mapping[str, int]) -> bool:
        request = self.running.get(request_id)
        if request is None or not self.whole:
            return False
        rows = [
            (limit, name) for limit, name in request.rows if limit.kind not in RATES and extra.get(limit.kind)
        ]
        for limit, name in rows:
            value = self.values.get(limit.id)
            if limit.enforcement == "hard" and (
                value is None or free(value, self.rows[name]) < extra[limit.kind]
            ):
                return False
        for limit, name in rows:
            self.rows[name].reserved += extra[limit.kind]
        for kind in request.held:
            request.held[kind] += extra.get(kind, 0)
        return True

    def heartbeat(self, request_id: str, cost: int) -> str:
        request = self.running.get(request_id)
        if request is None:
            return "lost" if request_id in self.ended else "missing"
        request.checkpoint = max(request.checkpoint, cost)
        return "renewed"

    def close(self, request_id: str, came: Mapping[str, tuple[int, int]]) -> str:
        """`came`: spent and doubted of each kind."""
        if request_id in self.ended:
            return "closed"
        known = request_id in self.running
        request = self.running.pop(request_id) if known else self.lost.pop(request_id)
        for limit, name in request.rows:
            spent, doubted = came[limit.kind]
            if limit.kind not in RATES:
                row = self.rows[name]
                row.reserved -= request.held[limit.kind] if known else 0
                row.spent += spent
                row.doubted += doubted
            elif not known and not self.whole:
                continue  # the money of a lost request is seeded; a rate is not made again
            elif limit.kind == "tokens_per_minute" and name in self.arrivals and limit.id in self.values:
                charged = self.cost_us(limit, request.held[limit.kind]) if known else Fraction(0)
                moved = self.cost_us(limit, spent) - min(charged, Fraction(MINUTE_US))
                self.arrivals[name] = max(Fraction(0), self.arrivals[name] + moved)
        self.ended.add(request_id)
        self.outbox.append((request_id, came["money"][0]))
        return "ok" if known else "missing"

    def restore(self, request_id: str, held: Mapping[str, int]) -> bool:
        if request_id in self.ended:
            return False
        if request_id in self.lost:
            request = self.running[request_id] = self.lost.pop(request_id)
            request.held, request.checkpoint = dict(held), 0
            for limit, name in request.rows:
                if limit.kind not in RATES:
                    self.rows[name].reserved += held[limit.kind]
        return True

    def forget(self) -> None:
        """The server loses its memory; what has ended is recorded elsewhere and will be seeded."""
        self.lost |= self.running
        self.running, self.arrivals, self.outbox, self.whole = {}, {}, [], False
        for row in self.rows.values():
            row.reserved = 0


def free(value: int, row: Row) -> int:
    return value - row.spent - row.reserved - row.doubted


def grant(frees: list[int], full: int, assumed: int, least: int) -> int:
    """How much to hold where the least fits."""
    room = min(frees, default=None)
    if room is None or full == least or room >= 20 * full:
        return full
    return assumed if room >= assumed else room
