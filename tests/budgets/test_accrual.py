"""What accumulates: the value of a window is the allowance and what was left before, and is made once."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

import pytest

from budgets.accrual import former_windows
from budgets.hold import Hold, Settled
from budgets.ledger import Opened, Refused, Versions
from budgets.limit import Attribution
from budgets.rowset import place_of
from budgets.window import window_of
from tests.budgets.world import ACCOUNT, KEY, World, new_id

DAY_MS = 86_400_000
OF = Attribution(ACCOUNT, KEY, customer="acme", feature="search")
ROW = "acme\x1fsearch"
FIRST = Versions(1)


@dataclass(frozen=True)
class Accruing:
    """A plan's limit of `value` requests a day, of which `most` are carried over, for one subscription."""

    value: int = 10
    most: int = 15
    who: str = "sub_1"
    value_id: str = "pro@1/search/requests/day"
    id: str = "ent_1"
    scope: str = "customer_feature"
    scope_id: str = "*\x1fsearch"
    window: str = "day"
    kind: str = "requests"
    enforcement: str = "hard"
    version: int = 1
    time_zone: str = "UTC"
    anchor: int = 1
    thresholds: tuple[int, ...] = ()
    created_ms: int = 0

    @property
    def carry(self) -> tuple[int, str]:
        return self.most, self.who


@pytest.fixture
def plan(world: World) -> Accruing:
    limit = Accruing()
    world.rows.put_values(ACCOUNT, {limit.value_id: limit.value})
    return limit


async def make(world: World, limit: Accruing, versions: Versions = FIRST) -> bool:
    rows = world.ledger.rows([(limit,)], versions, OF, world.now_ms)
    return await world.ledger.accrue(OF, versions, rows)


def value(world: World, limit: Accruing) -> int | None:
    found = world.redis.hget(world.names.limits, place_of(limit, ROW, ACCOUNT, world.now_ms).value_field)
    return None if found is None else int(found)


def used_before(world: World, limit: Accruing, days: int, used: int | None, granted: int) -> None:
    """As if the last window in which anything was asked lay so many days back."""
    then_ms = world.now_ms - days * DAY_MS
    place = place_of(limit, ROW, ACCOUNT, then_ms)
    ends_ms = window_of(limit, then_ms).end_ms
    world.redis.hset(f"{world.names.base}accrued", place.field, f"{ends_ms} {granted} 0")
    world.redis.hset(place.hash, "others", struct.pack("<3q", 1, 0, 0))
    if used is not None:
        world.redis.hset(place.hash, place.field, struct.pack("<3q", used - 1, 1, 0))


async def take(world: World, limit: Accruing, versions: Versions = FIRST) -> str:
    """Open and close a request, making the value as a worker does: the refusal's reason, or OK."""
    for _ in range(2):
        answer = await world.ledger.open(
            of=OF,
            request_id=new_id(),
            versions=versions,
            lists=[(limit,)],
            hold=Hold(0, 0, 0),
            payload=b"{}",
            now_ms=world.now_ms,
        )
        if isinstance(answer, Opened):
            await world.ledger.close(answer.lease, Settled(0, 0, requests=1), status="succeeded", event=b"{}")
            return "OK"
        assert isinstance(answer, Refused)
        if answer.reason != "COLD" or not await make(world, limit, versions):
            return answer.reason
    return "COLD"


async def test_the_first_window_has_the_allowance_and_no_more(world: World, plan: Accruing) -> None:
    assert [await take(world, plan) for _ in range(11)] == ["OK"] * 10 + ["EXHAUSTED"]
    assert value(world, plan) == 10


@pytest.mark.parametrize(
    ("days", "used", "granted", "expected"),
    [
        (1, 4, 10, 16),  # six were left
        (1, 10, 10, 10),  # nothing was left
        (1, 25, 10, 10),  # an overrun is not taken off the next window
        (1, None, 10, 20),  # all of it was left
        (1, 2, 25, 25),  # no more than fifteen are carried over
        (2, 10, 10, 20),  # a day without a request left its allowance
        (3, 1, 10, 25),  # nor are more than fifteen from several days
        (60, 10, 10, 25),
    ],
)
async def test_what_was_left_is_carried_over_up_to_the_bound(
    world: World, plan: Accruing, days: int, used: int | None, granted: int, expected: int
) -> None:
    used_before(world, plan, days, used, granted)
    assert await take(world, plan) == "OK"
    assert value(world, plan) == expected


async def test_a_window_whose_counters_have_expired_left_nothing(world: World, plan: Accruing) -> None:
    used_before(world, plan, 1, 3, 10)
    world.redis.delete(place_of(plan, ROW, ACCOUNT, world.now_ms - DAY_MS).hash)
    assert await make(world, plan)
    assert value(world, plan) == 10


async def test_a_value_is_made_once_however_many_workers_come_at_once(world: World, plan: Accruing) -> None:
    used_before(world, plan, 1, 4, 10)
    answers = await asyncio.gather(*(take(world, plan) for _ in range(40)))
    assert answers.count("OK") == 16
    assert set(answers) <= {"OK", "BUSY", "EXHAUSTED"}
    assert value(world, plan) == 16


async def test_another_plan_within_the_window_keeps_what_was_carried_into_it(
    world: World, plan: Accruing
) -> None:
    used_before(world, plan, 1, 4, 10)
    assert [await take(world, plan) for _ in range(5)] == ["OK"] * 5
    larger = Accruing(value=30, most=5, who="sub_2", value_id="max@1/search/requests/day")
    world.rows.put_values(ACCOUNT, {larger.value_id: 30})
    assert await take(world, larger, Versions(1, 0, 2)) == "OK"
    assert value(world, larger) == 35  # six were carried, of which this plan lets five through
    row = struct.unpack(
        "<3q", world.redis.hget(place_of(plan, ROW, ACCOUNT, world.now_ms).hash, f"ent_1:{ROW}")
    )
    assert row == (6, 0, 0)  # counting went on
    back = Accruing(who="sub_3")
    assert [await take(world, back, Versions(1, 0, 3)) for _ in range(10)] == ["OK"] * 9 + ["EXHAUSTED"]
    assert value(world, back) == 15


async def test_a_worker_with_an_old_copy_makes_nothing(world: World, plan: Accruing) -> None:
    world.redis.hset(world.names.meta, f"ver:{ACCOUNT}", 3)
    world.redis.hset(f"{world.names.customer}{ACCOUNT}:acme", "ver", 2)
    for account, customer in ((2, 2), (3, 1), (3, 0)):
        assert not await make(world, plan, Versions(1, account, customer))
        assert await take(world, plan, Versions(1, account, customer)) == "STALE"
    assert value(world, plan) is None
    assert await make(world, plan, Versions(1, 3, 2))


async def test_a_ledger_that_is_not_whole_or_has_no_allowance_makes_nothing(
    world: World, plan: Accruing
) -> None:
    world.redis.hdel(world.names.limits, plan.value_id)
    assert await take(world, plan) == "COLD"
    world.rows.put_values(ACCOUNT, {plan.value_id: 10})
    world.redis.hdel(world.names.meta, "complete_since")
    assert await take(world, plan) == "COLD"
    assert value(world, plan) is None


async def test_a_wrong_clock_makes_no_value_of_another_window(world: World, plan: Accruing) -> None:
    tomorrow = world.ledger.rows([(plan,)], Versions(1), OF, world.now_ms + DAY_MS)
    assert not await world.ledger.accrue(OF, Versions(1), tomorrow)
    assert not world.redis.exists(f"{world.names.base}accrued")


async def test_values_of_past_windows_are_forgotten_with_their_counters(world: World, plan: Accruing) -> None:
    assert await take(world, plan) == "OK"
    old = f"acc:{world.now_ms - 41 * DAY_MS}:sub_0:ent_1:{ROW}"
    late = f"acc:{world.now_ms - 39 * DAY_MS}:sub_0:ent_1:{ROW}"
    world.rows.put_values(ACCOUNT, {old: 1, late: 1, "gone": 1})
    assert world.rows.keep_limits({ACCOUNT: [plan.value_id]}) == 2
    kept = {field.decode() for field in world.redis.hkeys(world.names.limits)}
    assert kept == {plan.value_id, late, place_of(plan, ROW, ACCOUNT, world.now_ms).value_field}


def test_no_more_windows_are_looked_at_than_can_matter() -> None:
    noon_ms = 1_795_262_400_000
    window = window_of(Accruing(), noon_ms)
    found = former_windows(Accruing(value=10, most=15), window)
    assert [each.end_ms for each in found] == [window.start_ms - n * DAY_MS for n in range(3)]
    assert len(former_windows(Accruing(value=1, most=10**9), window)) == 400
    assert len(former_windows(Accruing(value=0, most=7), window)) == 8
