"""Books: a world whose ended requests are recorded in an event store, at the test's word."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

from budgets.counted import LimitIndex
from budgets.hold import Settled
from budgets.ledger import Lease
from budgets.limit import Attribution
from budgets.movements import NOTHING_SPILLED, Spilled
from budgets.seed import Seeded, seed_shard
from metering.adjustment import decode_adjustment
from metering.event import CostEvent, decode, encode
from metering.eventstore import EventStore
from tests.budgets.world import ACCOUNT, World


class Books:
    """`record` does what a recorder does, all at once."""

    def __init__(self, world: World, store: EventStore) -> None:
        self.world = world
        self.store = store
        self.spilled = NOTHING_SPILLED

    @property
    def run_id(self) -> str:
        return self.world.connection.run_id_for(self.world.names.meta)

    @property
    def index(self) -> LimitIndex:
        return LimitIndex(ACCOUNT, self.world.limits)

    def seed(self) -> Seeded | None:
        shard, redis = self.world.names.shard, self.world.redis
        return seed_shard(redis, shard, [self.index], self.store, run_id=self.run_id, spilled=self.spilled)

    def forget(self) -> None:
        """The server loses its memory, but for the key and the values of limits, which are put back."""
        values = self.world.redis.hgetall(self.world.names.limits)
        self.world.redis.flushall()
        self.world.put_key()
        if values:
            self.world.redis.hset(self.world.names.limits, mapping=values)

    async def spend(
        self, spent: int, doubted: int = 0, *, of: Attribution | None = None, hold: int = 0, **counts: int
    ) -> CostEvent:
        """One request that ended."""
        opened = await self.world.granted(hold or spent + doubted, of=of)
        return await self.end(opened.lease, spent, doubted, of=of, **counts)

    async def end(
        self, lease: Lease, spent: int, doubted: int = 0, *, of: Attribution | None = None, **counts: int
    ) -> CostEvent:
        event = event_for(of or self.world.of, spent, doubted, id=lease.request_id, **counts)
        settled = Settled(spent, doubted, **counts)
        await self.world.ledger.close(lease, settled, status="succeeded", event=encode(event))
        return event

    def record(self, *, delete: bool = True) -> int:
        """Store what the outbox holds, and take it out unless told otherwise."""
        count = 0
        for entry_id, fields in self.world.redis.xrange(self.world.names.outbox):
            if b"e" in fields:
                count += self.store.append([decode(fields[b"e"])], [fields[b"e"]]).added
            else:
                count += self.store.append_adjustments([decode_adjustment(fields[b"a"])])
            if delete:
                self.world.redis.xdel(self.world.names.outbox, entry_id)
        return count

    def spill(self) -> None:
        """What the outbox holds goes to files."""
        entries = self.world.redis.xrange(self.world.names.outbox)
        events = [fields[b"e"] for _, fields in entries if b"e" in fields]
        adjustments = [fields[b"a"] for _, fields in entries if b"a" in fields]
        for entry_id, _ in entries:
            self.world.redis.xdel(self.world.names.outbox, entry_id)
        self.spilled = Spilled(lambda: events, lambda: adjustments)


def event_for(of: Attribution, spent: int, doubted: int = 0, **fields: Any) -> CostEvent:
    counts = {name: fields.pop(name) for name in ("input_tokens", "output_tokens") if name in fields}
    values = {
        "id": f"e{random.getrandbits(64):x}",
        "account_id": of.account_id,
        "key_id": of.key_id,
        "customer": of.customer,
        "workspace": of.workspace,
        "feature": of.feature,
        "plan": of.plan,
        "trace_id": of.trace_id,
        "route_final": of.route,
        "usage": counts or None,
        "cost_nano": spent,
        "doubted_nano": doubted,
        "cost_status": "priced",
    }
    event = CostEvent(**(values | fields))
    if not event.started_ms:
        event = replace(event, started_ms=time.time_ns() // 1_000_000)
    return event
