"""The reaper: what it ends, what it leaves alone, and the event it writes."""

from __future__ import annotations

from typing import Any

import pytest

from budgets.hold import Extra, Hold
from budgets.ledger import Closed, Opened, Versions
from budgets.limit import Attribution
from budgets.names import ShardNames, names_of
from budgets.reaper import Reaper
from budgets.rows import LedgerRows
from metering.event import Attempt, CostEvent, encode
from tests.budgets.conftest import EVERY_ENGINE
from tests.budgets.world import ACCOUNT, KEY, Published, World

pytestmark = pytest.mark.parametrize("shared_server", EVERY_ENGINE, indirect=True)

HEARTBEAT_MS = 1_000
PATIENCE_MS = 1_500


@pytest.fixture
def reaper(world: World) -> Reaper:
    return Reaper(world.redis, heartbeat_ms=HEARTBEAT_MS)


def expire(world: World, opened: Opened) -> None:
    """Let the lease have ended, by Redis' clock, without waiting for it."""
    world.redis.zadd(world.names.leases, {opened.lease.request_id: 1})


def open_event(request_id: str, **fields: Any) -> bytes:
    return encode(CostEvent(id=request_id, account_id=ACCOUNT, key_id=KEY, customer="acme", **fields))


async def orphan(world: World, hold: int, request_id: str = "orphan", **fields: Any) -> Opened:
    opened = await world.granted(hold, request_id=request_id, payload=open_event(request_id, **fields))
    expire(world, opened)
    return opened


async def test_a_vanished_holder_is_ended_in_the_second_pass_with_its_estimate(
    world: World, reaper: Reaper
) -> None:
    limit = world.limit(1_000)
    opened = await orphan(world, 500, cost_nano=120, started_ms=5, model="m", attempts=[Attempt(model="m")])
    assert reaper.pass_once(10_000) == []
    assert world.counters(limit) == (0, 500, 0)
    assert reaper.pass_once(10_000 + PATIENCE_MS - 1) == []
    assert reaper.pass_once(10_000 + PATIENCE_MS) == ["orphan"]
    assert world.counters(limit) == (120, 0, 380)
    (event,) = world.outbox()
    assert event.pop("ended_ms") >= opened.at_ms
    assert event == {
        "id": "orphan",
        "account_id": ACCOUNT,
        "key_id": KEY,
        "customer": "acme",
        "model": "m",
        "status": "orphaned",
        "outcome": "unknown",
        "cost_nano": 120,
        "cost_upper_nano": 500,
        "cost_status": "estimated",
        "held_nano": 500,
        "doubted_nano": 380,
        "closed_by": "reaper",
        "started_ms": 5,
        "usage_source": "none",
        "schema_version": 1,
        "attempts": [
            {
                "kind": "primary",
                "model": "m",
                "status": "unknown",
                "usage_source": "none",
                "cost_status": "unpriced",
            }
        ],
    }
    assert reaper.pass_once(99_999) == []
    assert world.redis.zcard(world.names.leases) == 0


async def test_the_last_checkpoint_counts_where_it_is_larger_than_the_first_estimate(
    world: World, reaper: Reaper
) -> None:
    limit = world.limit(1_000)
    opened = await orphan(world, 500, cost_nano=120)
    await world.ledger.heartbeat([(opened.lease, 333)])
    expire(world, opened)
    reaper.pass_once(0)
    assert reaper.pass_once(PATIENCE_MS) == ["orphan"]
    assert world.counters(limit) == (333, 0, 167)
    assert world.outbox()[0]["cost_nano"] == 333


async def test_an_estimate_above_the_hold_is_spent_in_full_and_leaves_no_doubt(
    world: World, reaper: Reaper
) -> None:
    limit = world.limit(1_000)
    await orphan(world, 100, cost_nano=700)
    reaper.pass_once(0)
    reaper.pass_once(PATIENCE_MS)
    assert world.counters(limit) == (700, 0, 0)
    assert world.outbox()[0]["cost_upper_nano"] == 700


async def test_an_unknown_cost_stays_unknown_and_its_hold_in_doubt(world: World, reaper: Reaper) -> None:
    limit = world.limit(1_000)
    await orphan(world, 100)
    reaper.pass_once(0)
    reaper.pass_once(PATIENCE_MS)
    assert world.counters(limit) == (0, 0, 100)
    (event,) = world.outbox()
    assert "cost_nano" not in event
    assert (event["cost_status"], event["cost_upper_nano"], event["doubted_nano"]) == ("unpriced", 100, 100)


async def test_without_limits_nothing_is_doubted_but_the_bound_is_told(world: World, reaper: Reaper) -> None:
    await orphan(world, 100, cost_nano=30)
    reaper.pass_once(0)
    assert reaper.pass_once(PATIENCE_MS) == ["orphan"]
    (event,) = world.outbox()
    assert (event["cost_nano"], event["cost_upper_nano"], event.get("doubted_nano")) == (30, 100, None)


async def test_an_extended_hold_is_doubted_whole(world: World, reaper: Reaper) -> None:
    limit = world.limit(1_000)
    opened = await orphan(world, 100, cost_nano=30)
    assert await world.ledger.extend(opened.lease, Extra(150))
    reaper.pass_once(0)
    reaper.pass_once(PATIENCE_MS)
    assert world.counters(limit) == (30, 0, 220)


async def test_a_payload_that_cannot_be_read_still_ends_in_an_event(world: World, reaper: Reaper) -> None:
    limit = world.limit(1_000)
    expire(world, await world.granted(100, request_id="torn", payload=b"{not json"))
    reaper.pass_once(0)
    assert reaper.pass_once(PATIENCE_MS) == ["torn"]
    assert world.counters(limit) == (0, 0, 100)
    assert (world.outbox()[0]["id"], world.outbox()[0]["status"]) == ("torn", "orphaned")


async def test_a_holder_that_shows_itself_between_passes_is_left_alone(world: World, reaper: Reaper) -> None:
    limit = world.limit(1_000)
    opened = await orphan(world, 100)
    reaper.pass_once(0)
    assert (await world.ledger.heartbeat([(opened.lease, 1)])).lost == []
    assert reaper.pass_once(PATIENCE_MS) == []
    # Paused again: the patience begins anew with the count seen last.
    expire(world, opened)
    assert reaper.pass_once(2 * PATIENCE_MS) == []
    assert (await world.ledger.heartbeat([(opened.lease, 2)])).lost == []
    expire(world, opened)
    assert reaper.pass_once(3 * PATIENCE_MS) == []
    assert reaper.pass_once(4 * PATIENCE_MS) == ["orphan"]
    assert world.counters(limit) == (2, 0, 98)


class HeartbeatBeforeTheFence(Reaper):
    """A reaper during whose very last step the holder shows itself."""

    world: World
    opened: Opened

    def _close(self, keys: list[Any], args: list[Any]) -> Any:
        name = self.world.names.open + self.opened.lease.request_id
        self.world.redis.hincrby(name, "hb", 1)
        answer = super()._close(keys, args)
        assert answer == b"ALIVE"
        return answer


class ClosedBetweenTheLooks(Reaper):
    """A reaper that is about to end a request when its worker does."""

    world: World

    def _end(self, names: ShardNames, request_id: str, heartbeats: bytes) -> bool:
        self.world.redis.delete(names.open + request_id)
        self.world.redis.set(names.open + request_id, "succeeded")
        return super()._end(names, request_id, heartbeats)


async def test_a_request_that_ends_between_two_looks_is_left_alone(world: World) -> None:
    first, second = await orphan(world, 100, "first"), await orphan(world, 100, "second")
    reaper = ClosedBetweenTheLooks(world.redis, heartbeat_ms=HEARTBEAT_MS)
    reaper.world = world
    reaper.pass_once(0)
    assert reaper.pass_once(PATIENCE_MS) == []
    assert world.outbox() == []
    assert reaper.pass_once(2 * PATIENCE_MS) == []
    leases = {first.lease.request_id, second.lease.request_id}
    assert not leases & {each.decode() for each in world.redis.zrange(world.names.leases, 0, -1)}


async def test_the_fence_holds_when_the_heartbeat_comes_at_the_last_moment(world: World) -> None:
    limit = world.limit(1_000)
    opened = await orphan(world, 100)
    reaper = HeartbeatBeforeTheFence(world.redis, heartbeat_ms=HEARTBEAT_MS)
    reaper.world, reaper.opened = world, opened
    reaper.pass_once(0)
    assert reaper.pass_once(PATIENCE_MS) == []
    assert world.counters(limit) == (0, 100, 0)
    assert await world.close(opened.lease, 40) is Closed.OK


async def test_a_holder_that_comes_back_after_the_reaper_is_told_and_changes_nothing(
    world: World, reaper: Reaper
) -> None:
    limit = world.limit(1_000)
    opened = await orphan(world, 100, cost_nano=10)
    reaper.pass_once(0)
    reaper.pass_once(PATIENCE_MS)
    assert (await world.ledger.heartbeat([(opened.lease, 50)])).lost == ["orphan"]
    assert await world.ledger.extend(opened.lease, Extra(1)) is False
    assert await world.close(opened.lease, 60) is Closed.CLOSED
    assert world.counters(limit) == (10, 0, 90)
    assert len(world.outbox()) == 1


async def test_two_reapers_end_a_request_once(world: World, reaper: Reaper) -> None:
    limit = world.limit(1_000)
    await orphan(world, 100, cost_nano=10)
    other = Reaper(world.redis, heartbeat_ms=HEARTBEAT_MS)
    for each in (reaper, other):
        each.pass_once(0)
    assert [each.pass_once(PATIENCE_MS) for each in (reaper, other)] == [["orphan"], []]
    assert world.counters(limit) == (10, 0, 90)


async def test_leases_in_force_and_closed_requests_are_not_touched(world: World, reaper: Reaper) -> None:
    world.limit(1_000)
    running = await world.granted(10)
    closed = await world.granted(10)
    await world.close(closed.lease, 5)
    expire(world, closed)  # a lease left behind by nobody we know
    world.redis.zadd(world.names.leases, {"never opened": 1})
    for moment in (0, PATIENCE_MS, 2 * PATIENCE_MS):
        assert reaper.pass_once(moment) == []
    assert world.redis.zrange(world.names.leases, 0, -1) == [running.lease.request_id.encode()]
    assert len(world.outbox()) == 1


async def test_orphans_of_every_shard_are_found(world: World, reaper: Reaper) -> None:
    rows = LedgerRows(world.redis)
    shards = set()
    for account in ("one", "two", "three"):
        rows.put_key(account, Published(KEY))
        meta = names_of(account).meta
        run_id = world.connection.run_id_for(meta)
        world.redis.hset(meta, mapping={"complete_since": 1, "run_id": run_id})
        answer = await world.ledger.open(
            of=Attribution(account, KEY),
            request_id=f"r-{account}",
            versions=Versions(1),
            lists=(),
            hold=Hold(5, 5, 5),
            payload=open_event(f"r-{account}"),
            now_ms=world.now_ms,
        )
        assert isinstance(answer, Opened)
        world.redis.zadd(names_of(account).leases, {f"r-{account}": 1})
        shards.add(answer.lease.shard)
    assert len(shards) == 3
    reaper.pass_once(0)
    assert sorted(reaper.pass_once(PATIENCE_MS)) == ["r-one", "r-three", "r-two"]


async def test_the_reaper_survives_a_server_that_forgot_the_scripts(world: World, reaper: Reaper) -> None:
    world.limit(1_000)
    await orphan(world, 100)
    reaper.pass_once(0)
    world.redis.script_flush()
    assert reaper.pass_once(PATIENCE_MS) == ["orphan"]


async def test_each_meter_ends_by_itself(world: World, reaper: Reaper) -> None:
    money, soft = world.limit(10_000), world.limit(10_000, scope="account", enforcement="soft")
    tokens = world.limit(1_000, kind="tokens")
    made = world.limit(1_000, kind="output_tokens", enforcement="shadow")
    requests = world.limit(10, kind="requests", window="day")
    running = world.limit(3, kind="concurrency", window="now")
    rate = world.limit(6_000, kind="tokens_per_minute", window="minute")
    hold = Hold(500, 500, 500, input_tokens=30, output_tokens=(70, 70, 70), likely_tokens=50)
    expire(world, await world.granted(hold, request_id="orphan", payload=open_event("orphan", cost_nano=120)))
    charged = world.redis.hget(world.names.rates, rate.id)
    reaper.pass_once(0)
    assert reaper.pass_once(PATIENCE_MS) == ["orphan"]
    assert world.counters(money) == (120, 0, 380)
    assert world.counters(soft) == (120, 0, 380)  # one doubt for all rows of money
    assert world.counters(tokens) == (0, 0, 100)
    assert world.counters(made) == (0, 0, 0)  # no hard limit counts them
    assert world.counters(requests) == (1, 0, 0)
    assert world.counters(running) == (0, 0, 0)
    assert (
        abs(int(world.redis.hget(world.names.rates, rate.id)) - int(charged)) <= 1
    )  # what was estimated stays


async def test_without_a_hard_limit_nothing_is_doubted(world: World, reaper: Reaper) -> None:
    limit = world.limit(1_000, enforcement="soft")
    await orphan(world, 100, cost_nano=30)
    reaper.pass_once(0)
    reaper.pass_once(PATIENCE_MS)
    assert world.counters(limit) == (30, 0, 0)


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("rows", b"0mh 1 w:2026-11"),
        ("rows", b"\xff"),
        ("rows", b"0mh x y z"),
        ("held", b"many"),
        ("meters", b"mt"),
    ],
)
async def test_a_record_that_cannot_be_read_still_ends_in_an_event(
    world: World, reaper: Reaper, field: str, content: bytes
) -> None:
    limit = world.limit(1_000)
    await orphan(world, 100, cost_nano=30)
    world.redis.hset(world.names.open + "orphan", field, content)
    reaper.pass_once(0)
    assert reaper.pass_once(PATIENCE_MS) == ["orphan"]
    (event,) = world.outbox()
    assert (event["id"], event["cost_nano"]) == ("orphan", 30)
    assert world.redis.zcard(world.names.leases) == 0
    assert world.counters(limit)[1] == 100  # what is left of its hold, the reconciler finds


async def test_the_event_of_a_lost_payload_names_what_was_held(world: World, reaper: Reaper) -> None:
    world.limit(1_000)
    opened = await orphan(world, 100)
    world.redis.hdel(world.names.open + "orphan", "payload", "at")
    reaper.pass_once(0)
    assert reaper.pass_once(PATIENCE_MS) == ["orphan"]
    assert world.outbox()[0]["held_nano"] == opened.lease.held_nano == 100
