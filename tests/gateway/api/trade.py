"""A small business in the record, for tests of analytics: customers on plans and off them, with every kind of
request, in two months that are over.

Everything is made from one seed, and every cost from the price book, so that a test can work out each figure
again from `events` alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sqlalchemy import Engine

from accounts.customerbook import CustomerBook
from accounts.planbook import PlanBook
from accounts.planprice import FeatureRate, Tier
from billing.ratebook import RateBook
from billing.stamp import Revenue
from metering.adjustment import Adjustment
from metering.event import Attempt, CostEvent
from metering.eventstore import EventStore
from metering.ids import new_id
from metering.pricebook import PriceBook
from metering.usage import Usage
from tests.billing.made import DAY_MS, HOUR_MS, USD, at, plan

SINCE_MS, UNTIL_MS = at("2026-03-01"), at("2026-05-01")
SPAN = {"date_from": "2026-03-01", "date_to": "2026-05-01"}
PROVIDER = "simulated"
MODELS = ("gpt-4o-mini", "gpt-4o")
UNPRICED_MODEL = "nobody-knows-it"
CORRECTION_NANO = 4_321


@dataclass
class Trade:
    """What was recorded of one account. `revenue`: what was stamped on an event."""

    account_id: str
    mark: str
    events: list[CostEvent] = field(default_factory=list)
    revenue: Callable[[CostEvent], Revenue | None] = lambda event: None
    corrected: str = ""

    def name(self, noun: str) -> str:
        """A name of this account's."""
        return f"{self.mark}-{noun}"

    def cost(self, event: CostEvent) -> int:
        """The known part of the corrected cost."""
        return event.known_nano + (CORRECTION_NANO if event.id == self.corrected else 0)

    def of(self, **names: str | None) -> list[CostEvent]:
        """Events with these names."""
        return [
            event
            for event in self.events
            if all(getattr(event, name) == value for name, value in names.items())
        ]

    def costs(self, events: Iterable[CostEvent]) -> int:
        """The known cost of all of them."""
        return sum(self.cost(event) for event in events)

    def revenues(self, events: Iterable[CostEvent]) -> int:
        """What they are worth themselves."""
        return sum(found[0] for event in events if (found := self.revenue(event)) is not None)


def trade(account_id: str, mark: str, count: int = 400, seed: int = 6) -> Trade:
    """Two months of requests."""
    draw, prices = random.Random(f"{seed}{mark}"), PriceBook.load()
    found = Trade(account_id, mark)
    customers = [found.name(each) for each in ("pro", "metered", "graduated", "free", "off")]
    customers += [f"_internal-{mark}"]
    features = [found.name("search"), found.name("chat")]
    for number in range(count):
        started_ms = SINCE_MS + draw.randrange(UNTIL_MS - SINCE_MS)
        model = draw.choice(MODELS)
        unpriced, failed = number % 23 == 4, number % 13 == 5
        if unpriced:
            model = UNPRICED_MODEL
        usage = Usage(
            input_tokens=draw.randrange(100, 4_000),
            cache_read_input_tokens=draw.randrange(0, 100),
            output_tokens=draw.randrange(1, 900),
        )
        price = prices.find("openai", model, started_ms)
        cost = None if price is None else price.cost_of(usage)
        kinds = ["primary"] if number % 7 else ["primary", "retry" if number % 2 else "fallback"]
        attempts = [
            Attempt(
                kind=kind,
                provider=PROVIDER,
                model=model,
                status="succeeded" if kind == kinds[-1] and not failed else "failed",
                usage=usage.document(),
                usage_source="provider",
                cost_nano=None if cost is None else cost.nano,
                cost_status="unpriced" if cost is None else "estimated" if number % 17 == 3 else "priced",
                breakdown=[] if cost is None else [dict(line._asdict()) for line in cost.lines],
                started_ms=started_ms,
                ended_ms=started_ms + 400,
            )
            for kind in kinds
        ]
        lost = attempts if failed else attempts[:-1]
        customer = draw.choice([*customers, None])
        found.events.append(
            CostEvent(
                id=new_id(),
                account_id=account_id,
                key_id=found.name(f"key-{number % 3}"),
                customer=customer,
                workspace=found.name(f"space-{number % 2}") if customer and number % 3 else None,
                feature=draw.choice([*features, None]),
                route=found.name("route") if number % 2 else None,
                route_final=found.name("route") if number % 2 else model,
                provider=PROVIDER,
                model=model,
                status="failed" if failed else "succeeded",
                outcome="failure" if failed else "success",
                usage=usage.document(),
                usage_source="provider",
                cost_nano=None if cost is None else sum(each.cost_nano or 0 for each in attempts),
                cost_status="unpriced" if cost is None else "priced",
                wasted_nano=sum(each.cost_nano or 0 for each in lost),
                revenue_nano=7_000_000 if number % 19 == 2 else None,
                started_ms=started_ms,
                ended_ms=started_ms + 400,
                source="sdk" if number % 5 == 0 else "gateway",
                attempts=attempts,
            )
        )
    return found


def record(engine: Engine, store: EventStore, plans: PlanBook, customers: CustomerBook, of: Trade) -> None:
    """Plans, customers and subscriptions; then the requests with what is owed for each, and a correction."""
    search = of.name("search")
    tiers = (Tier(20_000, 3_000, 0), Tier(None, 1_000, 5 * USD))
    plans.put_plan(plan(of.name("flat"), 30))
    plans.put_plan(plan(of.name("usage"), 0, FeatureRate(search, "usage", 40_000)))
    plans.put_plan(plan(of.name("steps"), 5, FeatureRate(search, "graduated", tiers=tiers)))
    plans.put_plan(plan(of.name("gratis"), None))
    for name, on in (("pro", "flat"), ("metered", "usage"), ("graduated", "steps"), ("free", "gratis")):
        customers.add_customer(of.name(name), f"The {name} one")
        customers.subscribe(of.name(name), of.name(on), starts_ms=SINCE_MS + 9 * DAY_MS + HOUR_MS // 3)
    of.revenue = RateBook(engine.connect).for_batch(of.events)
    store.append(of.events, revenue=of.revenue)
    first = next(event for event in of.events if event.cost_nano is not None)
    of.corrected = first.id
    store.append_adjustments(
        [
            Adjustment(
                id=new_id(),
                event_id=first.id,
                account_id=of.account_id,
                at_ms=first.started_ms + 1,
                source="operator",
                reason="invoice",
                cost_delta_nano=CORRECTION_NANO,
            )
        ]
    )
