"""A ledger that lost its memory gets the rows of plans back as they were, from who was on which plan when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from accounts.customerbook import CustomerBook
from accounts.keyring import Keyring
from accounts.limitbook import LimitBook
from accounts.plan import OWN_DAY, PlanRule, PlanVersion
from accounts.planbook import PlanBook
from accounts.policy import Policy
from accounts.publishing import ACCOUNT
from accounts.termscache import TermsCache
from budgets.adjusting import Adjusted, adjust
from budgets.client import connect_sync
from budgets.connection import RedisConnection
from budgets.counted import counted_event
from budgets.drift import ROW
from budgets.healer import Healer
from budgets.hold import Hold, Settled
from budgets.ledger import Ledger, Opened, Versions
from budgets.limit import Attribution, check_terms
from budgets.names import names_of
from budgets.rows import LedgerRows
from gateway.entitlements import Entitlements
from gateway.healing.healing import RecordedTerms
from gateway.planmeters import recorded_meters
from metering.adjustment import Adjustment
from metering.database import open_database
from metering.event import CostEvent, decode, encode
from metering.eventstore import EventStore
from metering.ids import new_id
from tests.budgets.server import Server, engine_binary, start_server

NAMES = names_of(ACCOUNT)


@dataclass
class Site:
    """An installation whose requests are opened and closed here, by the decisions of the gateway."""

    server: Server
    redis: Any
    engine: Engine
    store: EventStore
    ledger: Ledger
    entitlements: Entitlements
    terms: Any
    plans: PlanBook
    customers: CustomerBook
    key_id: str

    async def use(self, customer: str, feature: str | None, *, cost_nano: int = 10) -> bool:
        """One request, as the gateway would make it; whether it was let in."""
        now_ms = self.customers.now_ms()
        self.terms.invalidate(ACCOUNT, customer)
        account, own, asked = await self.entitlements.terms(ACCOUNT, customer)
        granted = await self.entitlements.decide(ACCOUNT, account.policy, own, customer, feature, now_ms)
        assert granted.granted
        of = Attribution(
            ACCOUNT, self.key_id, customer, None, feature, granted.plan, None, None, granted.label
        )
        versions = Versions(1, account.version, (own.version if own else 0) if asked else None)
        event = CostEvent(
            id=new_id(),
            account_id=ACCOUNT,
            key_id=self.key_id,
            customer=customer,
            feature=feature,
            plan=granted.label,
            started_ms=now_ms,
            usage={"input_tokens": 3, "output_tokens": 4},
            cost_nano=cost_nano,
            cost_status="priced",
        )
        answer = await self.ledger.open(
            of=of,
            request_id=event.id,
            versions=versions,
            lists=[account.limits, own.limits if own else (), granted.limits],
            hold=Hold(cost_nano, cost_nano, cost_nano, input_tokens=3, output_tokens=(4, 4, 4)),
            payload=encode(event),
            now_ms=now_ms,
        )
        if not isinstance(answer, Opened):
            return False
        settled = Settled(cost_nano, input_tokens=3, output_tokens=4)
        await self.ledger.close(answer.lease, settled, status="succeeded", event=encode(event))
        return True

    def record(self) -> int:
        """Move the outbox into the event store, as the recorder does."""
        entries = self.redis.xrange(NAMES.outbox)
        found = [decode(fields[b"e"]) for _, fields in entries]
        self.store.append(found, [fields[b"e"] for _, fields in entries])
        self.redis.xtrim(NAMES.outbox, maxlen=0)
        return len(found)

    def rows(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for name in self.redis.scan_iter(match=f"{NAMES.window}*"):
            for field, content in self.redis.hgetall(name).items():
                row = ROW.unpack(content)
                if row != (0, 0, 0):
                    found[f"{name.decode()} {field.decode()}"] = row
        return found

    def healer(self) -> Healer:
        book = LimitBook(self.engine, LedgerRows(self.redis), check_terms)
        return Healer(self.redis, self.store, RecordedTerms(self.engine), book.publish_all, grace_s=0.0)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    server = start_server(engine_binary("valkey"), tmp_path)
    redis = connect_sync(server.url, timeout_s=5)
    engine = open_database(tmp_path / "t.db")
    store = EventStore(tmp_path / "t.db")
    rows = LedgerRows(redis)
    _, key = Keyring(engine, rows).create("app")
    connection = await RedisConnection.connect(server.url)
    terms = TermsCache(
        lambda account: connection.command("GET", NAMES.account + account),
        lambda account, customer: connection.command("HGET", f"{NAMES.customer}{account}:{customer}", "doc"),
    )
    redis.hset(NAMES.meta, mapping={"complete_since": 1, "run_id": server.run_id})
    yield Site(
        server,
        redis,
        engine,
        store,
        Ledger(connection, owner="w", lease_ms=30_000),
        Entitlements(connection.command, terms),
        terms,
        PlanBook(engine, rows, check_terms),
        CustomerBook(engine, rows, check_terms),
        key.id,
    )
    await connection.close()
    store.close()
    engine.dispose()
    redis.close()
    server.stop()


RULES = (
    PlanRule("requests", "month", 100, "search"),
    PlanRule("tokens", "day", 10_000, "search"),
    PlanRule("money", "month", 10_000),
)


async def spend(site: Site) -> None:
    """Customers on several plans and days, who change them between requests, not all of them recorded."""
    site.plans.put_plan(PlanVersion("small", 0, ("search",), True, RULES[:1]))
    site.plans.put_plan(PlanVersion("large", 0, ("search",), True, RULES))
    site.plans.put_plan(PlanVersion("own", 0, ("search",), True, RULES, "Europe/Berlin", OWN_DAY))
    site.plans.put_plan(PlanVersion("free", 0, ("search",), True, (RULES[0], RULES[2])))
    site.plans.set_policy(Policy("default_plan", plan="free"))
    LimitBook(site.engine, LedgerRows(site.redis), check_terms).set("plan", "large", "money", "month", 10_000)
    site.customers.subscribe("a", "small")
    site.customers.subscribe("b", "large")
    site.customers.subscribe("c", "own", anchor=9)
    site.customers.subscribe("d", "own", anchor=28)
    for customer in "abcdef":
        assert await site.use(customer, "search")
        assert await site.use(customer, None)
    site.record()
    site.customers.subscribe("a", "large")  # its tokens and money count from here on
    site.plans.put_plan(PlanVersion("large", 0, ("search",), True, RULES, name="Larger"))
    site.customers.migrate("large")
    site.customers.subscribe("e", "small")
    for customer in "abcdef":
        assert await site.use(customer, "search", cost_nano=7)
    site.record()
    for customer in "abc":
        assert await site.use(customer, "search")
        assert await site.use(customer, "other", cost_nano=5)


async def test_rows_of_plans_come_back_as_they_were(site: Site) -> None:
    await spend(site)
    before = site.rows()
    outbox = site.redis.xrange(NAMES.outbox)
    assert len(before) == 17  # six customers: requests and money of each, tokens of four, and the pool
    site.redis.flushall()
    for _, fields in outbox:
        site.redis.xadd(NAMES.outbox, fields)
    healer = site.healer()
    clock_ms = 0
    while healer.counters.reseeds == 0:
        await asyncio.to_thread(healer.pass_once, clock_ms)
        clock_ms += 200
        assert clock_ms < 200_000
    assert site.rows() == before
    assert await site.use("a", "search")


async def test_a_comparison_finds_nothing_wrong_and_finds_what_is(site: Site) -> None:
    await spend(site)
    healer = site.healer()
    shard = NAMES.shard
    indexes = [RecordedTerms(site.engine).index(ACCOUNT)]
    healer.reconciler.compare_now(shard, indexes)
    before = site.rows()
    assert healer.reconciler.counters.compared >= len(before)
    assert site.rows() == before
    name, _, field = next(name for name in before if "ent_" in name).partition(" ")
    site.redis.hset(name, field, ROW.pack(0, 0, 0))
    site.record()
    healer.reconciler.compare_now(shard, indexes)
    assert site.rows() == before


async def test_values_of_plans_are_published_again_where_they_are_gone(site: Site) -> None:
    site.plans.put_plan(PlanVersion("small", 0, ("search",), True, RULES[:1]))
    healer = site.healer()
    healer.pass_once(0)
    site.redis.hdel(NAMES.limits, "small@1/search/requests/month")
    healer.pass_once(120_000)
    assert site.redis.hget(NAMES.limits, "small@1/search/requests/month") == b"100"


async def test_a_corrected_cost_is_corrected_on_the_rows_of_its_plan(site: Site) -> None:
    await spend(site)
    site.record()
    events, _ = site.store.arrivals(0)
    event = next(each for each in events if each.plan == "own@1+28")
    made = Adjustment(
        id=new_id(),
        event_id=event.id,
        account_id=ACCOUNT,
        at_ms=event.started_ms,
        source="operator",
        reason="corrected",
        cost_delta_nano=1_000,
    )
    before = site.rows()
    with site.engine.connect() as connection:
        meters = recorded_meters(connection, ACCOUNT)
    assert adjust(site.redis, [], event, made, meters=meters) == Adjusted.OK
    changed = {name: row for name, row in site.rows().items() if before[name] != row}
    assert [(before[name][0] + 1_000, 0, 0) for name in changed] == list(changed.values())
    assert [name.rpartition(":")[2] for name in changed] == ["d"]


def test_an_event_counts_for_its_plan_under_any_label() -> None:
    event = CostEvent(id=new_id(), customer="a", plan="own@3+15")
    of = counted_event(event).of
    assert (of.plan, of.label) == ("own", "own@3+15")
