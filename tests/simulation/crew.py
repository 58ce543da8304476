"""The blocking processes beside the workers: recorder with its reaper, the keeper of wholeness, the operator.

Each is the product's code over a simulated connection. The event store is a list until somebody has to sum
it; then it is the product's own, in a database file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError

from budgets.healer import Healer
from budgets.names import names_of
from budgets.reaper import Reaper
from budgets.reconcile import Reconciler
from budgets.rows import LedgerRows
from budgets.running import run_script
from gateway.healing.replay import replay_abandoned
from gateway.recorder.entry import Entry
from gateway.recorder.filing import Filing
from metering.adjustment import Adjustment
from metering.event import CostEvent
from metering.eventstore import Appended, EventStore
from metering.notice import Notice
from tests.simulation.client import blocking_client
from tests.simulation.control import ACCOUNT
from tests.simulation.threads import BlockingProcess

if TYPE_CHECKING:
    from tests.simulation.world import World

NAMES = names_of(ACCOUNT)
KEEP_EVERY_S = 0.3
COMPARE_EVERY_S = 5.0


class Store:
    """The event store. `real` gives the product's, from the first time on that it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.events: dict[str, CostEvent] = {}
        self.repeated = 0
        self._documents: list[tuple[CostEvent, bytes]] = []
        self._path = folder / "events.db"
        self._real: EventStore | None = None

    def append(self, batch: Sequence[CostEvent], documents: Sequence[bytes]) -> Appended:
        """As EventStore.append, but for telling differences."""
        added = 0
        for event, document in zip(batch, documents, strict=True):
            if event.id not in self.events:
                self.events[event.id] = event
                self._documents.append((event, document))
                added += 1
        self.repeated += len(batch) - added
        if self._real is not None:
            self._real.append(batch, documents)
        return Appended(added, len(batch) - added, ())

    def append_adjustments(self, batch: Sequence[Adjustment], documents: Sequence[bytes]) -> int:
        """None are made in the simulation."""
        raise AssertionError(f"an adjustment that nobody made: {batch}, {documents}")

    def append_notices(self, batch: Sequence[Notice]) -> int:
        """Nobody looks at them."""
        return len(batch)

    def real(self) -> EventStore:
        """The same events in a database."""
        if self._real is None:
            shutil.copy(_template(), self._path)
            self._real = EventStore(self._path)
            if self._documents:
                events, documents = zip(*self._documents, strict=True)
                self._real.append(events, documents)
        return self._real

    def close(self) -> None:
        """Close the database, if there is one."""
        if self._real is not None:
            self._real.close()


@cache
def _template() -> Path:
    """An empty database, made once for all runs of this process."""
    path = Path(mkdtemp(prefix="simulation-")) / "empty.db"
    EventStore(path).close()
    return path


def recorder(world: World) -> Callable[[BlockingProcess], None]:
    """Moves events from the outbox to the store, and reaps."""

    def body(process: BlockingProcess) -> None:
        redis = blocking_client(world.network, process)
        filing, reaper = Filing(world.store), Reaper(redis, heartbeat_ms=world.plan.heartbeat_ms)
        reap_at = world.loop.time() + world.plan.reap_every_s
        while True:
            try:
                entries: Any = redis.xrange(NAMES.outbox)
                if entries:
                    filed = filing.file([Entry(NAMES.outbox.encode(), *entry) for entry in entries], _bury)
                    world.say(process.name, f"stores {filed.events}, knew {filed.repeated}")
                    # Killed here, it leaves entries that are stored and not settled.
                    redis.xdel(NAMES.outbox, *(entry.id for entry in filed.stored))
                if world.loop.time() >= reap_at:
                    reap_at = world.loop.time() + world.plan.reap_every_s
                    for request_id in reaper.pass_once(round(world.loop.time() * 1000)):
                        world.say(process.name, f"reaped {request_id}")
            except RedisError:
                pass
            process.sleep(world.plan.record_every_s)

    return body


def _bury(entry: Entry, reason: str) -> None:
    raise AssertionError(f"an entry that cannot be stored: {reason}: {entry}")


def keeper(world: World) -> Callable[[BlockingProcess], None]:
    """Tells the ledger what abandoned journals keep, and keeps it whole and true."""

    def body(process: BlockingProcess) -> None:
        redis = blocking_client(world.network, process)
        rows, store = LedgerRows(redis), cast(EventStore, _Unopened(world.store))
        # Its comparisons are not due by themselves, so that seeds are with and without them, and are not cut
        # into steps by the real time that they take.
        reconciler = Reconciler(redis, store, every_s=1e9, budget_s=1e9)
        healer = Healer(
            redis, store, world.control, partial(_publish, world, process, rows), reconciler=reconciler
        )
        compare_at = world.loop.time() + COMPARE_EVERY_S
        while True:
            process.sleep(KEEP_EVERY_S)
            try:
                replayed = replay_abandoned(world.folder, partial(run_script, redis), world.wall_ms(0))
                if replayed:
                    world.say(process.name, f"replayed {replayed} from abandoned journals")
                reseeds = healer.counters.reseeds
                healer.pass_once(round(world.loop.time() * 1000))
                if healer.counters.reseeds > reseeds:
                    world.say(
                        process.name, f"made the shard whole, {healer.counters.rows_seeded} rows so far"
                    )
                if world.plan.compares and not healer.counters.cold and world.loop.time() >= compare_at:
                    compare_at = world.loop.time() + COMPARE_EVERY_S
                    reconciler.compare_now(NAMES.shard, [world.control.index(ACCOUNT)])
                    world.say(process.name, f"compared: {reconciler.counters}")
            except RedisError as error:
                world.say(process.name, f"is kept from its work: {type(error).__name__}")

    return body


def _publish(world: World, process: BlockingProcess, rows: LedgerRows) -> None:
    with world.control.writing(process):
        world.control.publish(rows)


class _Unopened:
    """The event store's own database, opened when somebody asks it something."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store.real(), name)


def operator(world: World) -> Callable[[BlockingProcess], None]:
    """Carries out what is asked of the command line, each until it has succeeded."""

    def body(process: BlockingProcess) -> None:
        rows = LedgerRows(blocking_client(world.network, process))
        while True:
            if not world.orders:
                process.wait(None)
                continue
            try:
                with world.control.writing(process):
                    world.orders[0](rows)
            except RedisError:
                process.sleep(0.3)
                continue
            world.orders.pop(0)

    return body
