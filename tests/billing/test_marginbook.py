"""Margins over a real record of either engine: what was stored and rolled up, beside what is owed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine

from accounts.customerbook import CustomerBook
from accounts.featureprices import FeaturePrice
from accounts.planbook import PlanBook
from accounts.planprice import FeatureRate
from accounts.profile import Profile
from accounts.profilebook import ProfileBook
from billing.charges import PERIOD, PLAN_FEES
from billing.margin import MarginRow, MarginView
from billing.marginbook import FEW, MarginBook
from billing.ratebook import RateBook
from metering.database import Where
from metering.event import DEFAULT_ACCOUNT, CostEvent
from metering.eventstore import EventStore
from metering.ids import new_id
from tests.billing.made import DAY_MS, HOUR_MS, SEARCH, USD, at, graduated, plan

BEGIN, END = at("2026-04-01"), at("2026-05-01")
TIERS = graduated((1_000, 2_000, 0), (None, 1_000, 500))


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


@pytest.fixture
def rates(store: EventStore) -> RateBook:
    return RateBook(store.reading)


@pytest.fixture
def margins(store: EventStore) -> MarginBook:
    return MarginBook(store, now_ms=lambda: at("2030-01-01"))


def event(at_ms: int, customer: str | None = "acme", **fields: Any) -> CostEvent:
    known = {
        "feature": SEARCH,
        "cost_nano": 1_000,
        "cost_status": "priced",
        "usage": {"input_tokens": 6, "output_tokens": 4},
        "model": "m",
        "provider": "p",
        "route_final": "r",
        "key_id": "key_1",
    }
    return CostEvent(id=new_id(), customer=customer, started_ms=at_ms, **{**known, **fields})


def record(store: EventStore, rates: RateBook, events: Sequence[CostEvent], size: int = 1_000) -> None:
    for start in range(0, len(events), size):
        batch = events[start : start + size]
        store.append(batch, revenue=rates.for_batch(batch))


def row_of(view: MarginView, *key: str | None) -> MarginRow:
    return next(row for row in view.rows if row.key == key)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_d7_a_flat_plan_earns_the_same_whatever_the_traffic(
    store: EventStore,
    rates: RateBook,
    margins: MarginBook,
    plans: PlanBook,
    customers: CustomerBook,
    count: int,
) -> None:
    plans.put_plan(plan("flat", 30))
    customers.subscribe("acme", "flat", starts_ms=BEGIN - HOUR_MS)
    record(store, rates, [event(BEGIN + n * HOUR_MS) for n in range(count)])
    row = row_of(margins.margins(("customer",), BEGIN, END), "acme")
    assert (row.revenue_nano, row.events) == (30 * USD, count)
    assert row.margin_nano == 30 * USD - 1_000 * count
    assert row.reason is None


def test_d12_without_revenue_the_margin_is_none(
    store: EventStore, rates: RateBook, margins: MarginBook, plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(plan("unpriced", None))
    customers.subscribe("globex", "unpriced", starts_ms=BEGIN)
    record(
        store, rates, [event(BEGIN), event(BEGIN, "globex"), event(BEGIN, "_internal_ci"), event(BEGIN, None)]
    )
    view = margins.margins(("customer",), BEGIN, END)
    found = {row.key[0]: (row.revenue_nano, row.margin_nano, row.margin_pct, row.reason) for row in view.rows}
    unknown = (None, None, None, "no_revenue_source")
    assert found == {
        "acme": unknown,
        "globex": unknown,
        None: unknown,
        "_internal_ci": (None, None, None, "internal_customer"),
    }
    assert (view.total.margin_nano, view.total.reason) == (None, "no_revenue_source")
    assert view.total.cost_nano == 4_000


def test_a_customer_that_is_marked_as_the_operators_own_owes_nothing_while_it_is(
    store: EventStore,
    engine: Engine,
    rates: RateBook,
    margins: MarginBook,
    plans: PlanBook,
    customers: CustomerBook,
) -> None:
    plans.put_plan(plan("pro", 30, TIERS))
    for name in ("acme", "globex"):
        customers.subscribe(name, "pro", starts_ms=BEGIN)
    before = margins.margins(("customer",), BEGIN, END).total.fees_nano
    assert before == 60 * USD
    profiles = ProfileBook(engine, DEFAULT_ACCOUNT)
    profiles.put_profile("acme", Profile(internal=True))
    record(store, rates, [event(BEGIN), event(BEGIN + 1, "globex")])
    view = margins.margins(("customer",), BEGIN, END)
    acme, globex = row_of(view, "acme"), row_of(view, "globex")
    assert (acme.revenue_nano, acme.margin_nano, acme.reason) == (None, None, "internal_customer")
    assert (globex.fees_nano, globex.reason) == (30 * USD, None)
    assert view.total.revenue_nano == globex.revenue_nano
    assert view.total.cost_nano == acme.known_cost_nano + globex.known_cost_nano
    assert margins.margins(("feature",), BEGIN, END).total == view.total
    own = margins.profit_and_loss("acme", BEGIN, END)
    assert (own.plans, own.revenue, own.total.reason) == ((), (), "internal_customer")
    # No longer so: its plan is owed again. What was stored meanwhile stays without revenue.
    profiles.put_profile("acme", Profile())
    acme = row_of(margins.margins(("customer",), BEGIN, END), "acme")
    assert (acme.fees_nano, acme.revenue_known, acme.reason) == (30 * USD, 0, "revenue_partly_known")


def test_d13_who_overruns_keeps_its_cost_and_its_revenue_and_its_margin_goes_negative(
    store: EventStore, rates: RateBook, margins: MarginBook, plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(plan("metered", 0, FeatureRate(SEARCH, "usage", 10_000)))
    customers.subscribe("acme", "metered", starts_ms=BEGIN)
    # Reported after the fact, beyond any limit: nothing of it is zeroed.
    over = [event(BEGIN + n, source="sdk", cost_nano=500) for n in range(20)]
    record(store, rates, over)
    row = row_of(margins.margins(("customer",), BEGIN, END), "acme")
    assert (row.revenue_nano, row.cost_nano, row.margin_nano) == (2_000, 10_000, -8_000)
    assert row.margin_pct == Decimal("-400.0000")


def history(plans: PlanBook, customers: CustomerBook) -> list[CostEvent]:
    """Customers on every kind of plan, with late events, other names and unknown costs."""
    plans.put_feature_price(FeaturePrice("notes", at("2026-04-10"), 1_500))
    for made in (
        plan("flat", 30, time_zone="Europe/Berlin"),
        plan("tiers", 5, TIERS),
        plan("usage", 0, FeatureRate(SEARCH, "usage", 4_100)),
    ):
        plans.put_plan(made)
    customers.subscribe("acme", "tiers", starts_ms=BEGIN)
    customers.subscribe("acme", "usage", starts_ms=at("2026-04-20T05:30"))
    customers.subscribe("globex", "flat", starts_ms=at("2026-03-15"), ends_ms=at("2026-04-25T11:11"))
    customers.subscribe("initech", "tiers", starts_ms=at("2026-02-11"), anchor=11)
    names = ("acme", "globex", "initech", "nobody", "_internal_ci", None)
    return [
        event(
            BEGIN + n * 4 * HOUR_MS + n * 77_777,
            names[n % 6],
            feature=(SEARCH, "notes", None)[n % 5 % 3],
            usage_units=n * 7 if n % 4 else None,
            cost_nano=None if n % 17 == 3 else 900 + n,
            cost_status="unpriced" if n % 17 == 3 else "priced",
            model=f"m{n % 3}",
            route_final=f"r{n % 2}",
            workspace="w" if n % 9 == 0 else None,
            key_id=f"key_{n % 4}",
            revenue_nano=12_345 if n % 23 == 5 else None,
        )
        for n in range(170)
    ]


VIEWS = (
    ("customer",),
    ("feature",),
    ("model",),
    ("route",),
    ("provider",),
    ("plan",),
    ("workspace",),
    ("key",),
    ("customer", "feature"),
    ("plan", "model"),
    (),
)
SUMMED = ("events", "known_cost_nano", "unpriced", "event_nano", "revenue_known", "fees_nano", "period_nano")


def test_totals_are_the_sums_of_their_rows_and_the_same_in_every_view(
    store: EventStore, rates: RateBook, margins: MarginBook, plans: PlanBook, customers: CustomerBook
) -> None:
    events = history(plans, customers)
    record(store, rates, events)
    since_ms, until_ms = at("2026-04-03T07:07"), at("2026-04-27T22:22")
    totals = set()
    for dimensions in VIEWS:
        view = margins.margins(dimensions, since_ms, until_ms)
        for name in SUMMED:
            assert getattr(view.total, name) == sum(getattr(row, name) for row in view.rows), (
                dimensions,
                name,
            )
        totals.add(view.total)
    (total,) = totals
    inside = [each for each in events if since_ms <= each.started_ms < until_ms]
    assert total.events == len(inside)
    assert total.known_cost_nano == sum(each.cost_nano or 0 for each in inside)
    assert min(total.fees_nano, total.period_nano, total.event_nano) > 0
    by_customer = margins.margins(("customer",), since_ms, until_ms)
    for row in by_customer.rows:
        if row.key[0] is not None:
            own = margins.profit_and_loss(row.key[0], since_ms, until_ms)
            assert own.total == row
            assert sum(line.nano for line in own.revenue) == row.known_revenue_nano


@pytest.mark.parametrize("size", [13, 170])
def test_any_order_batches_and_spans_give_the_same(
    store: EventStore,
    rates: RateBook,
    margins: MarginBook,
    plans: PlanBook,
    customers: CustomerBook,
    size: int,
) -> None:
    events = history(plans, customers)
    record(store, rates, sorted(events, key=lambda each: each.started_ms % size), size)
    moments = [BEGIN, at("2026-04-02T03:04"), at("2026-04-10"), at("2026-04-19T23:59"), END]
    whole = margins.margins(("customer",), BEGIN, END)
    parts = [margins.margins(("customer",), a, b) for a, b in pairwise(moments)]
    for name in SUMMED:
        assert getattr(whole.total, name) == sum(getattr(part.total, name) for part in parts), name
    # $30 x 587 h 11 min / 720 h of globex, $5 x 461.5 h / 720 h of acme, and $5 of initech.
    assert whole.total.fees_nano == 24_465_972_222 + 3_204_861_111 + 5_000_000_000 + 1
    assert (whole.total.event_nano, whole.total.period_nano) == (108_064, 7_790)


def test_graduated_units_come_from_the_rollups_and_are_counted_by_period(
    store: EventStore, rates: RateBook, margins: MarginBook, plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(plan("tiers", 0, TIERS))
    customers.subscribe("acme", "tiers", starts_ms=BEGIN)
    record(
        store,
        rates,
        [
            event(at("2026-04-05T10:30"), usage_units=900),
            event(at("2026-04-20T10:30"), usage_units=200),
            event(at("2026-04-20T10:31"), usage_units=999, feature="notes"),  # included
            event(at("2026-05-05T10:30"), usage_units=1_000),
        ],
    )

    def charged(since: str, until: str) -> dict[str, int]:
        found = margins.charges(at(since), at(until))
        return {each.kind: each.nano for each in found}

    assert charged("2026-04-01", "2026-05-01") == {PLAN_FEES: 0, PERIOD: 2_000 + 100 + 500}
    assert charged("2026-04-01", "2026-04-15") == {PLAN_FEES: 0, PERIOD: 1_800}
    assert charged("2026-04-20T10:30", "2026-05-01") == {PLAN_FEES: 0, PERIOD: 200 + 100 + 500}
    assert charged("2026-05-01", "2026-06-01") == {PLAN_FEES: 0, PERIOD: 2_000}
    assert charged("2026-04-01", "2026-06-01") == {PLAN_FEES: 0, PERIOD: 4_600}


def test_what_is_to_come_is_not_earned_yet(
    store: EventStore, plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(plan("flat", 30))
    customers.subscribe("acme", "flat", starts_ms=BEGIN)
    half = MarginBook(store, now_ms=lambda: at("2026-04-16"))
    assert [each.nano for each in half.charges(BEGIN, END)] == [15 * USD]
    assert half.charges(at("2026-04-16"), END) == half.charges(END, BEGIN) == []


def test_many_customers_are_asked_for_together_and_give_the_same(
    store: EventStore, rates: RateBook, margins: MarginBook, plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(plan("tiers", 1, TIERS))
    names = [f"c{n}" for n in range(FEW + 3)]
    for name in names:
        customers.subscribe(name, "tiers", starts_ms=BEGIN)
    record(store, rates, [event(BEGIN + n, names[n % len(names)], usage_units=n * 13) for n in range(60)])
    view = margins.margins(("customer",), BEGIN, END)
    assert [row.period_nano for row in sorted(view.rows, key=lambda row: row.key[0] or "")] == [
        margins.profit_and_loss(name, BEGIN, END).total.period_nano for name in sorted(names)
    ]
    assert view.total.period_nano > 0


def test_accounts_see_their_own_alone(
    store: EventStore, rates: RateBook, margins: MarginBook, plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(plan("flat", 30))
    customers.subscribe("acme", "flat", starts_ms=BEGIN)
    record(store, rates, [event(BEGIN), event(BEGIN, account_id="other")])
    other = MarginBook(store, "other")
    assert [row.reason for row in other.margins(("customer",), BEGIN, END).rows] == ["no_revenue_source"]
    assert other.charges(BEGIN, END) == []
    assert other.profit_and_loss("acme", BEGIN, END).total.margin_nano is None
    assert margins.margins(("customer",), BEGIN, END).total.events == 1


def test_what_a_period_used_is_counted_from_its_first_hour_where_the_clock_is_put_back_in_it(
    store: EventStore, rates: RateBook, margins: MarginBook, plans: PlanBook, customers: CustomerBook
) -> None:
    # October in Berlin has 31 days and an hour. Another version begins in its first hour and counts on.
    first, after = at("2026-10-01", "Europe/Berlin"), at("2026-11-01", "Europe/Berlin")
    plans.put_plan(plan("pro", 0, graduated((10, 2_000_000, 0), (None, 1_000, 0)), time_zone="Europe/Berlin"))
    plans.put_plan(plan("pro", 1, graduated((10, 2_000_000, 0), (None, 1_000, 0)), time_zone="Europe/Berlin"))
    customers.subscribe("acme", "pro", version=1, starts_ms=first - 40 * DAY_MS)
    customers.subscribe("acme", "pro", version=2, starts_ms=first + HOUR_MS // 2)
    record(store, rates, [event(first + 1), event(after - 1)])
    whole = row_of(margins.margins(("customer",), first, after), "acme").period_nano
    parts = [
        row_of(margins.margins(("customer",), since_ms, until_ms), "acme").period_nano
        for since_ms, until_ms in pairwise((first, after - HOUR_MS // 4, after))
    ]
    assert (whole, parts) == (20_000 + 10, [20_000, 10])


def test_use_under_a_version_without_a_price_counts_for_the_tiers_of_the_next_one(
    store: EventStore, rates: RateBook, margins: MarginBook, plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(plan("pro", None))
    plans.put_plan(plan("pro", 0, graduated((10, 2_000_000, 0), (None, 1_000, 0))))
    customers.subscribe("acme", "pro", version=1, starts_ms=BEGIN)
    customers.subscribe("acme", "pro", version=2, starts_ms=BEGIN + HOUR_MS)
    record(store, rates, [event(BEGIN), event(BEGIN + HOUR_MS)])
    row = row_of(margins.margins(("customer",), BEGIN, END), "acme")
    assert (row.period_nano, row.revenue_known, row.reason) == (10, 1, "revenue_partly_known")
