"""Everything that one seed decides before a run begins: limits, keys, visits, faults, tempers."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from accounts.key import KeyLimit
from tests.simulation.provider import Temper
from tests.simulation.worker import Visit

DAY_MS = 86_400_000
EPOCH_MS = 1_795_046_400_000
"""2026-11-19 00:00 UTC: the virtual clock begins within the two days around it."""
CUSTOMERS = (None, "acme", "bolt")
FEATURES = (None, "summaries")
SCALES = (1, 1, 1_000_003, 10**11 + 7)
KINDS = ("money", "money", "money", "money", "requests", "concurrency")


@dataclass(slots=True)
class Fault:
    """Something that happens at a moment (virtual seconds after the start)."""

    at_s: float
    name: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """One run. `quiet_s`: when faults and visits end; what is wrong by then has to heal. `leads_ms`: by how
    much each worker's clock is ahead of the server's. `awakens`: a frozen worker goes on just when a reaper
    has read one of its records.
    """

    seed: int
    workers: int
    journals: bool
    start_ms: int
    limits: list[KeyLimit]
    keys: list[str]
    policies: dict[str, tuple[str, int]]
    visits: list[tuple[float, int, Visit]]
    faults: list[Fault]
    temper: Temper
    slow_chance: float
    quiet_s: float
    lease_ms: int = 6_000
    heartbeat_ms: int = 2_000
    reap_every_s: float = 3.0
    record_every_s: float = 1.0
    recorders: int = 1
    keepers: int = 1
    crew_slow_chance: float = 0.0
    compares: bool = False
    awakens: bool = False
    leads_ms: tuple[int, ...] = ()

    @property
    def loses_memory(self) -> bool:
        """Writes that were acknowledged are truly lost."""
        return any(fault.name in ("lose", "flush") for fault in self.faults)

    @property
    def all_are_timely(self) -> bool:
        """Nobody dies or is late: what the server forgets, its workers tell it before it is made whole."""
        late = {"kill", "freeze", "cut", "stall", "stop", "fill", "kill crew", "freeze crew"}
        return self.journals and not any(fault.name in late for fault in self.faults)

    @property
    def recounts(self) -> bool:
        """Rows are counted from the record, or compared with it, while requests go on."""
        return self.compares or any(fault.name in ("restart", "lose", "flush") for fault in self.faults)

    @property
    def clocks_differ(self) -> bool:
        """Workers and the server do not agree on the time."""
        return any(self.leads_ms) or any(fault.name == "step" for fault in self.faults)


def drawn_plan(seed: int, focus: tuple[str, ...] = ()) -> Plan:
    """The plan of a seed. Each kind of trouble is in some of them, so that most runs are calm in most ways.

    `focus`: kinds of faults that are surely in it, and often; others are not.
    """
    chance = Random(seed)
    scale = chance.choice(SCALES)
    workers = chance.randint(1, 3)
    keys = [f"key_{number}" for number in range(1, chance.randint(1, 2) + 1)]
    quiet_s = chance.choice((12.0, 20.0, 30.0))
    start_ms = EPOCH_MS + chance.randrange(DAY_MS)
    if chance.random() < 0.4:
        start_ms = EPOCH_MS + DAY_MS - round(1000 * chance.uniform(1, quiet_s))  # midnight falls into it
    return Plan(
        seed=seed,
        workers=workers,
        journals=chance.random() < 0.85,
        start_ms=start_ms,
        limits=[_limit(chance, number, keys, scale, start_ms) for number in range(chance.randint(1, 5))],
        keys=keys,
        policies={key: _policy(chance, scale) for key in keys},
        visits=_visits(chance, keys, workers, scale, quiet_s),
        faults=_faults(chance, workers, quiet_s, focus),
        temper=_temper(chance),
        slow_chance=chance.choice((0.0, 0.02, 0.2)),
        quiet_s=quiet_s,
        recorders=chance.choice((1, 1, 2)),
        keepers=chance.choice((1, 1, 2)),
        crew_slow_chance=chance.choice((0.0, 0.02, 0.6)),
        compares=chance.random() < 0.2,
        awakens=chance.random() < 0.5 or "freeze" in focus,
        leads_ms=tuple(chance.choice((0, 0, 3, -3, 700, -2_500)) for _ in range(workers)),
    )


def _policy(chance: Random, scale: int) -> tuple[str, int]:
    return chance.choice((("closed", 0), ("closed", 0), ("open", 0), ("allowance", 900 * scale)))


def _limit(chance: Random, number: int, keys: list[str], scale: int, start_ms: int) -> KeyLimit:
    kind = chance.choice(KINDS)
    scope, scope_id = chance.choice(
        [("account", "default"), ("customer", "acme"), ("customer", "*"), ("feature", "*"), ("key", "*")]
        + [("key", key) for key in keys]
    )
    value = {
        "money": chance.randint(300, 6_000) * scale,
        "requests": chance.randint(3, 30),
        "concurrency": chance.randint(1, 6),
    }[kind]
    thresholds = (50, 90, 100) if kind != "concurrency" and chance.random() < 0.3 else ()
    return KeyLimit(
        id=f"lim_{number}",
        scope=scope,
        scope_id=scope_id,
        window="now" if kind == "concurrency" else chance.choice(("day", "month", "lifetime", "day")),
        kind=kind,
        enforcement=chance.choice(("hard", "hard", "hard", "soft", "shadow")),
        value=value,
        thresholds=thresholds,
        created_ms=start_ms - 10 * DAY_MS,
    )


def _visits(
    chance: Random, keys: list[str], workers: int, scale: int, quiet_s: float
) -> list[tuple[float, int, Visit]]:
    visits = []
    leaves = chance.choice((0.0, 0.1, 0.3))
    elastic = chance.random() < 0.5
    for number in range(chance.randint(8, 40)):
        full = chance.randint(20, 600) * scale
        least, assumed = (full // 4, full // 2) if elastic and chance.random() < 0.5 else (full, full)
        visit = Visit(
            request_id=f"r{number}",
            secret=chance.choice(keys),
            customer=chance.choice(CUSTOMERS),
            feature=chance.choice(FEATURES),
            hold=(full, assumed, least),
            leaves_s=chance.uniform(0.0, 4.0) if chance.random() < leaves else None,
            retries=chance.random() < 0.5,
        )
        visits.append((chance.uniform(1.5, quiet_s), chance.randrange(workers), visit))
    return sorted(visits, key=lambda each: each[0])


def _temper(chance: Random) -> Temper:
    return Temper(
        refuses=chance.choice((0.0, 0.05)),
        loses=chance.choice((0.0, 0.05, 0.2)),
        cuts=chance.choice((0.0, 0.05, 0.2)),
        forgets_usage=chance.choice((0.0, 0.1)),
        never_notices=chance.choice((0.0, 0.3)),
        slow=chance.choice((0.1, 0.5)),
    )


def _faults(chance: Random, workers: int, quiet_s: float, focus: tuple[str, ...]) -> list[Fault]:
    """Each kind is present or absent as a whole; a run with all of them at once would hide what each does."""
    found: list[Fault] = []

    def draw(name: str, present: float, most: int, **values: Any) -> None:
        if name in focus if focus else chance.random() < present:
            for _ in range(chance.randint(1, 4 * most if focus else most)):
                given = {key: value() if callable(value) else value for key, value in values.items()}
                found.append(Fault(chance.uniform(1.5, quiet_s), name, given))

    slot = lambda: chance.randrange(workers)  # noqa: E731
    draw("kill", 0.4, 4, slot=slot)
    draw(
        "freeze",
        0.3,
        2,
        slot=slot,
        seconds=lambda: chance.choice((0.5, 3.0, 7.5, 8.5, 9.5, 14.0)) + chance.random(),
    )
    draw("cut", 0.4, 6, slot=slot)
    draw("stall", 0.2, 2, slot=slot)
    draw("restart", 0.25, 2, seconds=lambda: chance.uniform(0.05, 4.0))
    draw("stop", 0.2, 2, seconds=lambda: chance.uniform(0.1, 5.0))
    draw("lose", 0.1, 1, seconds=lambda: chance.uniform(0.05, 1.0), back_s=lambda: chance.uniform(0.01, 3.0))
    draw("flush", 0.08, 1)
    draw("forget scripts", 0.2, 2)
    draw("step", 0.15, 2, seconds=lambda: chance.choice((-120, -5, 5, 60, 3600)) * chance.random())
    draw("fill", 0.15, 1, seconds=lambda: chance.uniform(0.5, 5.0))
    draw("value", 0.3, 4, place=lambda: chance.randrange(100), factor=lambda: chance.choice((0, 1, 3, 6, 15)))
    draw("revoke", 0.15, 1, place=lambda: chance.randrange(100), seconds=lambda: chance.uniform(0.5, 5.0))
    draw("new limit", 0.15, 1)
    draw("kill crew", 0.3, 3)
    draw("freeze crew", 0.2, 2, seconds=lambda: chance.choice((0.3, 2.0, 5.0, 10.0)))
    return sorted(found, key=lambda fault: fault.at_s)
