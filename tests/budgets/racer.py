"""One of several processes that spend the same budgets at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from budgets.cluster import ClusterConnection
from budgets.connection import RedisConnection
from budgets.hold import Hold, Settled
from budgets.ledger import Closed, Ledger, Opened, Versions
from budgets.limit import Attribution, Limit
from tests.budgets.world import event_bytes


@dataclass(frozen=True)
class Budget:
    """An account that is spent from, and the server or cluster it is on."""

    url: str
    of: Attribution
    limits: tuple[Limit, ...]
    cluster: bool = False


@dataclass(frozen=True)
class Race:
    """How each process asks of each budget.

    together: `asks` openings at once, which end when all are answered. Else by `askers` who ask again and
    again, until they have asked so often together and nothing is left. `cost_nano`: what a call holds and
    comes to; None for any amount, ends in doubt and repeated closes.
    """

    budgets: tuple[Budget, ...]
    asks: int
    askers: int = 64
    together: bool = False
    cost_nano: int | None = None


@dataclass
class Told:
    """What one process was told of one budget."""

    answers: Counter[str] = field(default_factory=Counter)
    spent: int = 0
    doubted: int = 0
    least_remaining: int = 2**53
    repeated_closes: int = 0


def race(race: Race, number: int) -> list[Told]:
    """Run in a process of its own; what it was told of each budget."""
    return asyncio.run(_race(race, number))


async def _race(race: Race, number: int) -> list[Told]:
    runners = [await Runner.at(budget, number, race) for budget in race.budgets]
    await asyncio.gather(*(runner.run() for runner in runners))
    for runner in runners:
        await runner.connection.close()
    return [runner.told for runner in runners]


class Runner:
    """A process' hand on one budget."""

    def __init__(
        self, budget: Budget, connection: RedisConnection | ClusterConnection, number: int, race: Race
    ) -> None:
        self.budget = budget
        self.connection = connection
        self.ledger = Ledger(connection, owner=f"racer-{number}", lease_ms=30_000)
        self.number = number
        self.race = race
        self.chance = random.Random(f"{number} {budget.of.account_id}")
        self.told = Told()
        self.asked = 0
        self.over = False

    @classmethod
    async def at(cls, budget: Budget, number: int, race: Race) -> Runner:
        kind = ClusterConnection if budget.cluster else RedisConnection
        return cls(budget, await kind.connect(budget.url, timeout_ms=20_000), number, race)

    async def run(self) -> None:
        if not self.race.together:
            await asyncio.gather(*(self.ask() for _ in range(self.race.askers)))
            return
        opened = await asyncio.gather(*(self.open() for _ in range(self.race.asks)))
        await asyncio.gather(*(self.close(each) for each in opened if each is not None))

    async def ask(self) -> None:
        while self.asked < self.race.asks or not self.over:
            opened = await self.open()
            if opened is not None:
                await self.close(opened)
            elif not self.over:
                await asyncio.sleep(self.chance.uniform(0.02, 0.1))

    async def open(self) -> Opened | None:
        self.asked += 1
        opened = await self.ledger.open(
            of=self.budget.of,
            request_id=f"{self.number}-{self.asked}",
            versions=Versions(1, 1),
            lists=(self.budget.limits,),
            hold=self.hold(),
            payload=b"{}",
            now_ms=0,  # Redis tells what time it is
        )
        if not isinstance(opened, Opened):
            self.told.answers[opened.reason] += 1
            # While the value is another one than at first, it will change once more.
            self.over |= opened.reason == "EXHAUSTED" and opened.value == self.budget.limits[0].value
            return None
        self.told.answers["OK"] += 1
        assert opened.remaining_nano is not None
        self.told.least_remaining = min(self.told.least_remaining, opened.remaining_nano)
        return opened

    def hold(self) -> Hold:
        full = self.race.cost_nano or self.chance.randrange(120_000, 360_000)
        if self.race.cost_nano is not None or self.chance.random() < 0.5:
            return Hold(full, full, full, input_tokens=300, output_tokens=(100,) * 3)
        return Hold(full, full // 2, full // 8, input_tokens=300, output_tokens=(100, 50, 10))

    async def close(self, opened: Opened) -> None:
        lease, chance = opened.lease, self.chance
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        spent, doubted = lease.held_nano, 0
        if self.race.cost_nano is None:
            spent = chance.choice((0, spent, chance.randrange(spent + 1)))
            doubted = lease.held_nano - spent if chance.random() < 0.1 else 0
        self.told.spent += spent
        self.told.doubted += doubted
        settled = Settled(spent, doubted, input_tokens=200, output_tokens=50)
        event = event_bytes(lease.request_id, spent, doubted, lease.account_id)
        again = self.race.cost_nano is None and chance.random() < 0.1
        ends = [
            await self.ledger.close(lease, settled, status="succeeded", event=event)
            for _ in range(2 if again else 1)
        ]
        assert ends[0] is Closed.OK
        self.told.repeated_closes += ends[1:] == [Closed.CLOSED]
