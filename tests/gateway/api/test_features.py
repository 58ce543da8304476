"""Features over HTTP: recorded, switched off for everybody, and what their requests cost."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import httpx2
import pytest

from accounts.plan import PlanVersion
from accounts.planprice import FeatureRate, PlanPrice, Tier
from gateway.api.fields import moment_text
from metering.eventstore import EventStore
from tests.gateway.api.asking import Asker, all_pages, chat
from tests.metering.events import event
from tests.stack import Stack

NOON = 1_700_000_000_000
DAY_MS = 86_400_000


@pytest.fixture
def usage(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=("usage.read", "usage.write")))


@pytest.fixture(scope="module")
def store(stack: Stack) -> Iterator[EventStore]:
    opened = EventStore(stack.database)
    yield opened
    opened.close()


def test_a_feature_switched_off_is_refused_for_everybody(stack: Stack, usage: Asker) -> None:
    secret = stack.key()
    made = usage.post("/api/features", {"feature_key": "toggled", "name": "A toggle"}, status=201)
    assert (made["name"], made["enabled"], made["recorded"]) == ("A toggle", True, True)
    assert (made["event_count"], made["total_cost_nano"], made["margin"]) == (0, "0", None)
    assert chat(stack, secret, **{"Observe-Feature": "toggled"}).status_code == 200
    assert usage.patch("/api/features/toggled", {"enabled": False})["enabled"] is False
    refused = chat(stack, secret, **{"Observe-Customer": "any", "Observe-Feature": "toggled"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "entitlement_denied")
    assert usage.patch("/api/features/toggled", {"enabled": True, "name": ""})["name"] == ""
    headers = {"Observe-Customer": "any", "Observe-Feature": "toggled"}
    assert chat(stack, secret, **headers).status_code == 200
    assert usage.post("/api/features", {"feature_key": "toggled"}, status=409)["code"] == "already_exists"
    usage.patch("/api/features/none", {"name": "x"}, status=404)
    usage.patch("/api/features/toggled", {}, status=400)
    for key in ("a/b", "*", "", "a b"):
        usage.post("/api/features", {"feature_key": key}, status=400)


def test_figures_are_the_sums_of_the_events(store: EventStore, usage: Asker) -> None:
    made = [
        event(
            started_ms=NOON + number * 3_600_000,
            customer=f"c{number % 3}",
            feature=f"figures-{number % 2}",
            cost_nano=None if number % 7 == 0 else 1_000_003 * number,
        )
        for number in range(30)
    ]
    store.append(made)
    since, until = made[3], made[27]
    params = {
        "date_from": _text(since.started_ms),
        "date_to": _text(until.started_ms),
    }
    for number in range(2):
        mine = [
            each
            for each in made
            if each.feature == f"figures-{number}" and since.started_ms <= each.started_ms < until.started_ms
        ]
        told = usage.get(f"/api/features/figures-{number}", **params)
        assert told["event_count"] == len(mine)
        assert told["customer_count"] == len({each.customer for each in mine})
        assert told["unpriced_events"] == sum(each.cost_nano is None for each in mine)
        assert told["total_cost_nano"] == str(sum(each.known_nano for each in mine))
        assert told["total_cost"] == Decimal(told["total_cost_nano"]).scaleb(-9)
        tokens = [each.usage or {} for each in mine]
        assert told["total_usage"] == sum(
            each.get("input_tokens", 0) + each.get("output_tokens", 0) for each in tokens
        )
        last = max(each.started_ms for each in made if each.feature == f"figures-{number}")
        assert told["last_seen"] == _text(last)
        assert told["recorded"] is False
    listed = all_pages(usage, "/api/features", "features", limit=1, **params)
    assert [each["feature_key"] for each in listed if each["event_count"]] == ["figures-0", "figures-1"]
    assert listed == sorted(listed, key=lambda each: str(each["feature_key"]))
    usage.ask("GET", "/api/features?date_from=2026-01-02&date_to=2026-01-01", status=400)


@pytest.mark.wide
def test_charges_by_period_are_revenue_of_their_feature(
    stack: Stack, store: EventStore, usage: Asker
) -> None:
    """Graduated prices and packages are owed for what a month has used: told of the feature that is used, in
    its list and alone, while the plan's own price belongs to none."""
    cents = 10**10
    tiers = (Tier(10, cents), Tier(None, cents // 2, flat_nano=30_000_000))
    rates = (
        FeatureRate("period-graduated", "graduated", tiers=tiers),
        FeatureRate("period-packaged", "package", package_units=10, package_nano=2 * 10**9),
    )
    features = ("period-graduated", "period-packaged", "period-included")
    stack.plans.put_plan(PlanVersion("by-period", 0, features, price=PlanPrice(7 * 10**9, rates=rates)))
    stack.customers.subscribe("period-payer", "by-period", starts_ms=NOON - 10 * DAY_MS)
    store.append(
        [
            event(
                started_ms=NOON + number * DAY_MS,
                customer=customer,
                feature=feature,
                cost_nano=10**6,
                usage_units=8,
            )
            for number in range(3)
            for feature in features
            for customer in ("period-payer", "period-nobody")  # the other one is on no plan
        ]
    )
    span = {"date_from": _text(NOON - DAY_MS), "date_to": _text(NOON + 5 * DAY_MS)}
    owed = 10 * 10_000_000 + 14 * 5_000_000 + 30_000_000  # 24 units, of which 14 are in the second tier
    for feature, nano in (("period-graduated", owed), ("period-packaged", 3 * 2 * 10**9)):
        told = usage.get(f"/api/features/{feature}", **span)
        assert told["total_revenue_nano"] == str(nano)
        assert told["margin_nano"] == str(nano - 6 * 10**6)
        listed = all_pages(usage, "/api/features", "features", limit=2, **span)
        assert told in listed
        # Spans that follow each other owe what the whole one does.
        middle = _text(NOON + DAY_MS + 1)
        halves = ({**span, "date_to": middle}, {**span, "date_from": middle})
        parts = [usage.get(f"/api/features/{feature}", **half)["total_revenue_nano"] for half in halves]
        assert sum(map(int, parts)) == nano
    included = usage.get("/api/features/period-included", **span)
    assert (included["total_revenue"], included["margin"]) == (None, None)


def test_the_platforms_features(usage: Asker) -> None:
    usage.post("/api/features", {"feature_key": "shown", "name": "Shown"}, status=201)
    told = usage.get("/api/v1/client/features/shown")
    assert told == {"success": True, "data": {"key": "shown", "name": "Shown", "enabled": True}}
    assert told["data"] in usage.get("/api/v1/client/features", limit=200)["data"]["items"]
    assert usage.get("/api/v1/client/features/none", status=404)["error"]["code"] == "not_found"


def test_features_of_another_account_are_not_found(
    stack: Stack, http: httpx2.Client, store: EventStore, usage: Asker
) -> None:
    secret, _ = stack.keyring.create("features", account_id="features-of-others", scopes=("admin",))
    other = Asker(http, secret)
    other.post("/api/features", {"feature_key": "theirs"}, status=201)
    store.append([event(account_id="features-of-others", feature="seen-there")])
    for name in ("theirs", "seen-there"):
        assert usage.get(f"/api/features/{name}", status=404) == usage.get("/api/features/none", status=404)
    keys = [each["feature_key"] for each in other.get("/api/features")["features"]]
    assert keys == ["seen-there", "theirs"]
    mine = [each["feature_key"] for each in all_pages(usage, "/api/features", "features", limit=3)]
    assert not {"theirs", "seen-there"} & set(mine)


def _text(at_ms: int) -> str:
    return str(moment_text(at_ms))
