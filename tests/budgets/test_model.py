"""The ledger against its model: any sequence of calls gives the same answers and the same counters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from budgets.connection import RedisConnection
from budgets.ledger import Hold, Lease, Opened
from budgets.limit import Limit
from budgets.reaper import Reaper
from budgets.seed import seed_ledger
from metering.event import CostEvent, encode
from tests.budgets.model import Model, Row
from tests.budgets.server import ACCOUNT, Server, World

# Few different amounts, so that they often meet exactly; each example multiplies them by one scale, so that
# they also have many digits. Even the largest add up to less than 2**53 over all steps.
AMOUNTS = st.integers(0, 9)
VALUES = st.integers(0, 60)
SCALES = (1, 2**31 + 1, 10**12 + 7)
WINDOWS = ("day", "month", "lifetime")
ENFORCEMENTS = ("hard", "hard", "soft", "shadow")


class LedgerMachine(RuleBasedStateMachine):
    """Random calls, made to the ledger and to the model alike."""

    def __init__(self, server: Server, runner: asyncio.Runner, connection: RedisConnection) -> None:
        super().__init__()
        server.client.flushall()
        self.runner = runner
        self.world = World(server.client, connection)
        self.world.make_whole()
        self.world.put_key()
        self.model = Model()
        self.leases: dict[str, Lease] = {}
        self.limits: dict[str, Limit] = {}
        self.count = 0
        self.scale = 1
        self.reap_ms = 0

    @initialize(
        rows=st.lists(st.tuples(VALUES, st.sampled_from(ENFORCEMENTS)), max_size=3),
        scale=st.sampled_from(SCALES),
    )
    def define_limits(self, rows: list[tuple[int, str]], scale: int) -> None:
        self.scale = scale
        for window, (value, enforcement) in zip(WINDOWS, rows, strict=False):
            limit = self.world.limit(value * scale, window=window, enforcement=enforcement)
            self.limits[limit.id] = limit
            self.model.rows[limit.id] = Row(value * scale, enforcement)

    @rule(
        amounts=st.tuples(AMOUNTS, AMOUNTS, AMOUNTS),
        equal=st.booleans(),
        estimate=st.none() | AMOUNTS,
        version_lag=st.sampled_from([0] * 9 + [1]),
        reuse=st.sampled_from([False] * 9 + [True]),
    )
    def open(
        self,
        amounts: tuple[int, int, int],
        equal: bool,
        estimate: int | None,
        version_lag: int,
        reuse: bool,
    ) -> None:
        ordered = sorted(amounts) if not equal else [amounts[0]] * 3
        least, assumed, full = (amount * self.scale for amount in ordered)
        estimate = None if estimate is None else estimate * self.scale
        if not reuse:
            self.count += 1
        request_id = f"r{self.count}"
        version = self.model.key_version - version_lag
        answer = self.run(
            self.world.open(
                Hold(full, assumed, least),
                request_id=request_id,
                key_version=version,
                payload=encode(CostEvent(id=request_id, cost_nano=estimate)),
            )
        )
        reason, held = self.model.open(request_id, version, full, assumed, least, estimate)
        if isinstance(answer, Opened):
            assert (reason, held) == ("OK", answer.lease.held_nano)
            hard = [row.free for row in self.model.rows.values() if row.enforcement == "hard"]
            assert answer.remaining_nano == (min(hard) if hard else None)
            assert all(free >= 0 for free in hard)  # no grant takes a hard limit past its value
            self.leases[request_id] = answer.lease
        else:
            assert answer.reason == reason
            if answer.limit_id is not None:
                row = self.model.rows[answer.limit_id]
                assert (answer.limit_nano, answer.spent_nano, answer.free_nano) == (
                    row.value,
                    row.spent,
                    row.free,
                )
                assert row.enforcement == "hard"

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), spent=AMOUNTS, doubted=st.sampled_from([0, 0, 1, 5]))
    def close(self, data: st.DataObject, spent: int, doubted: int) -> None:
        lease = self.pick(data)
        spent, doubted = spent * self.scale, doubted * self.scale
        answer = self.run(self.world.close(lease, spent, doubted))
        assert answer == self.model.close(lease.request_id, spent, doubted, spent)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), extra=AMOUNTS)
    def extend(self, data: st.DataObject, extra: int) -> None:
        lease = self.pick(data)
        answer = self.run(self.world.ledger.extend(lease, extra * self.scale))
        assert answer == self.model.extend(lease.request_id, extra * self.scale)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), cost=AMOUNTS)
    def heartbeat(self, data: st.DataObject, cost: int) -> None:
        lease = self.pick(data)
        cost *= self.scale
        lost = self.run(self.world.ledger.heartbeat([(lease, cost)]))
        assert lost == ([] if self.model.heartbeat(lease.request_id, cost) else [lease.request_id])

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), shows_itself=st.booleans())
    def vanish(self, data: st.DataObject, shows_itself: bool) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.model.running)))
        self.world.redis.zadd(self.world.names.leases, {request_id: 1})
        reaper = Reaper(self.world.redis, heartbeat_ms=100)
        assert reaper.pass_once(self.reap_ms) == []
        if shows_itself:
            self.run(self.world.ledger.heartbeat([(self.leases[request_id], 1)]))
            self.model.heartbeat(request_id, 1)
        self.reap_ms += 150
        ended = reaper.pass_once(self.reap_ms)
        assert ended == ([] if shows_itself else [request_id])
        if not shows_itself:
            assert self.model.reap(request_id)

    @precondition(lambda self: self.limits)
    @rule(data=st.data(), value=VALUES)
    def change_value(self, data: st.DataObject, value: int) -> None:
        limit_id = data.draw(st.sampled_from(sorted(self.limits)))
        self.world.redis.hset(self.world.names.limit + limit_id, "value", value * self.scale)
        self.model.rows[limit_id].value = value * self.scale

    @rule(how=st.sampled_from(["new version", "revoked", "scripts forgotten"]))
    def disturb(self, how: str) -> None:
        """What a caller must survive or be told of, and that leaves no trace."""
        if how == "scripts forgotten":
            self.world.redis.script_flush()
            return
        self.model.key_version += 1
        if how == "revoked":
            self.world.put_key(version=self.model.key_version, status="revoked")
            self.model.key_active = False
            self.open((1, 1, 1), True, None, 0, False)
            self.model.key_active = True
        self.world.put_key(version=self.model.key_version)

    @rule(empty=st.booleans())
    def lose_and_seed(self, empty: bool) -> None:
        """The ledger is not whole, refuses, and is made whole again from the model's sums."""
        self.world.redis.hdel(self.world.names.meta, "complete_since")
        self.model.whole = False
        self.open((1, 1, 1), True, None, 0, False)
        if empty:  # the counters are lost; the requests are not
            for limit in self.limits.values():
                self.world.redis.delete(self.world.row_name(limit))
        known = {limit.id: (row.spent, row.doubted) for limit, row in self.rows()}
        assert seed_ledger(
            self.world.redis,
            ACCOUNT,
            list(self.limits.values()),
            lambda limit, start_ms, end_ms: known[limit.id],
            recorded_of=lambda ids: ids,
        )
        self.model.whole = True

    @invariant()
    def counters_agree(self) -> None:
        for limit, row in self.rows():
            assert self.world.counters(limit) == (row.spent, row.reserved, row.doubted)
            assert row.reserved >= 0

    @invariant()
    def every_end_has_one_event_and_every_open_request_a_lease(self) -> None:
        events = [
            (event["id"], event.get("cost_nano"), event.get("doubted_nano", 0))
            for event in self.world.outbox()
        ]
        assert events == self.model.outbox
        leases = self.world.redis.zrange(self.world.names.leases, 0, -1)
        assert {name.decode() for name in leases} == set(self.model.running)

    def rows(self) -> list[tuple[Limit, Row]]:
        return [(self.limits[limit_id], row) for limit_id, row in self.model.rows.items()]

    def pick(self, data: st.DataObject) -> Lease:
        """A lease that runs, or now and then one that has ended."""
        choice = sorted(self.model.running) or sorted(self.leases)
        if data.draw(st.integers(0, 4)) == 4:
            choice = sorted(self.leases)
        return self.leases[data.draw(st.sampled_from(choice))]

    def run(self, call: Any) -> Any:
        return self.runner.run(call)


def compare(server: Server, *, examples: int, steps: int) -> None:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    with asyncio.Runner() as runner:
        connection = runner.run(RedisConnection.connect(server.url))
        try:
            machine: Any = lambda: LedgerMachine(server, runner, connection)  # noqa: E731
            run_state_machine_as_test(machine, settings=chosen)
        finally:
            runner.run(connection.close())


def test_the_ledger_agrees_with_its_model(server: Server) -> None:
    compare(server, examples=60, steps=30)


@pytest.mark.slow
def test_the_ledger_agrees_with_its_model_for_long(server: Server) -> None:
    compare(server, examples=500, steps=50)
