"""The simulated provider: it bills while it works, and keeps its own bill, whatever the gateway believes.

A request costs its input as soon as it arrives and its output as it is made, up to a total that is at most
the maximum it was told. It goes on until it is done or until a cancellation reaches it; a caller that dies is
noticed late or never. So the truth about money is here, and it is not what any worker or ledger was told.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

from tests.simulation.loop import Process, SimulatedLoop

DELAY_S = (0.005, 0.05)
NOTICED_S = (0.01, 1.0)
"""From a caller's death or cancellation until the provider stops."""


class ProviderRefused(Exception):
    """The provider answered that it will not; nothing was billed."""


class ProviderLost(Exception):
    """The request was sent, and nothing came back: what it costs is not known."""


@dataclass(slots=True)
class Charge:
    """One attempt on the bill. Amounts in nano-USD, moments in virtual seconds."""

    request_id: str
    started_s: float
    input_nano: int
    total_nano: int
    duration_s: float
    stopped_s: float | None = None

    @property
    def over_s(self) -> float:
        """When it stops costing, as far as is known now."""
        end_s = self.started_s + self.duration_s
        return end_s if self.stopped_s is None else min(end_s, max(self.started_s, self.stopped_s))

    def nano(self, now_s: float) -> int:
        """What it has cost by then."""
        if now_s < self.started_s:
            return 0
        # In whole microseconds: no float touches money, here either.
        made_us = round((min(now_s, self.over_s) - self.started_s) * 1e6)
        whole_us = max(1, round(self.duration_s * 1e6))
        return self.input_nano + (self.total_nano - self.input_nano) * min(made_us, whole_us) // whole_us

    def stop(self, at_s: float) -> None:
        """A cancellation takes effect, unless it has ended by then."""
        if self.stopped_s is None or at_s < self.stopped_s:
            self.stopped_s = at_s


@dataclass(slots=True)
class Temper:
    """How likely the provider misbehaves."""

    refuses: float = 0.0
    loses: float = 0.0
    cuts: float = 0.0
    forgets_usage: float = 0.0
    never_notices: float = 0.0
    slow: float = 0.2


class Answer:
    """An answer that is being made, as its caller sees it. `ending`: usage, silent, cut, or closed by us."""

    def __init__(self, provider: Provider, charge: Charge, process: Process) -> None:
        self._provider = provider
        self._charge = charge
        self._over: asyncio.Future[str] = provider.loop.create_future()
        self._process = process
        self._seen_until_s: float | None = None

    @property
    def total_nano(self) -> int:
        """What the provider reports at the end."""
        return self._charge.nano(self._charge.over_s)

    def seen_nano(self) -> int:
        """What can be told from the bytes that have arrived: never more than was billed for them."""
        now_s = self._provider.loop.time() - DELAY_S[1]
        if self._seen_until_s is not None:
            now_s = min(now_s, self._seen_until_s)
        return self._charge.nano(now_s)

    async def ended(self) -> str:
        """Wait for the end."""
        return await self._over

    def close(self) -> None:
        """Give it up: the provider hears of it a little later."""
        if not self._over.done():
            self._provider.cancelled(self._charge)
            self._end("closed")

    def arrives(self, word: str, after_s: float) -> None:
        """The end will reach the caller's process."""
        self._process.call_later(after_s, self._end, word)

    def _end(self, word: str) -> None:
        if not self._over.done():
            self._seen_until_s = self._provider.loop.time() - DELAY_S[1]
            self._over.set_result(word)


@dataclass(slots=True)
class Provider:
    """All charges by request id. `callers`: which process waits for which charge."""

    loop: SimulatedLoop
    chance: Random
    temper: Temper
    bill: dict[str, list[Charge]] = field(default_factory=dict)
    callers: list[tuple[Process, Charge]] = field(default_factory=list)

    async def send(self, process: Process, request_id: str, most_nano: int) -> Answer:
        """Ask for an answer that may cost `most_nano`. Raises ProviderRefused, ProviderLost."""
        chance, temper = self.chance, self.temper
        arrives_s, returns_s = chance.uniform(*DELAY_S), chance.uniform(*DELAY_S)
        if chance.random() < temper.refuses:
            await asyncio.sleep(arrives_s + returns_s)
            raise ProviderRefused("503")
        slow = chance.random() < temper.slow
        total = most_nano if chance.random() < 0.2 else chance.randint(0, most_nano)
        charge = Charge(
            request_id,
            self.loop.time() + arrives_s,
            chance.randint(0, min(total, most_nano // 4)),
            total,
            chance.uniform(3.0, 15.0) if slow else chance.uniform(0.01, 1.0),
        )
        self.bill.setdefault(request_id, []).append(charge)
        self.callers.append((process, charge))
        lost = chance.random() < temper.loses
        await asyncio.sleep(arrives_s + returns_s)
        if lost:
            self.cancelled(charge)
            raise ProviderLost("connection reset")
        answer = Answer(self, charge, process)
        word = "silent" if chance.random() < temper.forgets_usage else "usage"
        after_s = max(0.0, charge.over_s - self.loop.time()) + returns_s
        if chance.random() < temper.cuts:
            word, after_s = "cut", after_s * chance.random()
            self.cancelled(charge)
        answer.arrives(word, after_s)
        return answer

    def cancelled(self, charge: Charge) -> None:
        """The caller gave up; told by its connection, late or never."""
        if self.chance.random() >= self.temper.never_notices:
            charge.stop(self.loop.time() + self.chance.uniform(*NOTICED_S))

    def died(self, process: Process) -> None:
        """A process is gone, with its connections."""
        for caller, charge in self.callers:
            if caller is process and charge.over_s > self.loop.time():
                self.cancelled(charge)

    def nano(self, request_id: str) -> int:
        """What the request has cost by now, over all its attempts."""
        now_s = self.loop.time()
        return sum(charge.nano(now_s) for charge in self.bill.get(request_id, ()))

    def final_nano(self, request_id: str) -> int:
        """What it will have cost when all that is under way is over."""
        return sum(charge.nano(charge.over_s) for charge in self.bill.get(request_id, ()))
