"""A simulated gateway worker: the product's connection, ledger, caches, waiting room, leases, closer and
journal in one process; only HTTP is left out. `Visit` is one client's request to it.
"""

from __future__ import annotations

import asyncio
from dataclasses import MISSING, dataclass, fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from accounts.keycache import KeyCache
from accounts.termscache import TermsCache
from budgets.connection import RedisConnection
from budgets.hold import Hold
from budgets.journal import Journal
from budgets.ledger import Ledger, LedgerUnavailable, Opened, Refused
from budgets.names import names_of
from gateway.closer import Closer
from gateway.entitlements import Entitlements
from gateway.errors import GatewayError
from gateway.forwarding.candidates import Need
from gateway.healing.recent_closes import RecentCloses
from gateway.healing.replay import replay_own
from gateway.leases import Leases, epochs_by
from gateway.metrics import Metrics
from gateway.opening import _ask_ledger
from gateway.parts import Parts
from gateway.request import Request
from gateway.settlement import settle
from gateway.standing import find_standing
from gateway.uncovered import Uncovered
from metering.event import Attempt, CostEvent
from tests.simulation.loop import Process
from tests.simulation.provider import Answer, ProviderLost, ProviderRefused

if TYPE_CHECKING:
    from tests.simulation.world import World

URL = "redis://simulated"
TIMEOUT_MS = 250
CLOSE_PATIENCE_MS = 8_000
RESTART_S = 0.5


@dataclass(frozen=True, slots=True)
class Visit:
    """What a client asks for. `hold`: (full, assumed, least). `leaves_s`: hangs up after so long."""

    request_id: str
    secret: str
    customer: str | None
    feature: str | None
    hold: tuple[int, int, int]
    leaves_s: float | None
    retries: bool


class Worker:
    """One slot: a process, and after its death the next one."""

    def __init__(self, world: World, slot: int) -> None:
        self.world = world
        self.slot = slot
        self.runs = 0
        self.parts: Parts | None = None
        self.process: Process
        self.journal: Journal | None = None

    @property
    def name(self) -> str:
        """The owner of its leases."""
        return f"w{self.slot}.{self.runs}"

    def start(self) -> None:
        """Begin another process in this slot."""
        self.runs += 1
        self.process = Process(self.world.loop, self.name)
        self.process.spawn(self._live())

    def kill(self, why: str) -> None:
        """As SIGKILL, and the supervisor starts another one."""
        if not self.process.alive:
            return
        self.world.say(self.name, why)
        world, process = self.world, self.process
        process.kill()
        for link in world.network.links_of(process):
            link.abandon()
        world.provider.died(process)
        if self.journal is not None:
            self.journal.close()  # as the kernel does with a dead process' files
            self.journal = None
        self.parts = None
        world.loop.call_later(RESTART_S, self._again, context=world.context)

    def _again(self) -> None:
        if not self.process.alive and not self.world.over:
            self.start()

    async def _live(self) -> None:
        try:
            await self._serve()
        except LedgerUnavailable as error:
            self.kill(f"cannot begin: {error}")

    async def _serve(self) -> None:
        world = self.world
        connection = await RedisConnection.connect(URL, timeout_ms=TIMEOUT_MS, patience_s=3.0)
        path = Path(world.folder) / f"slot-{self.slot}.journal"
        self.journal = journal = Journal.take(path) if world.plan.journals else None
        ledger = Ledger(connection, owner=self.name, lease_ms=world.plan.lease_ms)
        metrics = _metrics()
        uncovered = Uncovered(ledger, journal, metrics, shares=world.plan.workers)
        recent = RecentCloses(ledger, metrics, clock=world.loop.time)
        terms = TermsCache(
            lambda account: connection.command("GET", names_of(account).account + account),
            lambda account, customer: connection.command(
                "HGET", f"{names_of(account).customer}{account}:{customer}", "doc"
            ),
        )
        parts = _parts(
            keys=KeyCache(lambda name: connection.command("GET", name), clock=world.loop.time),
            terms=terms,
            entitlements=Entitlements(connection.command, terms),
            ledger=ledger,
            uncovered=uncovered,
            closer=Closer(ledger, journal, uncovered, metrics, recent, patience_s=CLOSE_PATIENCE_MS / 1_000),
            metrics=metrics,
        )
        if journal is not None:
            replayed = await replay_own(journal, ledger, world.wall_ms(self.slot))
            if replayed:
                world.say(self.name, f"replayed {replayed} from its journal")
        leases = Leases(
            parts,
            recent,
            epochs_by(connection),
            heartbeat_s=world.plan.heartbeat_ms / 1_000,
        )
        self.parts = parts
        world.say(self.name, "serves")
        await leases.keep()

    def visit(self, visit: Visit) -> None:
        """A client's request arrives; nobody takes it where the process is dead or not yet ready."""
        if self.parts is None or not self.process.alive:
            self.world.say("client", f"{visit.request_id} finds no worker in slot {self.slot}")
            return
        self.process.spawn(_Call(self.world, self, self.process, self.parts, visit).serve())


class _Call:
    """One request's way, as gateway.call has it."""

    def __init__(self, world: World, worker: Worker, process: Process, parts: Parts, visit: Visit) -> None:
        self.world = world
        self.slot = worker.slot
        self.name = worker.name
        self.process = process
        self.parts = parts
        self.visit = visit

    async def serve(self) -> None:
        visit, world = self.visit, self.world
        event = CostEvent(
            id=visit.request_id, surface="chat.completions", started_ms=world.wall_ms(self.slot)
        )
        try:
            request = await self._open(event)
        except (GatewayError, LedgerUnavailable) as error:
            world.say(self.name, f"{visit.request_id} is refused: {getattr(error, 'code', error)}")
            world.truth.refused(visit.request_id)
            return
        if request is None:
            return
        self.parts.running[request.id] = request
        try:
            await self._carry_out(request)
        finally:
            del self.parts.running[request.id]
            self.parts.room.freed()

    async def _open(self, event: CostEvent) -> Request | None:
        """As gateway.opening: once more with fresh copies, once more after waiting for others' holds."""
        parts, visit, world = self.parts, self.visit, self.world
        reloaded = waited = False
        busy: Refused | None = None
        full, assumed, least = visit.hold
        hold = Hold(full, assumed, least, input_tokens=5, output_tokens=(9, 6, 3), likely_tokens=12)
        while True:
            key = await parts.keys.find(visit.secret)
            if key is None:
                world.truth.refused(visit.request_id)
                return None
            event.key_id, event.customer, event.feature = key.id, visit.customer, visit.feature
            event.cost_nano, event.cost_status = least // 4, "estimated"
            caller = SimpleNamespace(key=key, customer=visit.customer, feature=visit.feature)
            headers = SimpleNamespace(workspace=None, trace_id=None)
            route = SimpleNamespace(alias="model")
            standing = await find_standing(
                parts, cast(Any, caller), cast(Any, headers), cast(Any, route), event.started_ms
            )
            ask = partial(_ask_ledger, parts, event, standing, hold)
            line = None if waited else busy.row if busy else parts.room.line_of(standing.rows.fields)
            waited = waited or line is not None
            answer = await (ask() if line is None else parts.room.wait(line, ask, busy))
            if isinstance(answer, Opened):
                return self._accepted(event, standing, hold, answer)
            if answer.reason == "STALE" and not reloaded:
                reloaded = True
                parts.keys.invalidate(visit.secret)
                parts.terms.invalidate(key.account_id, visit.customer)
                event.started_ms = world.wall_ms(self.slot)  # as gateway.opening
                continue
            if answer.reason == "BUSY" and not waited:
                busy = answer
                continue
            world.say(self.name, f"{visit.request_id} is refused: {answer.reason}")
            world.truth.refused(visit.request_id)
            return None

    def _accepted(self, event: CostEvent, standing: Any, hold: Hold, opened: Opened) -> Request:
        lease = opened.lease
        unit = lease.held_nano if "m" in lease.rows.meters else hold.full
        event.held_nano = lease.held_nano
        if not lease.rows.covers(event.started_ms):
            event.started_ms = opened.at_ms  # as gateway.opening: it counts where it was opened
        self.world.truth.accepted(self.name, lease, unit)
        return Request(
            event=event,
            call=cast(Any, SimpleNamespace(surface="chat.completions", stream=True)),
            candidates=[],
            lease=lease,
            ledger=self.parts.ledger,
            route=cast(Any, None),
            room=Need(unit, 5, 9),
            step=opened.step,
            bounded=standing.rows.enforced,
        )

    async def _carry_out(self, request: Request) -> None:
        """Attempts, the answer, the settlement, the close: exactly one end."""
        leaving = None
        if self.visit.leaves_s is not None:
            leaving = self.process.call_later(self.visit.leaves_s, request.stop, "client_gone")
        winner = await self._attempts(request)
        if leaving is not None:
            leaving.cancel()
        event = request.event
        event.status = "succeeded" if winner is not None and winner.status == "succeeded" else "failed"
        if request.stopped:
            event.status = "cancelled"
        event.outcome = "success" if event.status == "succeeded" else "failure"
        settled = settle(request, winner)
        event.ended_ms = self.world.wall_ms(self.slot)
        self.world.truth.settled(request.id, settled)
        told = await self.parts.closer.close(request, settled)
        self.world.say(
            self.name,
            f"{request.id} ends {event.status}: {settled.spent_nano} spent, {settled.doubted_nano} doubted"
            + ("" if told else ", and had ended before"),
        )

    async def _attempts(self, request: Request) -> Attempt | None:
        kind = "primary"
        while True:
            attempt = Attempt(
                kind=kind, provider="simulated", model="model", started_ms=self.world.wall_ms(self.slot)
            )
            request.trying(attempt)
            try:
                answer = await self.world.provider.send(self.process, request.id, request.room.nano)
            except ProviderRefused:
                attempt.status = "failed"
                return None
            except ProviderLost:
                self._estimate(attempt, "unknown", request.room.nano // 4)
                # Its cost is not known, so it is repeated only where as much can be held once more.
                if not self.visit.retries or request.stopped or not await request.hold_again():
                    return None
                self.world.truth.extended(request.lease)
                kind = "reconnect"
                continue
            await self._read(request, attempt, answer)
            return attempt

    async def _read(self, request: Request, attempt: Attempt, answer: Answer) -> None:
        request.estimate_nano = answer.seen_nano
        request.reading(cast(Any, answer))
        ending = await answer.ended()
        request.reading(None)
        if ending == "usage":
            attempt.status, attempt.cost_nano, attempt.cost_status = "succeeded", answer.total_nano, "priced"
            attempt.usage, attempt.usage_source = {"input_tokens": 5, "output_tokens": 2}, "provider"
        elif ending == "silent":
            self._estimate(attempt, "succeeded", answer.seen_nano())
        else:
            self._estimate(attempt, "cut" if ending == "cut" else "cancelled", answer.seen_nano())

    @staticmethod
    def _estimate(attempt: Attempt, status: str, nano: int) -> None:
        attempt.status, attempt.cost_nano, attempt.cost_status = status, nano, "estimated"
        attempt.usage, attempt.usage_source = {"input_tokens": 5, "output_tokens": 1}, "estimated"


def _parts(**given: Any) -> Parts:
    """A worker's parts; what only HTTP needs is not there."""
    return Parts(**{each.name: None for each in fields(Parts) if each.init and _is_needed(each)} | given)


def _is_needed(part: Any) -> bool:
    return part.default is MISSING and part.default_factory is MISSING


_known: list[Metrics] = []


def _metrics() -> Metrics:
    """One for all simulated workers: Prometheus counts, nobody reads."""
    if not _known:
        _known.append(Metrics([]))
    return _known[0]


__all__ = ["URL", "Visit", "Worker", "asyncio"]
