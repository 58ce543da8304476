"""Claims of idempotency keys, on every engine: who has one, how it ends, and what a dead worker leaves."""

from __future__ import annotations

import asyncio

import pytest

from budgets.claims import AGAIN_MS, KEPT_MS, OPENING_MS, Claimed, Claims
from budgets.hold import Settled
from budgets.wire import LedgerUnavailable
from tests.budgets.conftest import EVERY_ENGINE
from tests.budgets.world import ACCOUNT, KEY, World, set_everywhere

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)
NAME = (ACCOUNT, KEY, "d1")


@pytest.fixture
def claims(world: World) -> Claims:
    return Claims(world.connection)


def stored(world: World) -> str:
    return f"{world.names.base}claim:{KEY}:d1"


async def test_the_first_has_it_and_others_learn_who(claims: Claims, world: World) -> None:
    assert await claims.claim(*NAME, request_id="r1", body="b") == Claimed("NEW")
    assert await claims.claim(*NAME, request_id="r2", body="b") == Claimed("RUNNING", "r1")
    assert await claims.claim(*NAME, request_id="r2", body="c") == Claimed("OTHER", "r1")
    assert await claims.claim(ACCOUNT, KEY, "d2", request_id="r2", body="b") == Claimed("NEW")
    assert await claims.claim(ACCOUNT, "key_other", "d1", request_id="r3", body="b") == Claimed("NEW")
    assert KEPT_MS - 5_000 < world.redis.pttl(stored(world)) <= KEPT_MS


async def test_of_many_at_once_one_has_it(claims: Claims) -> None:
    asked = [claims.claim(*NAME, request_id=f"r{number}", body="b") for number in range(50)]
    states = [claimed.state for claimed in await asyncio.gather(*asked)]
    assert states.count("NEW") == 1
    assert states.count("RUNNING") == 49


async def test_its_end_is_told_and_only_by_who_has_it(claims: Claims) -> None:
    await claims.claim(*NAME, request_id="r1", body="b")
    await claims.ended(*NAME, request_id="r9", status="failed", cost_nano=1)
    assert (await claims.claim(*NAME, request_id="r2", body="b")).state == "RUNNING"
    await claims.ended(*NAME, request_id="r1", status="succeeded", cost_nano=2**53 - 1)
    ended = Claimed("ENDED", "r1", "succeeded", 2**53 - 1)
    assert await claims.claim(*NAME, request_id="r2", body="b") == ended
    assert (await claims.claim(*NAME, request_id="r2", body="c")).state == "OTHER"
    await claims.give_back(*NAME, request_id="r2")
    assert await claims.claim(*NAME, request_id="r2", body="b") == ended
    await claims.give_back(*NAME, request_id="r1")
    assert await claims.claim(*NAME, request_id="r2", body="c") == Claimed("NEW")


async def test_an_unknown_cost_is_told_as_unknown(claims: Claims) -> None:
    await claims.claim(*NAME, request_id="r1", body="b")
    await claims.ended(*NAME, request_id="r1", status="cancelled", cost_nano=None)
    assert await claims.claim(*NAME, request_id="r2", body="b") == Claimed("ENDED", "r1", "cancelled", None)


async def test_a_claim_whose_worker_died_follows_its_open_record(claims: Claims, world: World) -> None:
    world.limit(1_000)
    opened = await world.granted(10)
    request_id = opened.lease.request_id
    await claims.claim(*NAME, request_id=request_id, body="b")
    world.redis.hincrby(stored(world), "at", -OPENING_MS - 1)
    assert (await claims.claim(*NAME, request_id="r2", body="b")).state == "RUNNING"  # it is open
    await world.ledger.close(opened.lease, Settled(5), status="orphaned", event=b"{}")
    told = Claimed("ENDED", request_id, "orphaned", None)
    assert await claims.claim(*NAME, request_id="r2", body="b") == told
    world.redis.delete(world.names.open + request_id)  # the marker's time is over
    assert await claims.claim(*NAME, request_id="r2", body="b") == told


async def test_a_claim_that_never_opened_is_free_after_a_moment(claims: Claims, world: World) -> None:
    await claims.claim(*NAME, request_id="r1", body="b")
    assert (await claims.claim(*NAME, request_id="r2", body="b")).state == "RUNNING"
    world.redis.hincrby(stored(world), "at", -OPENING_MS - 1)
    assert await claims.claim(*NAME, request_id="r2", body="c") == Claimed("NEW")
    assert await claims.claim(*NAME, request_id="r3", body="c") == Claimed("RUNNING", "r2")


async def test_what_is_remembered_is_recalled_for_ten_minutes(claims: Claims, world: World) -> None:
    assert await claims.recall(ACCOUNT, "f") is None
    await claims.remember(ACCOUNT, "f", "task-1")
    assert await claims.recall(ACCOUNT, "f") == "task-1"
    assert 0 < world.redis.pttl(f"{world.names.base}again:f") <= AGAIN_MS


async def test_a_full_server_refuses_claims_and_takes_ends(claims: Claims, world: World) -> None:
    await claims.claim(*NAME, request_id="r1", body="b")
    set_everywhere(world.redis, "maxmemory", "1")
    try:
        with pytest.raises(LedgerUnavailable, match="OOM"):
            await claims.claim(ACCOUNT, KEY, "d2", request_id="r2", body="b")
        await claims.ended(*NAME, request_id="r1", status="succeeded", cost_nano=3)
    finally:
        set_everywhere(world.redis, "maxmemory", "0")
    assert await claims.claim(*NAME, request_id="r2", body="b") == Claimed("ENDED", "r1", "succeeded", 3)
