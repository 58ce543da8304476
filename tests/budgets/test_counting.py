"""Events that are recorded first: on which rows they count, once, and that nobody who compares the ledger
with the record meanwhile counts them a second time or takes them away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from budgets.batch import Batch, batch_of, decode_batch, encode_batch
from budgets.counting import CountedBatch, Told, count_batch
from budgets.limit import PART_SEPARATOR, Attribution
from budgets.movements import Movements, Spilled, entry_of
from budgets.reconcile import Reconciler
from metering.event import CostEvent
from metering.eventstore import EventStore
from metering.eventtable import last_seq
from metering.ids import new_id
from metering.ingested import Uncounted, note_uncounted
from tests.budgets.bookkeeping import Books, event_for
from tests.budgets.conftest import EVERY_ENGINE
from tests.budgets.world import ACCOUNT, KEY, World

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)
REPORTED = Attribution(ACCOUNT, "", "acme", feature="chat")
CALLED = replace(REPORTED, key_id=KEY)
DAY_MS = 86_400_000
STAGES = ("before", "stored", "counted", "spilled", "settled", "gone")
"""An event's way: nobody knows of it; it is in the record; on the rows, with an entry in the outbox; the
entry is in a file; the record knows that it was counted; and the entry is deleted."""


class Reports(Books):
    """Books whose events are reported: `stage` brings one batch from stage to stage."""

    def store_batch(self, *events: CostEvent) -> Batch:
        with self.store.transaction() as connection:
            self.store.add(connection, events)
            batch = batch_of(new_id(), ACCOUNT, last_seq(connection), events)
            note_uncounted(connection, [Uncounted(batch.id, ACCOUNT, encode_batch(batch).decode())])
        return batch

    def count(self, batch: Batch, own: Any = lambda counted: ()) -> CountedBatch:
        now_ms = batch.counted[0].started_ms
        return count_batch(self.world.redis, self.index, batch, own, now_ms)

    def entries(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        found: list[tuple[bytes, dict[bytes, bytes]]] = self.world.redis.xrange(self.world.names.outbox)
        return [(entry_id, fields) for entry_id, fields in found if b"c" in fields]

    def settle(self, *, delete: bool = True) -> None:
        """What a recorder does with entries of batches."""
        for entry_id, fields in self.entries():
            self.store.settle_uncounted([decode_batch(fields[b"c"]).id])
            if delete:
                self.world.redis.xdel(self.world.names.outbox, entry_id)

    def spill(self) -> None:
        documents = [fields[b"c"] for _, fields in self.entries()]
        for entry_id, _ in self.entries():
            self.world.redis.xdel(self.world.names.outbox, entry_id)
        self.spilled = Spilled(batches=lambda: documents)

    def go(self, batch: Batch | None, events: list[CostEvent], stage: str, to: str) -> Batch | None:
        """Bring the events from one stage to a later one."""
        passed = STAGES[STAGES.index(stage) + 1 : STAGES.index(to) + 1]
        for step in passed:
            if step == "stored":
                batch = self.store_batch(*events)
            assert batch is not None
            if step == "counted":
                assert self.count(batch).told is Told.OK
            elif step == "spilled" and to == "spilled":
                self.spill()
            elif step == "settled" and self.entries():
                self.settle(delete=False)
            elif step == "settled":
                self.store.settle_uncounted([batch.id])
            elif step == "gone":
                self.settle()
        return batch


@pytest.fixture
def reports(world: World, tmp_path: Path) -> Iterator[Reports]:
    store = EventStore(tmp_path / "tollkeeper.db")
    yield Reports(world, store)
    store.close()


def reported(spent: int = 100, **fields: Any) -> CostEvent:
    made = event_for(REPORTED, spent, id=new_id(), source="sdk", input_tokens=7, output_tokens=3, **fields)
    return replace(made, key_id=None)


async def test_it_counts_on_all_rows_but_those_of_keys_and_once(reports: Reports) -> None:
    world = reports.world
    mine = {
        world.limit(10_000, scope="account"): 250,
        world.limit(10_000, scope="customer", scope_id="*", window="day"): 250,
        world.limit(
            10_000, scope="customer_feature", scope_id=f"acme{PART_SEPARATOR}*", window="lifetime"
        ): 250,
        world.limit(10_000, scope="feature", scope_id="chat", enforcement="soft"): 250,
        world.limit(10_000, scope="account", kind="tokens"): 20,
        world.limit(10_000, scope="account", kind="input_tokens"): 14,
        world.limit(10_000, scope="account", kind="requests"): 2,
    }
    others = [
        world.limit(10_000),
        world.limit(10_000, scope="key", scope_id="*"),
        world.limit(10_000, scope="customer", scope_id="bolt"),
    ]
    batch = reports.store_batch(reported(100), reported(150))
    assert reports.count(batch) == CountedBatch(Told.OK, frozenset())
    assert reports.count(batch) == CountedBatch(Told.DONE, frozenset())
    found = {limit.id: world.counters(limit, REPORTED) for limit in mine}
    assert found == {limit.id: (spent, 0, 0) for limit, spent in mine.items()}
    assert [world.counters(limit, CALLED) for limit in others] == [(0, 0, 0)] * 3
    assert len(reports.entries()) == 1


async def test_it_is_never_refused_and_told_where_a_hard_limit_is_passed(reports: Reports) -> None:
    world = reports.world
    hard = world.limit(200, scope="customer", scope_id="acme", thresholds=(50, 100))
    soft = world.limit(10, scope="account", enforcement="soft")
    first, second, other = reported(150), reported(100), reported(5, customer="bolt")
    assert reports.count(reports.store_batch(first)).exceeding == frozenset()
    answer = reports.count(reports.store_batch(second, other))
    assert answer.exceeding == {second.id}
    assert world.counters(hard, REPORTED) == (250, 0, 0)
    assert world.counters(soft, REPORTED)[0] == 255
    notices = [fields for _, fields in world.redis.xrange(world.names.notices)]
    assert [(notice[b"percent"], notice[b"spent"]) for notice in notices] == [
        (b"50", b"150"),
        (b"100", b"250"),
    ]


async def test_windows_are_those_of_the_event(reports: Reports) -> None:
    world = reports.world
    day = world.limit(10_000, scope="account", window="day")
    for_ever = world.limit(10_000, scope="account", window="lifetime")
    late = reported(40)
    late.started_ms -= 3 * DAY_MS
    batch = reports.store_batch(late)
    now_ms = late.started_ms + 3 * DAY_MS
    assert count_batch(world.redis, reports.index, batch, lambda counted: (), now_ms).told is Told.OK
    assert world.counters(day, REPORTED) == (0, 0, 0)
    assert world.counters(for_ever, REPORTED) == (40, 0, 0)


@pytest.mark.parametrize("stage", STAGES[1:])
async def test_comparing_finds_nothing_to_correct_at_any_stage(reports: Reports, stage: str) -> None:
    world = reports.world
    limit = world.limit(10_000, scope="customer", scope_id="*")
    await reports.spend(30, of=CALLED)
    reports.go(None, [reported(100), reported(20)], "before", stage)
    reconciler = Reconciler(world.redis, reports.store, spilled=reports.spilled)
    before = world.counters(limit, REPORTED)
    for nightly in (False, True):
        reconciler.compare_now(world.names.shard, [reports.index], nightly=nightly)
    assert world.counters(limit, REPORTED) == before == (30 if stage == "stored" else 150, 0, 0)
    counters = reconciler.counters
    assert (counters.raised, counters.lowered, counters.unsure) == (0, 0, 0)


@pytest.mark.parametrize("first", STAGES)
@pytest.mark.parametrize("then", STAGES)
async def test_what_moves_while_somebody_looks_is_counted_once(
    reports: Reports, first: str, then: str
) -> None:
    """A snapshot of the record at one stage, everything else at a later one: together they say what the rows
    say, or that they do not know."""
    if STAGES.index(then) < STAGES.index(first):
        pytest.skip("nothing goes back")
    world = reports.world
    limit = world.limit(10_000, scope="customer", scope_id="acme")
    events = [reported(100), reported(20)]
    batch = reports.go(None, events, "before", first)
    with reports.store.snapshot() as snapshot:
        sums = snapshot.row_sums(ACCOUNT, ("customer",), {"customer": "acme"}, 0, None)
        recorded = sum(each.spent_nano for each in sums.values())
        spilled = Spilled(batches=lambda: list(reports.spilled.batches()))
        movements = Movements(world.redis, world.names, reports.store, snapshot, spilled)
    movements.read_outbox()
    reports.go(batch, events, first, then)
    movements.read_outbox()
    movements.read_record()
    row = world.counters(limit, REPORTED)[0]
    last = entry_of(movements.last_id)
    sure = sum(
        each.counted.spent_nano
        for each in movements.found.values()
        if each.entry is not None and each.entry <= last
    )
    unsure = sum(each.counted.spent_nano for each in movements.found.values() if each.entry is None)
    assert row in (recorded + sure, recorded + sure + unsure)
    assert row == (0 if then in ("before", "stored") else 120)


@pytest.mark.parametrize("stage", STAGES[1:])
async def test_a_ledger_that_lost_its_memory_has_it_once_in_the_end(reports: Reports, stage: str) -> None:
    world = reports.world
    limit = world.limit(10_000, scope="customer", scope_id="*")
    batch = reports.go(None, [reported(100), reported(20)], "before", stage)
    assert batch is not None
    reports.forget()
    reports.seed()
    if stage in ("stored", "counted", "spilled"):  # it stands as not counted, and is told again
        told = reports.count(batch).told
        assert told is (Told.DONE if stage == "spilled" else Told.OK)
    assert world.counters(limit, REPORTED) == (120, 0, 0)


async def test_a_shard_that_is_not_whole_counts_it_when_it_is_made_so(reports: Reports) -> None:
    world = reports.world
    limit = world.limit(10_000, scope="customer", scope_id="*")
    world.redis.hdel(world.names.meta, "complete_since")
    batch = reports.store_batch(reported(100))
    assert reports.count(batch) == CountedBatch(Told.COLD, None)
    assert reports.count(batch).told is Told.COLD
    assert world.counters(limit, REPORTED) == (0, 0, 0)
    reports.seed()
    assert world.counters(limit, REPORTED) == (100, 0, 0)
    assert reports.count(batch).told is Told.DONE
    reports.settle()
    reconciler = Reconciler(world.redis, reports.store)
    reconciler.compare_now(world.names.shard, [reports.index], nightly=True)
    assert world.counters(limit, REPORTED) == (100, 0, 0)
