"""Later knowledge of a cost: on which rows it counts, and once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from budgets.adjusting import Adjusted, adjust
from budgets.limit import Attribution
from budgets.reconcile import Reconciler
from metering.adjustment import Adjustment, correction, decode_adjustment
from metering.event import CostEvent
from metering.eventstore import EventStore
from tests.budgets.bookkeeping import Books, event_for
from tests.budgets.conftest import EVERY_ENGINE
from tests.budgets.world import ACCOUNT, KEY, World

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)
CUSTOMER = Attribution(ACCOUNT, KEY, "acme")
DAY_MS = 86_400_000


@pytest.fixture
def books(world: World, tmp_path: Path) -> Iterator[Books]:
    store = EventStore(tmp_path / "tollkeeper.db")
    yield Books(world, store)
    store.close()


def known(event: CostEvent, cost_nano: int) -> Adjustment:
    made = correction(event, (), cost_nano=cost_nano, source="provider", reason="invoice", at_ms=1)
    assert made is not None
    return made


def tell(books: Books, event: CostEvent, made: Adjustment) -> Adjusted:
    return adjust(books.world.redis, books.world.limits, event, made)


async def test_it_changes_the_rows_of_its_event_and_no_others_once(books: Books) -> None:
    world = books.world
    mine = [
        world.limit(10_000),
        world.limit(10_000, scope="customer", scope_id="*", window="day"),
        world.limit(10_000, scope="account", window="lifetime", enforcement="soft"),
    ]
    others = [
        world.limit(10_000, kind="requests"),
        world.limit(10_000, scope="customer", scope_id="bolt"),
        world.limit(10_000, scope="feature", scope_id="*"),
    ]
    event = await books.spend(100, 400, of=CUSTOMER)
    others.append(world.limit(10_000, window="week", created_ms=event.started_ms + 1))
    made = known(event, 130)
    assert tell(books, event, made) is Adjusted.OK
    assert tell(books, event, made) is Adjusted.DONE
    assert [world.counters(limit, CUSTOMER) for limit in mine] == [(130, 0, 0)] * 3
    assert world.counters(others[0]) == (1, 0, 0)
    assert world.redis.hlen(world.row(others[0]).hash) == 2  # the month's two rows of this request
    entries = [fields for _, fields in world.redis.xrange(world.names.outbox)]
    assert [list(fields) for fields in entries] == [[b"e"], [b"a"]]
    assert decode_adjustment(entries[1][b"a"]) == made
    books.record()
    reconciler = Reconciler(world.redis, books.store)
    reconciler.compare_now(world.names.shard, [books.index], nightly=True)
    assert (reconciler.counters.raised, reconciler.counters.lowered) == (0, 0)


async def test_a_lower_cost_gives_room_back_and_never_more_than_there_was(books: Books) -> None:
    world = books.world
    limit = world.limit(500)
    event = await books.spend(300, 200)
    assert (await world.refused(1)).reason == "EXHAUSTED"
    assert tell(books, event, known(event, 0)) is Adjusted.OK
    assert world.counters(limit) == (0, 0, 0)
    other = event_for(world.of, 300)
    world.set_counters(limit, spent=100)
    assert tell(books, other, known(other, 0)) is Adjusted.OK
    assert world.counters(limit) == (0, 0, 0)


async def test_rows_that_expired_with_their_window_are_not_made_again(books: Books) -> None:
    world = books.world
    limit = world.limit(500, window="day")
    event = event_for(world.of, 10, started_ms=world.now_ms - 50 * DAY_MS)
    assert tell(books, event, known(event, 90)) is Adjusted.OK
    assert world.counters(limit) == (0, 0, 0)
    assert world.redis.keys(f"{world.names.window}*") == []


async def test_a_shard_that_is_not_whole_counts_it_when_it_is(books: Books) -> None:
    world = books.world
    limit = world.limit(5_000)
    event = await books.spend(100, 400)
    made = known(event, 130)
    world.redis.hdel(world.names.meta, "complete_since")
    assert tell(books, event, made) is Adjusted.COLD
    assert tell(books, event, made) is Adjusted.DONE
    assert world.counters(limit) == (100, 0, 400)
    assert books.seed() is not None
    assert world.counters(limit) == (130, 0, 0)


@pytest.mark.parametrize("wrong", ["event_id", "account_id"])
async def test_an_adjustment_of_another_event_is_refused(books: Books, wrong: str) -> None:
    event = event_for(books.world.of, 100)
    fields: dict[str, Any] = {"event_id": event.id, "account_id": ACCOUNT} | {wrong: "another"}
    made = Adjustment(id="a", at_ms=1, source="operator", reason="x", cost_delta_nano=1, **fields)
    with pytest.raises(ValueError, match="not of"):
        tell(books, event, made)
