"""Plans over HTTP: versions that never change, exact prices, and limits that hold."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.gateway.api.asking import Asker, all_pages, chat
from tests.stack import Stack

PRO: dict[str, Any] = {
    "plan": "pro",
    "name": "Pro",
    "features": ["notes"],
    "anchor": "subscription",
    "time_zone": "Europe/Berlin",
    "limits": [
        {"feature_key": "search", "value": 1000, "thresholds": [80, 100]},
        {"kind": "money", "window": "day", "value": 2.5, "enforcement": "soft"},
        {"feature_key": "images", "value": 10, "mode": "accumulate", "carry_max": 5},
    ],
    "price": {
        "amount": 49.99,
        "billing_timing": "in_arrears",
        "features": [
            {"feature_key": "search", "model": "usage", "price_per_unit": 0.000000000001},
            {
                "feature_key": "images",
                "model": "graduated",
                "tiers": [{"up_to": 100, "price_per_unit": 0.02, "flat_fee": 1}, {"price_per_unit": 0.01}],
            },
            {"feature_key": "videos", "model": "package", "package_units": 10, "package_price": 3},
            {"feature_key": "notes"},
        ],
    },
}


@pytest.fixture
def billing(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=("billing.read", "billing.write", "customers.write")))


def test_a_plan_with_rules_and_prices_is_told_as_it_was_given(billing: Asker) -> None:
    made = billing.post("/api/plans", PRO, status=201)
    assert (made["plan"], made["version"], made["label"]) == ("pro", 1, "pro@1")
    assert made["features"] == ["notes", "search", "images", "videos"]
    assert (made["other_features"], made["anchor"], made["archived"]) == ("deny", "subscription", False)
    search, spend, images = made["limits"]
    assert (search["name"], search["value"], search["value_nano"]) == ("search/requests/month", 1000, None)
    assert (spend["name"], spend["value"], spend["value_nano"]) == (
        "*/money/day",
        Decimal("2.50"),
        "2500000000",
    )
    assert (images["mode"], images["carry_max"]) == ("accumulate", 5)
    price = made["price"]
    assert (price["amount"], price["amount_nano"]) == (Decimal("49.99"), "49990000000")
    assert (price["currency"], price["interval_months"], price["billing_timing"]) == ("USD", 1, "in_arrears")
    usage, graduated, package, included = price["features"]
    assert (usage["price_per_unit"], usage["price_per_unit_pico"]) == (Decimal("1e-12"), "1")
    tiers = [
        (each["up_to"], each["price_per_unit_pico"], each["flat_fee_nano"]) for each in graduated["tiers"]
    ]
    assert tiers == [(100, "20000000000", "1000000000"), (None, "10000000000", "0")]
    assert (package["package_units"], package["package_price_nano"]) == (10, "3000000000")
    assert (included["model"], included["price_per_unit"]) == ("included", None)
    assert billing.get("/api/plans/pro") == made
    # What a plan says, said again, is no other plan.
    assert billing.post("/api/plans", PRO, status=200) == made


def test_versions_stay(billing: Asker) -> None:
    for number in range(1, 4):
        body = {"plan": "versions", "limits": [{"feature_key": "search", "value": number}]}
        assert billing.post("/api/plans", body, status=201)["version"] == number
    listed = all_pages(billing, "/api/plans/versions/versions", "versions", limit=2)
    assert [each["version"] for each in listed] == [1, 2, 3]
    assert billing.get("/api/plans/versions/versions/2") == listed[1]
    assert listed[1]["limits"][0]["value"] == 2
    for path in ("/api/plans/versions/versions/4", "/api/plans/versions/versions/x", "/api/plans/none"):
        billing.get(path, status=404)


def test_an_archived_plan_takes_nobody(stack: Stack, billing: Asker) -> None:
    billing.post("/api/plans", {"plan": "old"}, status=201)
    stack.customers.add_customer("late")
    assert billing.post("/api/plans/old/archive", {"archived": True})["archived"]
    refused = billing.post("/api/subscriptions", {"customer_id": "late", "plan": "old"}, status=400)
    assert "archived" in refused["error"]
    shown = [each["key"] for each in billing.get("/api/v1/client/plans")["data"]["items"]]
    assert "old" not in shown
    assert [each["plan"] for each in billing.get("/api/plans", archived=True)["plans"]] == ["old"]
    assert not billing.post("/api/plans/old/archive", {"archived": False})["archived"]
    billing.post("/api/subscriptions", {"customer_id": "late", "plan": "old"}, status=201)
    assert billing.get("/api/plans/old")["customers"] == 1
    billing.post("/api/plans/none/archive", {"archived": True}, status=404)


def test_the_shop_window(billing: Asker) -> None:
    billing.post("/api/plans", {**PRO, "plan": "window"}, status=201)
    document = billing.get("/api/v1/client/plans", limit=200)
    assert document["success"] is True
    (plan,) = [each for each in document["data"]["items"] if each["key"] == "window"]
    assert plan["id"] == "window"
    assert (plan["priceAmount"], plan["priceAmountNano"]) == (Decimal("49.99"), "49990000000")
    assert (plan["currency"], plan["intervalMonths"], plan["billingTiming"]) == ("USD", 1, "in_arrears")
    features = {each["featureKey"]: each for each in plan["features"]}
    assert {key: each["pricingType"] for key, each in features.items()} == {
        "notes": "included",
        "search": "usage_based",
        "images": "graduated",
        "videos": "package",
    }
    assert features["search"]["pricing"]["maxUsage"] == 1000
    assert features["search"]["pricing"]["resetMode"] == "reset"
    assert features["images"]["pricing"]["resetMode"] == "accumulate"
    assert features["images"]["pricing"]["tiers"][1] == {
        "upTo": None,
        "pricePerUnit": Decimal("0.01"),
        "flatFee": Decimal("0.00"),
        "flatFeeNano": "0",
    }


def test_its_limits_hold_for_the_next_request(stack: Stack, billing: Asker) -> None:
    body = {"plan": "one-a-day", "other_features": "allow", "limits": [{"window": "day", "value": 1}]}
    billing.post("/api/plans", body, status=201)
    stack.customers.add_customer("held")
    secret = stack.key()
    assert chat(stack, secret, **{"Observe-Customer": "held"}).status_code == 200
    billing.post("/api/subscriptions", {"customer_id": "held", "plan": "one-a-day"}, status=201)
    answers = [chat(stack, secret, **{"Observe-Customer": "held"}).status_code for _ in range(2)]
    assert answers == [200, 402]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"plan": "no spaces"}, "plan"),
        ({"anchor": 32}, "anchor"),
        ({"anchor": "never"}, "anchor"),
        ({"time_zone": "Mars/North"}, "Mars"),
        ({"limits": [{"value": 1}, {"value": 2}]}, "twice"),
        ({"limits": [{"value": 1, "mode": "accumulate"}]}, "carry_max"),
        ({"limits": [{"value": 1.5}]}, "whole number"),
        ({"price": {"amount": -1}}, "amount"),
        ({"price": {"amount": 0.0000000001}}, "finer"),
        ({"price": {"features": [{"feature_key": "a", "model": "graduated"}]}}, "tiers"),
        ({"price": {"features": [{"feature_key": "a", "price_per_unit": 1}]}}, "usage"),
        ({"price": {"currency": "EUR"}}, "currency"),
        ({"features": ["a/b"]}, "feature"),
    ],
)
def test_what_cannot_be_is_said(billing: Asker, change: dict[str, Any], named: str) -> None:
    refused = billing.post("/api/plans", {"plan": "wrong", **change}, status=400)
    assert named.lower() in refused["error"].lower()
    billing.get("/api/plans/wrong", status=404)


def test_plans_of_another_account_are_not_found(stack: Stack, http: httpx2.Client, billing: Asker) -> None:
    secret, _ = stack.keyring.create("plans", account_id="plans-of-others", scopes=("admin",))
    other = Asker(http, secret)
    other.post("/api/plans", {"plan": "theirs"}, status=201)
    for method, path in (("GET", ""), ("GET", "/versions"), ("GET", "/versions/1"), ("POST", "/archive")):
        body = {"json": {"archived": True}} if method == "POST" else {}
        foreign = billing.ask(method, f"/api/plans/theirs{path}", status=404, **body)
        assert foreign == billing.ask(method, f"/api/plans/nobodys{path}", status=404, **body)
    assert [each["plan"] for each in other.get("/api/plans")["plans"]] == ["theirs"]
    listed = all_pages(billing, "/api/plans", "plans", limit=2)
    assert "theirs" not in [each["plan"] for each in listed]
