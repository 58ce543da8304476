"""World: one run of the simulation, from a plan to the last check."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import structlog

from accounts.key import KeyLimit
from budgets.limit import AMOUNT_MAX
from budgets.names import names_of
from budgets.rows import LedgerRows
from budgets.scripts import Script
from tests.simulation import crew
from tests.simulation.control import ACCOUNT, Control
from tests.simulation.keyspace import Hash, SortedSet, Stream
from tests.simulation.loop import START_S, SimulatedLoop, Stuck
from tests.simulation.network import Network
from tests.simulation.plan import Fault, Plan, drawn_plan
from tests.simulation.provider import Provider
from tests.simulation.redis import Saved, SimulatedRedis
from tests.simulation.threads import BlockingProcess
from tests.simulation.truth import Broken, Truth
from tests.simulation.worker import Worker

NAMES = names_of(ACCOUNT)
REST_S = 500.0
"""So long after the last fault everything must have come to rest, by virtual time."""
RESTART_S = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. `broken`: the invariant that failed, None when all held. `trace`: its digest."""

    seed: int
    broken: str | None
    trace: str
    lines: tuple[str, ...]
    grants: int
    events: int
    virtual_s: float


class World:
    """Everything of one run. `altered`: scripts that stand in the places of others."""

    def __init__(self, plan: Plan, *, altered: dict[str, str] | None = None, keep: bool = False) -> None:
        self.plan = plan
        self.chance = Random(plan.seed ^ 0x5EED)
        self.context = contextvars.Context()
        self.loop = SimulatedLoop()
        self.over = False
        self.folder = Path(mkdtemp(prefix="simulation-", dir=_memory()))
        self._lines: list[str] = []
        self._keep = keep
        self._digest = sha256()
        self._step_us = 0
        self._runs = 0
        self.redis = SimulatedRedis(self._redis_us, run_id=self._run_id())
        self.network = Network(self.loop, Random(plan.seed ^ 0xCAB1E), self.redis)
        self.network.slow_chance = plan.slow_chance
        self.network.crew_slow_chance = plan.crew_slow_chance
        self.provider = Provider(self.loop, Random(plan.seed ^ 0xB111), plan.temper)
        self.truth = Truth(self)
        self.redis.watch = self.truth.watch
        self.redis.looked = self._looked
        self.control = Control.of(plan)
        self.store = crew.Store(self.folder)
        self.orders: list[Callable[[LedgerRows], None]] = []
        self.workers = [Worker(self, slot) for slot in range(plan.workers)]
        self._processes: list[BlockingProcess] = []
        self._saved: Saved | None = None
        for script, source in (altered or {}).items():
            self.redis.altered[script.encode()] = source.encode()
        self.loop.on_fault = self._on_fault
        self._broken: Broken | None = None

    def say(self, actor: str, text: str) -> None:
        """A line of the story; its digest is what two runs of one seed must share."""
        if self._broken is not None:
            return
        line = f"{self.loop.time() - START_S:11.6f}  {actor:<10} {text}"
        self._digest.update(line.encode() + b"\n")
        if self._keep:
            self._lines.append(line)

    def wall_ms(self, slot: int) -> int:
        """A worker's clock."""
        return self.plan.start_ms + self.plan.leads_ms[slot] + self.loop.now_us // 1_000

    def is_alive(self, owner: str) -> bool:
        """Whether this worker process still runs."""
        return any(worker.name == owner and worker.process.alive for worker in self.workers)

    def least_of(self, request_id: str) -> int:
        """The least money with which this visit is content."""
        return next(visit.hold[2] for _, _, visit in self.plan.visits if visit.request_id == request_id)

    @property
    def whole(self) -> bool:
        """The server knows all that was spent."""
        meta = self.redis.space.values.get(NAMES.meta.encode())
        return (
            isinstance(meta, Hash)
            and b"complete_since" in meta
            and meta.get(b"run_id") == self.redis.run_id.encode()
        )

    def run(self) -> Outcome:
        """Live through the plan, come to rest, check."""
        random.seed(self.plan.seed)  # redis-py and the connection's backoff draw from the one global source
        collecting = gc.isenabled()
        gc.disable()
        broken: str | None = None
        try:
            self.loop.run_until_complete(self._live())
        except (Broken, Stuck) as error:
            self.say("broken", str(error))
            broken = str(error)
        finally:
            virtual_s = self.loop.time() - START_S
            self._end()
            if collecting:
                gc.enable()
        if broken is None:
            self.say("end", "all held")
        return Outcome(
            self.plan.seed,
            broken,
            self._digest.hexdigest(),
            tuple(self._lines),
            self.truth.grants,
            len(self.store.events),
            virtual_s,
        )

    # The run.

    async def _live(self) -> None:
        self._begin()
        await self._until(self.plan.quiet_s)
        self.say("world", "faults end")
        self._mend()
        await self._rest()
        self.truth.store = self.store.events
        self.truth.check_quiet()

    def _begin(self) -> None:
        self.orders.append(self._make_whole)
        self._operator = self._start("operator", crew.operator(self))
        for number in range(self.plan.keepers):
            self._start(f"keeper{number}", crew.keeper(self), after_s=1.0 + 0.1 * number)
        for number in range(self.plan.recorders):
            self._start(f"recorder{number}", crew.recorder(self), after_s=0.3 * number)
        for worker in self.workers:
            worker.start()
        for at_s, slot, visit in self.plan.visits:
            self._at(at_s, self.workers[slot].visit, visit)
        for fault in self.plan.faults:
            if fault.name == "lose":
                self._at(max(1.0, fault.at_s - fault.values["back_s"]), self._save)
            self._at(fault.at_s, self._strike, fault)

    def _make_whole(self, rows: LedgerRows) -> None:
        """A new installation: nothing has been spent."""
        self.control.publish(rows)
        since = b"%d" % (self._redis_us() // 1_000)
        meta = self.redis.space.made(NAMES.meta.encode(), Hash)
        meta.update({b"complete_since": since, b"run_id": self.redis.run_id.encode()})

    async def _until(self, at_s: float) -> None:
        while (left_s := START_S + at_s - self.loop.time()) > 0:
            await asyncio.sleep(min(left_s, 1.0))
            self._check_processes()

    async def _rest(self) -> None:
        """Wait until nothing runs, nothing is held and nothing waits to be stored."""
        deadline_s = self.loop.time() + REST_S
        calm = 0
        while calm < 3:
            if self.loop.time() > deadline_s:
                raise Broken(f"does not come to rest: {self._unrest()}")
            await asyncio.sleep(1.0)
            self._check_processes()
            calm = 0 if self._unrest() else calm + 1

    def _unrest(self) -> list[str]:
        found = []
        for worker in self.workers:
            if worker.process.frozen:
                found.append(f"{worker.name} is frozen")
            elif worker.parts is None:
                found.append(f"{worker.name} is not ready")
            elif worker.parts.running:
                found.append(f"{worker.name} runs {list(worker.parts.running)}")
            elif worker.journal is not None and worker.journal.waiting:
                found.append(f"{worker.name} has {worker.journal.waiting} in its journal")
        values = self.redis.space.values
        leases, outbox = values.get(NAMES.leases.encode()), values.get(NAMES.outbox.encode())
        if isinstance(leases, SortedSet) and leases:
            found.append(f"leases of {sorted(leases)}")
        if isinstance(outbox, Stream) and outbox.ids:
            found.append(f"{len(outbox.ids)} in the outbox")
        if not self.whole:
            found.append("the shard is not whole")
        if self.orders:
            found.append("the operator is not done")
        return found

    def _check_processes(self) -> None:
        for process in self._processes:
            if process.fault is not None:
                raise process.fault
        if self._broken is not None:
            raise self._broken

    def _on_fault(self, text: str, error: BaseException | None) -> None:
        """Nobody took this exception: an invariant that a watcher saw broken, or a fault of the code."""
        if self._broken is None:
            broken = error if isinstance(error, Broken) else Broken(f"{text}: {error!r}")
            self.say("broken", str(broken))
            self._broken = broken

    def _end(self) -> None:
        self.over = True
        for process in self._processes:
            process.kill()
        for worker in self.workers:
            if worker.journal is not None:
                worker.journal.close()
        self.loop.seal()
        self.store.close()
        shutil.rmtree(self.folder)

    # What happens to it.

    def _strike(self, fault: Fault) -> None:
        values = fault.values
        told = ", ".join(f"{name} {value}" for name, value in values.items())
        self.say("fault", f"{fault.name} {told}".rstrip())
        getattr(self, f"_{fault.name.replace(' ', '_')}")(**values)

    def _kill(self, slot: int) -> None:
        self.workers[slot].kill("is killed")

    def _freeze(self, slot: int, seconds: float) -> None:
        process = self.workers[slot].process
        process.freeze()
        self._at_in(seconds, process.thaw)

    def _cut(self, slot: int) -> None:
        for link in self.network.links_of(self.workers[slot].process):
            self.network.cut_some(link)

    def _looked(self, args: list[bytes]) -> None:
        """A reaper has read the record of a frozen worker: the worst moment for that one to wake up."""
        if not self.plan.awakens or b"payload" not in args:
            return
        record = self.redis.space.values.get(args[1])
        if not isinstance(record, Hash):
            return
        for worker in self.workers:
            if worker.name.encode() == record[b"owner"] and worker.process.frozen and worker.process.alive:
                self.say(worker.name, "wakes up while it is being reaped")
                self._at_in(0.0, worker.process.thaw)

    def _stall(self, slot: int) -> None:
        for link in self.network.links_of(self.workers[slot].process):
            link.stalled = True

    def _restart(self, seconds: float) -> None:
        self._go_down()
        self._at_in(seconds, self._come_up, None)

    def _lose(self, seconds: float, back_s: float) -> None:
        saved, self._saved = self._saved, None
        self._go_down()
        self._at_in(seconds, self._come_up, saved)

    def _save(self) -> None:
        self._saved = self.redis.save()

    def _stop(self, seconds: float) -> None:
        self.network.stop()
        self._at_in(seconds, self.network.go_on)

    def _flush(self) -> None:
        self.redis.space.values.clear()
        self.redis.space.expiries.clear()
        self.truth.lost_memory()

    def _forget_scripts(self) -> None:
        self.redis.scripts.clear()

    def _step(self, seconds: float) -> None:
        self._step_us += round(seconds * 1e6)

    def _fill(self, seconds: float) -> None:
        self.redis.full = True
        self._at_in(seconds, self._empty)

    def _empty(self) -> None:
        self.redis.full = False

    def _value(self, place: int, factor: int) -> None:
        limits = list(self.control.limits.values())
        limit = limits[place % len(limits)]
        value = min(limit.value * factor // 4, AMOUNT_MAX)
        self._order(lambda rows: self.control.change_value(rows, limit.id, value))

    def _revoke(self, place: int, seconds: float) -> None:
        key_id = self.plan.keys[place % len(self.plan.keys)]
        self._order(lambda rows: self.control.change_status(rows, key_id, "revoked"))
        self._at_in(seconds, self._order, lambda rows: self.control.change_status(rows, key_id, "active"))

    def _new_limit(self) -> None:
        limit = KeyLimit(
            id=f"lim_n{len(self.control.limits)}",
            scope="account",
            scope_id=ACCOUNT,
            window="day",
            kind="money",
            enforcement="hard",
            value=self.chance.randint(500, 5_000) * max(1, self.plan.visits[0][2].hold[0] // 300),
        )
        self._order(lambda rows: self.control.add_limit(rows, limit))

    def _kill_crew(self) -> None:
        process = self._one_of_crew()
        self.say(process.name, "is killed")
        process.kill()
        for link in self.network.links_of(process):
            link.abandon()
        body = crew.recorder if process.name.startswith("recorder") else crew.keeper
        self._start(process.name, body(self), after_s=RESTART_S)

    def _freeze_crew(self, seconds: float) -> None:
        process = self._one_of_crew()
        self.say(process.name, "is frozen")
        process.freeze()
        self._at_in(seconds, process.thaw)

    def _one_of_crew(self) -> BlockingProcess:
        return self.chance.choice([each for each in self._processes[1:] if each.alive])

    def _order(self, order: Callable[[LedgerRows], None]) -> None:
        """Ask the operator for something; it may be busy with an earlier order."""
        self.orders.append(order)
        if len(self.orders) == 1:
            self._operator.wake()

    def _go_down(self) -> None:
        if self.network.up:
            self.network.go_down()

    def _come_up(self, saved: Saved | None) -> None:
        if self.network.up:
            return
        self.redis.restart(self._run_id(), saved)
        self.network.up = True
        self.say("redis", "is back" + (" without its last writes" if saved else ""))
        if saved is not None:
            self.truth.lost_memory()

    def _mend(self) -> None:
        """The end of all faults, but for frozen processes, which go on when their time has come."""
        self.redis.full = False
        if self.network.stopped:
            self.network.go_on()
        for link in list(self.network.links):
            if link.stalled:
                self.network.cut_some(link)

    # Means.

    def _start(
        self, name: str, body: Callable[[BlockingProcess], None], *, after_s: float = 0.0
    ) -> BlockingProcess:
        process = BlockingProcess(self.loop, name, body)
        self._processes.append(process)
        process.start(after_s)
        return process

    def _at(self, at_s: float, callback: Callable[..., object], *args: object) -> None:
        self.loop.call_at(START_S + at_s, callback, *args, context=self.context)

    def _at_in(self, seconds: float, callback: Callable[..., object], *args: object) -> None:
        self.loop.call_later(seconds, callback, *args, context=self.context)

    def _redis_us(self) -> int:
        return self.plan.start_ms * 1_000 + self.loop.now_us + self._step_us

    def _run_id(self) -> str:
        self._runs += 1
        return f"f{self.plan.seed:031x}{self._runs:08x}"  # redis-py would read digits alone as a number


def run_seed(
    seed: int, *, altered: dict[Script, str] | None = None, focus: tuple[str, ...] = (), keep: bool = False
) -> Outcome:
    """Run one seed. `altered`: sources that stand in the places of scripts."""
    changed = {script.source: source for script, source in (altered or {}).items()}
    with _silence():
        return World(drawn_plan(seed, focus), altered=changed, keep=keep).run()


@contextmanager
def _silence() -> Iterator[None]:
    """Without the product's own log, which would tell of real times."""
    before = structlog.get_config()
    structlog.configure(processors=[_drop])
    try:
        yield
    finally:
        structlog.configure(**before)


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


def _memory() -> str | None:
    """A folder that is no disk, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
