"""Analytics over a real installation: every total is the sum of its rows and of the requests themselves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest

from accounts.customerbook import CustomerBook
from accounts.planbook import PlanBook
from budgets.limit import check_terms
from gateway.api.analytics import ANALYTICS
from gateway.settings import PriceOverride
from metering.database import open_database
from metering.event import CostEvent
from metering.eventstore import EventStore
from simulator.process import Simulator
from tests.billing.made import DAY_MS, USD, at
from tests.gateway.api.asking import Asker, all_pages
from tests.gateway.api.trade import PROVIDER, SPAN, UNPRICED_MODEL, Trade, record, trade
from tests.gateway.conftest import simulated_settings
from tests.stack import ACCOUNT, Stack, running_stack

OTHER = "acc_other"
SCOPES = ("usage.read", "models.read")
NAMES = ("customer", "feature", "model", "route", "provider", "plan", "workspace", "key")
SUMMED = ("requests", "successes", "failures", "attempts", "tasks", "task_successes", "input_tokens")
SUMMED_NANO = ("doubted", "wasted", "usage_revenue", "plan_fees", "period_charges")
PRICES = [
    PriceOverride(provider="openai", model="house-model", usd_per_million={"input_tokens": "3"}),
    PriceOverride(provider="openai", model="own-model", account=OTHER, usd_per_million={"input_tokens": "2"}),
]


@pytest.fixture(scope="module")
def trades(stack: Stack) -> dict[str, Trade]:
    """Both accounts' records."""
    found = {ACCOUNT: trade(ACCOUNT, "one"), OTHER: trade(OTHER, "two", count=120)}
    engine, store = open_database(stack.database), EventStore(stack.database)
    for account_id, each in found.items():
        plans = PlanBook(engine, None, check_terms, account_id=account_id)
        customers = CustomerBook(engine, None, check_terms, account_id=account_id)
        record(engine, store, plans, customers, each)
    store.close()
    engine.dispose()
    return found


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    settings = simulated_settings(simulator, prices=PRICES)
    with running_stack(settings, api=ANALYTICS) as started:
        yield started


@pytest.fixture(scope="module")
def mine(trades: dict[str, Trade]) -> Trade:
    return trades[ACCOUNT]


@pytest.fixture
def ask(stack: Stack, http: httpx2.Client, trades: dict[str, Trade]) -> Asker:
    return Asker(http, stack.key(scopes=SCOPES))


@pytest.fixture
def ask_other(stack: Stack, http: httpx2.Client, trades: dict[str, Trade]) -> Asker:
    return Asker(http, stack.key(scopes=SCOPES, account_id=OTHER))


def nano(row: dict[str, Any], name: str) -> int:
    """An amount, which is told twice alike; null is 0 here."""
    told = row[f"{name}_nano"]
    if told is None:
        assert row[name] is None
        return 0
    assert row[name] * 10**9 == int(told)
    return int(told)


def assert_sum(rows: list[dict[str, Any]], total: dict[str, Any]) -> None:
    """The total is the sum of the rows, figure by figure."""
    for name in SUMMED:
        assert sum(row[name] for row in rows) == total[name], name
    for name in (*SUMMED_NANO, "cost", "revenue"):
        assert sum(nano(row, name) for row in rows) == nano(total, name), name


def test_every_view_has_the_same_total_which_is_that_of_the_requests(ask: Asker, mine: Trade) -> None:
    totals = []
    for name in NAMES:
        answer = ask.get(f"/api/analytics/by-{name}", limit=200, **SPAN)
        assert_sum(answer["rows"], answer["total"])
        assert answer["row_count"] == len(answer["rows"])
        totals.append(answer["total"])
    assert all(total == totals[0] for total in totals)
    total = totals[0]
    assert total["requests"] == total["tasks"] == len(mine.events)
    assert nano(total, "cost") == mine.costs(mine.events)
    assert nano(total, "wasted") == sum(event.wasted_nano for event in mine.events)
    assert total["unpriced"] == len(mine.of(model=UNPRICED_MODEL))
    assert nano(total, "usage_revenue") == mine.revenues(mine.events)
    parts = ("usage_revenue", "plan_fees", "period_charges")
    assert nano(total, "revenue") == sum(nano(total, part) for part in parts)
    assert nano(total, "margin") == nano(total, "revenue") - nano(total, "cost")
    assert (total["cost_reason"], total["margin_reason"]) == ("partly_priced", "cost_partly_known")
    # 30 and 5 dollars a month, from the tenth of March at 00:20 until the end of April.
    part = 35 * USD * (22 * DAY_MS - 20 * 60_000) / (31 * DAY_MS)
    assert abs(nano(total, "plan_fees") - 35 * USD - part) <= 1
    assert nano(total, "period_charges") > 0


@pytest.mark.parametrize(
    ("dimension", "field"),
    [("customer", "customer"), ("feature", "feature"), ("model", "model"), ("key", "key_id")],
)
def test_each_row_is_that_of_its_requests(ask: Asker, mine: Trade, dimension: str, field: str) -> None:
    rows = ask.get(f"/api/analytics/by-{dimension}", limit=200, **SPAN)["rows"]
    groups: dict[str | None, list[CostEvent]] = {}
    for event in mine.events:
        groups.setdefault(getattr(event, field), []).append(event)
    seen = {row["group"][dimension]: row for row in rows if row["kind"] == "events"}
    assert set(seen) == set(groups)
    for name, events in groups.items():
        row = seen[name]
        assert (row["requests"], nano(row, "cost")) == (len(events), mine.costs(events))
        assert nano(row, "usage_revenue") == mine.revenues(events)
        known = [event for event in events if mine.revenue(event) is not None]
        assert row["revenue_requests"] == len(known)
        if not known and not nano(row, "plan_fees"):
            assert row["revenue"] is row["margin"] is None or row["plan_fees_nano"] == "0"
        if row["margin"] is not None and row["revenue"]:
            percent = 100 * Decimal(nano(row, "margin")) / nano(row, "revenue")
            assert row["margin_pct"] == percent.quantize(Decimal("0.0001"))
    internal = seen.get("_internal-one")
    if internal is not None:
        assert (internal["margin"], internal["margin_reason"]) == (None, "internal_customer")


def test_a_customer_without_a_source_of_revenue_has_no_margin(ask: Asker) -> None:
    params = {"by": "feature,model,day", "customer_id": "one-free", "limit": 200, **SPAN}
    rows = ask.get("/api/analytics/breakdown", **params)["rows"]
    # Some of its requests told an amount; all others have none.
    unknown = [row for row in rows if not row["revenue_requests"]]
    assert 0 < len(unknown) < len(rows)
    for row in unknown:
        assert (row["revenue"], row["margin"], row["margin_pct"]) == (None, None, None)
        assert row["margin_reason"] == "no_revenue_source"
        assert row["cost_reason"] in (None, "no_cost_known", "partly_priced")


def test_by_several_names_and_day(ask: Asker, mine: Trade) -> None:
    params = {"by": "feature,model,day", **SPAN}
    rows = all_pages(ask, "/api/analytics/breakdown", "rows", limit=97, **params)
    answer = ask.get("/api/analytics/breakdown", limit=1, **params)
    assert answer["row_count"] == len(rows)
    assert_sum(rows, answer["total"])
    assert answer["total"] == ask.get("/api/analytics/by-plan", limit=1, **SPAN)["total"]
    for row in rows[:40]:
        if row["kind"] == "events":
            day = row["group"]["day"]
            events = [
                event
                for event in mine.of(feature=row["group"]["feature"], model=row["group"]["model"])
                if datetime.fromtimestamp(event.started_ms / 1_000, UTC).strftime("%Y-%m-%d") == day
            ]
            assert (row["requests"], nano(row, "cost")) == (len(events), mine.costs(events))


def test_days_of_a_time_zone(ask: Asker, mine: Trade) -> None:
    params = {"by": "day", "tz": "Europe/Berlin", "date_from": "2026-03-20", "date_to": "2026-04-10"}
    answer = ask.get("/api/analytics/breakdown", limit=200, **params)
    assert_sum(answer["rows"], answer["total"])
    zone = ZoneInfo("Europe/Berlin")
    days: dict[str, int] = {}
    for event in mine.events:
        if at("2026-03-20") <= event.started_ms < at("2026-04-10"):
            day = datetime.fromtimestamp(event.started_ms / 1_000, zone).strftime("%Y-%m-%d")
            days[day] = days.get(day, 0) + mine.cost(event)
    found = {row["group"]["day"]: nano(row, "cost") for row in answer["rows"] if row["kind"] == "events"}
    assert found == days
    refused = ask.get("/api/analytics/breakdown", status=400, **{**params, "tz": "Asia/Kolkata"})
    assert refused["param"] == "tz"
    assert "whole hour" in refused["error"]
    assert ask.get("/api/analytics/breakdown", status=400, **{**params, "tz": "Mars/Base"})["param"] == "tz"


def test_filters_part_the_whole(ask: Asker, mine: Trade) -> None:
    whole = ask.get("/api/analytics/by-model", limit=200, **SPAN)["total"]
    parts = [
        ask.get("/api/analytics/by-feature", limit=200, customer_id=customer, **SPAN)["total"]
        for customer in {event.customer for event in mine.events if event.customer is not None}
    ]
    nobody = mine.of(customer=None)
    assert sum(part["requests"] for part in parts) + len(nobody) == whole["requests"]
    assert sum(nano(part, "cost") for part in parts) + mine.costs(nobody) == nano(whole, "cost")
    assert sum(nano(part, "plan_fees") for part in parts) == nano(whole, "plan_fees")
    assert sum(nano(part, "period_charges") for part in parts) == nano(whole, "period_charges")
    flat = ask.get("/api/analytics/by-customer", plan="one-flat", **SPAN)
    assert [row["group"]["customer"] for row in flat["rows"]] in ([], ["one-pro"])
    none_at_all = ask.get("/api/analytics/by-model", model="gpt-4o", customer_id="one-pro", **SPAN)
    assert none_at_all["total"]["plan_fees_nano"] == "0"


@pytest.mark.wide
def test_a_cursor_goes_on_in_every_order_and_nowhere_else(ask: Asker, ask_other: Asker) -> None:
    path, params = "/api/analytics/breakdown", {"by": "customer,feature", **SPAN}
    for sort_by, sort_dir in itertools.product(("cost", "margin", "name"), ("asc", "desc")):
        order = {"sort_by": sort_by, "sort_dir": sort_dir}
        whole = ask.get(path, limit=200, **params, **order)["rows"]
        assert all_pages(ask, path, "rows", limit=4, **params, **order) == whole
    cursor = ask.get(path, limit=2, **params)["next_cursor"]
    for other in ({"by": "feature,customer"}, {"sort_by": "revenue"}, {"model": "gpt-4o"}):
        answer = ask.get(path, status=400, cursor=cursor, limit=2, **{**params, **other})
        assert answer["code"] == "invalid_cursor"
    assert ask_other.get(path, status=400, cursor=cursor, limit=2, **params)["code"] == "invalid_cursor"


def test_names_that_no_sums_know_need_a_short_span(ask: Asker, mine: Trade) -> None:
    params = {"by": "key,customer", "date_from": "2026-03-10"}
    refused = ask.get("/api/analytics/breakdown", status=400, date_to="2026-04-10", **params)
    assert refused["code"] == "span_too_long"
    answer = ask.get("/api/analytics/breakdown", date_to="2026-03-17", limit=200, **params)
    inside = [event for event in mine.events if at("2026-03-10") <= event.started_ms < at("2026-03-17")]
    assert answer["total"]["requests"] == len(inside)
    assert nano(answer["total"], "cost") == mine.costs(inside)


def test_overview(ask: Asker, mine: Trade) -> None:
    answer = ask.get("/api/analytics/overview", date_from="2026-04-01", date_to="2026-05-01")
    april = [event for event in mine.events if event.started_ms >= at("2026-04-01")]
    # The span before has as many days: the last thirty of March.
    march = [event for event in mine.events if at("2026-03-02") <= event.started_ms < at("2026-04-01")]
    assert answer["previous_since"] == "2026-03-02T00:00:00.000Z"
    for kpis, events in ((answer["current"], april), (answer["previous"], march)):
        active = {event.customer for event in events if event.customer is not None}
        named = mine.costs(event for event in events if event.customer is not None)
        assert (kpis["requests"], nano(kpis, "cost")) == (len(events), mine.costs(events))
        assert kpis["active_customers"] == len(active)
        assert abs(nano(kpis, "cost_per_active_customer") * len(active) - named) <= len(active)
        assert nano(kpis, "cost_of_nobody") == mine.costs(events) - named
        successes = sum(event.outcome == "success" for event in events)
        assert kpis["task_successes"] == successes
        assert abs(nano(kpis, "cost_per_successful_task") * successes - mine.costs(events)) <= successes
    waste = answer["waste"]
    failed = sum(event.wasted_nano for event in april if event.status == "failed")
    assert nano(waste, "failed") == failed
    split = sum(nano(waste, part) for part in ("failed", "retried", "fallback", "other"))
    assert split == nano(answer["current"], "wasted")
    assert nano(waste, "retried") > 0
    assert nano(waste, "fallback") > 0
    estimated = [
        attempt.cost_nano or 0
        for event in april
        for attempt in event.attempts
        if attempt.cost_status == "estimated"
    ]
    assert nano(answer, "estimated") == sum(estimated) > 0


def test_customers_profit_and_loss(ask: Asker, mine: Trade) -> None:
    customers = all_pages(ask, "/api/analytics/customer-pnl", "customers", limit=3, **SPAN)
    margins = [each["margin_nano"] for each in customers]
    known = [int(margin) for margin in margins if margin is not None]
    assert known == sorted(known)
    assert margins[len(known) :] == [None] * (len(margins) - len(known))
    whole = ask.get("/api/analytics/customer-pnl", limit=1, **SPAN)
    assert_sum(customers, whole["total"])
    for each in customers:
        events = mine.of(customer=each["customer_id"])
        assert (each["event_count"], nano(each, "total_cost")) == (len(events), mine.costs(events))
        features: dict[str | None, int] = {}
        for event in events:
            features[event.feature] = features.get(event.feature, 0) + mine.cost(event)
        assert each["top_cost_feature"] == max(features, key=lambda name: features[name])
        margin = each["margin_nano"]
        assert each["unprofitable"] is (None if margin is None else int(margin) < 0)


@pytest.mark.parametrize("customer", ["one-pro", "one-metered", "one-graduated", "one-free"])
def test_one_customers_parts_are_its_whole(ask: Asker, mine: Trade, customer: str) -> None:
    answer = ask.get(f"/api/analytics/customer-pnl/{customer}", **SPAN)
    total = answer["total"]
    assert nano(total, "cost") == mine.costs(mine.of(customer=customer))
    for part in ("by_feature", "by_model", "by_day"):
        assert_sum(answer[part], total)
    assert sum(nano(line, "revenue") for line in answer["revenue_lines"]) == nano(total, "revenue")
    assert len(answer["by_day"]) == 61
    assert answer["customer_name"] == f"The {customer.removeprefix('one-')} one"
    kinds = {line["kind"] for line in answer["revenue_lines"]}
    expected = {"one-pro": {"plan_fees"}, "one-graduated": {"plan_fees", "period"}}
    assert expected.get(customer, set()) <= kinds


def test_a_customer_that_is_not_there_is_not_found(ask: Asker, ask_other: Asker) -> None:
    assert ask.get("/api/analytics/customer-pnl/stranger", status=404, **SPAN) == ask_other.get(
        "/api/analytics/customer-pnl/one-pro", status=404, **SPAN
    )


def test_trends_add_up(ask: Asker, mine: Trade) -> None:
    whole = ask.get("/api/analytics/by-model", **SPAN)["total"]
    for path in ("trends", "margin-trends"):
        answer = ask.get(f"/api/analytics/{path}", months=3, date_to="2026-05-01")
        assert [row["month"] for row in answer["trends"]] == ["2026-02", "2026-03", "2026-04"]
        assert_sum(answer["trends"], answer["total"])
        assert nano(answer["total"], "revenue") == nano(whole, "revenue")
        assert nano(answer["total"], "cost") == nano(whole, "cost")
    march = [event for event in mine.events if event.started_ms < at("2026-04-01")]
    row = answer["trends"][1]
    assert (row["event_count"], nano(row, "cost")) == (len(march), mine.costs(march))
    assert row["active_customers"] == len({event.customer for event in march} - {None})
    assert row["active_features"] == len({event.feature for event in march} - {None})
    assert row["models_used"] == len({event.model for event in march})
    daily = ask.get("/api/analytics/trends", months=2, by="day", date_to="2026-05-01")
    assert len(daily["trends"]) == 61
    assert_sum(daily["trends"], daily["total"])
    assert daily["total"] == answer["total"]
    berlin = ask.get(
        "/api/analytics/trends", months=1, by="day", tz="Europe/Berlin", date_to="2026-04-10T22:00:00Z"
    )
    assert [row["day"] for row in berlin["trends"]][::9] == ["2026-04-01", "2026-04-10"]
    assert_sum(berlin["trends"], berlin["total"])


def test_runaway_workspaces(ask: Asker, mine: Trade) -> None:
    answer = ask.get("/api/analytics/runaway-workspaces", days=5, before=4, date_to="2026-04-20", limit=200)
    last, first = at("2026-04-20"), at("2026-03-26")
    recent: dict[tuple[str, str], int] = {}
    earlier: dict[tuple[str, str], int] = {}
    for event in mine.events:
        if event.customer is None or not first <= event.started_ms < last:
            continue
        place = (event.customer, event.workspace or "")
        into = recent if event.started_ms >= last - 5 * DAY_MS else earlier
        into[place] = into.get(place, 0) + mine.cost(event)
    growth = {place: cost * 4 - earlier.get(place, 0) for place, cost in recent.items()}
    expected = sorted((place for place in growth if growth[place] > 0), key=lambda place: -growth[place])
    rows = answer["workspaces"]
    assert [(row["customer_id"], row["workspace"] or "") for row in rows] == expected
    assert answer["growing"] == len(expected) > 1
    for row, place in zip(rows, expected, strict=True):
        assert abs(nano(row, "growth") * 4 - growth[place]) <= 2
        assert nano(row, "cost") == recent[place]


def test_models_and_features(ask: Asker, mine: Trade) -> None:
    answer = ask.get("/api/models", **SPAN)
    assert_sum(answer["models"], answer["total"])
    for row in answer["models"]:
        events = mine.of(provider=row["provider"], model=row["model"])
        assert (row["event_count"], nano(row, "cost")) == (len(events), mine.costs(events))
        if row["model"] == UNPRICED_MODEL:
            assert (row["cost"], row["cost_reason"]) == (None, "no_cost_known")
            assert row["avg_cost_per_event"] is None
    rows = ask.get("/api/analytics/by-feature", **SPAN)["rows"]
    search = next(row for row in rows if row["group"] == {"feature": "one-search"})
    detail = ask.get("/api/analytics/features/one-search", **SPAN)
    assert all(detail[name] == value for name, value in search.items() if name not in ("kind", "group"))
    for part in ("by_customer", "by_model", "timeseries"):
        assert sum(row["requests"] for row in detail[part]) == search["requests"]
        assert sum(nano(row, "cost") for row in detail[part]) == nano(search, "cost")
    events = mine.of(feature="one-search")
    assert detail["customer_count"] == len({event.customer for event in events} - {None})
    last = max(event.started_ms for event in events)
    assert detail["last_seen"][:19] == datetime.fromtimestamp(last / 1_000, UTC).isoformat()[:19]
    assert ask.get("/api/analytics/features/two-search", status=404, **SPAN)["code"] == "not_found"


def test_the_account_in_a_few_figures(ask: Asker, mine: Trade) -> None:
    answer = ask.get("/api/metrics/summary")
    assert (answer["total_customers"], answer["active_subscriptions"]) == (4, 3)
    assert (nano(answer, "mrr"), nano(answer, "arr")) == (35 * USD, 420 * USD)
    assert (answer["paying_customers"], nano(answer, "arpc")) == (2, 17_500_000_000)
    answer = ask.get("/api/metrics/source-breakdown", **SPAN)
    told = {row["source"]: (row["event_count"], nano(row, "cost")) for row in answer["sources"]}
    for source in ("gateway", "sdk"):
        events = mine.of(source=source)
        assert told[source] == (len(events), mine.costs(events))
    assert answer["total_events"] == len(mine.events)


def test_cost_by_token_type_is_the_whole_cost(ask: Asker, mine: Trade) -> None:
    answer = ask.get("/api/analytics/cost-by-token-type", **SPAN)
    rows = {row["token_type"]: row for row in answer["breakdown"]}
    assert sum(nano(row, "cost") for row in rows.values()) == nano(answer, "total_cost")
    assert nano(answer, "total_cost") == mine.costs(mine.events)
    assert nano(rows["corrections"], "cost") == 4_321
    output = [
        line
        for event in mine.events
        for attempt in event.attempts
        for line in attempt.breakdown
        if line["unit"] == "output_tokens"
    ]
    assert rows["output_tokens"]["quantity"] == sum(line["quantity"] for line in output)
    assert nano(rows["output_tokens"], "cost") == sum(line["cost_nano"] for line in output)
    some = ask.get("/api/analytics/cost-by-token-type", customer_id="one-pro", **SPAN)
    assert nano(some, "total_cost") == mine.costs(mine.of(customer="one-pro"))


def test_prices_in_force_at_a_moment(ask: Asker, ask_other: Asker) -> None:
    asked = {"provider": "openai", "model": "gpt-4o", "at": "2026-03-01"}
    (model,) = ask.get("/api/pricing/models", **asked)["models"]
    rates = {rate["unit"]: rate for rate in model["rates"] if rate["service_tier"] is None}
    assert rates["input_tokens"]["price_pico"] == "2500000"
    assert rates["input_tokens"]["price_usd"] == "0.0000025"
    assert rates["input_tokens"]["origin"] == "list"
    assert rates["input_tokens"]["source"].startswith("http")
    for moment, pico in (("2025-06-09T23:59:59.999Z", "10000000"), ("2025-06-10", "2000000")):
        (changed,) = ask.get("/api/pricing/models", provider="openai", model="o3", at=moment)["models"]
        told = next(rate for rate in changed["rates"] if rate["unit"] == "input_tokens")
        assert told["price_pico"] == pico
    assert told["effective_from"] == "2025-06-10T00:00:00.000Z"
    assert ask.get("/api/pricing/models", provider="openai", model="nothing")["models"] == []
    listed = all_pages(ask, "/api/pricing/models", "models", provider="openai", limit=60)
    names = [each["model"] for each in listed]
    assert names == sorted(set(names))
    assert "house-model" in names
    assert "own-model" not in names
    (own,) = ask_other.get("/api/pricing/models", provider="openai", model="own-model")["models"]
    assert own["rates"][0]["origin"] == "account"
    assert ask.get("/api/pricing/models", provider="openai", model="own-model")["models"] == []


@pytest.mark.wide
def test_every_analysis_is_of_the_own_account_alone(
    ask: Asker, ask_other: Asker, trades: dict[str, Trade]
) -> None:
    examples = {"dimension": "customer", "customer": "{mark}-pro", "feature": "{mark}-search"}
    queries = {
        "/api/analytics/breakdown": {"by": "customer,feature,plan", "limit": 200, **SPAN},
        "/api/analytics/trends": {"months": 6, "date_to": "2026-05-01"},
        "/api/analytics/margin-trends": {"months": 6, "date_to": "2026-05-01"},
        "/api/analytics/runaway-workspaces": {"date_to": "2026-04-20", "days": 9},
        "/api/pricing/models": {"provider": "openai", "limit": 200},
        "/api/metrics/summary": {},
    }
    for endpoint in ANALYTICS:
        for asker, own, foreign in ((ask, ACCOUNT, OTHER), (ask_other, OTHER, ACCOUNT)):
            marks = {True: trades[own].mark, False: trades[foreign].mark}
            for mark in marks.values():
                path = endpoint.path
                for name, value in examples.items():
                    path = path.replace("{" + name + "}", value.format(mark=mark))
                hers = "{customer}" in endpoint.path or "{feature}" in endpoint.path
                status = 404 if hers and mark == marks[False] else 200
                if endpoint.method == "POST":
                    assert endpoint.body is not None
                    body = endpoint.body.model_json_schema()["examples"][0]
                    if "days" in body:
                        body = {**body, **SPAN}
                        body.pop("days")
                    answer = asker.post(path, body, status=status)
                else:
                    query = queries.get(endpoint.path, SPAN)
                    answer = asker.get(path, status=status, **query)
                text = str(answer)
                assert f"{marks[False]}-" not in text, path


def test_simulation_needs_something_to_change(ask: Asker) -> None:
    assert "swaps" in ask.post("/api/simulations/price", dict(SPAN), status=400)["error"]


def test_the_same_prices_change_nothing(ask: Asker, mine: Trade) -> None:
    """Priced anew from its usage, every request costs what was recorded."""
    swaps = [
        {"model": model, "to_provider": PROVIDER, "to_model": model} for model in ("gpt-4o", "gpt-4o-mini")
    ]
    answer = ask.post("/api/simulations/price", {**SPAN, "swaps": swaps, "by": "customer"})
    total = answer["total"]
    assert nano(total["before"], "cost") == nano(total["after"], "cost") == mine.costs(mine.events)
    assert total["changed"] == len(mine.events) - len(mine.of(model=UNPRICED_MODEL))
    assert total["not_computable"] == len(mine.of(model=UNPRICED_MODEL))
    assert total["not_computable_reasons"] == {"unpriced": total["not_computable"]}
    assert total["not_reproduced"] == 0
    for row in answer["rows"]:
        assert nano(row["before"], "cost") == mine.costs(mine.of(customer=row["name"]))
    assert sum(row["requests"] for row in answer["rows"]) == len(mine.events)


def test_another_model_and_another_price(ask: Asker, mine: Trade) -> None:
    dearer = {"provider": PROVIDER, "model": "gpt-4o-mini", "usd_per_million": {"output_tokens": "6.00"}}
    swap = {"model": "gpt-4o", "to_provider": "openai", "to_model": "gpt-4o-mini"}
    body = {**SPAN, "swaps": [swap], "prices": [dearer]}
    answer = ask.post("/api/simulations/price", body)
    rows = {row["name"]: row for row in answer["rows"]}
    for model, events in (("gpt-4o", mine.of(model="gpt-4o")), ("gpt-4o-mini", mine.of(model="gpt-4o-mini"))):
        after = 0
        for event in events:
            for attempt in event.attempts:
                usage = attempt.usage or {}
                fresh = usage["input_tokens"] - usage.get("cache_read_input_tokens", 0)
                pico = fresh * 150_000 + usage.get("cache_read_input_tokens", 0) * 75_000
                pico += usage["output_tokens"] * 6_000_000
                after += round(pico / 1_000) if pico % 1_000 != 500 else pico // 2_000 * 2
            after += mine.cost(event) - event.known_nano
        assert nano(rows[model]["before"], "cost") == mine.costs(events)
        assert nano(rows[model]["after"], "cost") == after
        assert nano(rows[model], "cost_change") == after - mine.costs(events)
    assert sum(nano(row["after"], "cost") for row in rows.values()) == nano(answer["total"]["after"], "cost")


def test_another_price_for_customers(ask: Asker, mine: Trade) -> None:
    prices = [{"feature_key": "one-search", "price_per_unit": "0.00000005"}]
    answer = ask.post("/api/simulations/price", {**SPAN, "feature_prices": prices, "by": "feature"})
    row = next(row for row in answer["rows"] if row["name"] == "one-search")
    expected = skipped = 0
    for event in mine.of(feature="one-search"):
        stamped = mine.revenue(event)
        if event.customer is None or event.customer.startswith("_internal"):
            continue
        if stamped is not None and stamped[1] == "explicit":
            expected += stamped[0]
        elif stamped is not None and stamped[1] == "plan_period":
            skipped += 1
        else:
            expected += event.units * 50
    assert nano(row["after"], "revenue") == expected + sum(
        found[0]
        for event in mine.of(feature="one-search", customer=None)
        if (found := mine.revenue(event)) is not None
    )
    assert row["revenue_not_computable"] == skipped > 0
    assert nano(row["before"], "cost") == nano(row["after"], "cost")


def test_what_cannot_be_priced_is_counted_and_not_guessed(ask: Asker, mine: Trade) -> None:
    swap = {"model": "gpt-4o", "to_provider": "openai", "to_model": "no-such-model"}
    total = ask.post("/api/simulations/price", {**SPAN, "swaps": [swap]})["total"]
    left = len(mine.of(model="gpt-4o")) + len(mine.of(model=UNPRICED_MODEL))
    assert (total["not_computable"], total["not_computable_reasons"]) == (left, {"unpriced": left})
    assert nano(total["before"], "cost") == mine.costs(mine.of(model="gpt-4o-mini"))
    assert nano(total, "cost_change") == 0


def test_the_calculator_multiplies_what_one_call_costs(ask: Asker) -> None:
    body = {
        "models": [
            {"provider": "openai", "model": "gpt-4o-mini"},
            {"provider": "openai", "model": "nothing"},
        ],
        "input_tokens": 1_000,
        "output_tokens": 200,
        "cached_share": 0.25,
        "calls_per_task": 2,
        "calls_per_customer": 500,
        "customers": 20,
        "price_per_customer": "1.50",
        "at": "2026-03-01",
    }
    answer = ask.post("/api/calculator", body)
    known, unknown = answer["results"]
    call_nano = (750 * 150_000 + 250 * 75_000 + 200 * 600_000) // 1_000
    assert (answer["calls"], answer["cached_tokens"]) == (20_000, 250)
    assert nano(known, "cost_per_call") == call_nano
    assert nano(known, "cost_per_customer") == nano(known, "break_even_per_customer") == 1_000 * call_nano
    assert nano(known, "cost") == 20_000 * call_nano
    assert nano(known, "revenue") == 30 * USD
    assert nano(known, "margin") == 30 * USD - 20_000 * call_nano
    assert (unknown["cost"], unknown["margin"], unknown["cost_reason"]) == (None, None, "unpriced")
    assert ask.post("/api/calculator", {**body, "cached_share": 1.5}, status=400)["param"] == "cached_share"
    assert ask.post("/api/calculator", {**body, "customers": 0}, status=400)["param"] == "customers"


def test_an_empty_span_is_refused(ask: Asker) -> None:
    for params in (
        {"date_from": "2026-04-01", "date_to": "2026-04-01"},
        {"days": 3, "date_from": "2026-04-01"},
    ):
        assert ask.get("/api/analytics/overview", status=400, **params)["error"]
    assert ask.get("/api/analytics/by-nothing", status=404)["code"] == "unknown_url"
    assert ask.get("/api/analytics/breakdown", status=400, by="customer,customer")["param"] == "by"
