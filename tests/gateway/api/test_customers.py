"""Customers over HTTP: recorded or only seen, what they cost and earn, what they have used of their plan."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from gateway.api.fields import moment_text
from metering.eventstore import EventStore
from tests.gateway.api.asking import Asker, all_pages, chat
from tests.metering.events import event
from tests.stack import Stack

NOON = 1_700_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SCOPES = ("customers.read", "customers.write", "billing.read", "billing.write")


@pytest.fixture
def asker(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=SCOPES))


@pytest.fixture(scope="module")
def store(stack: Stack) -> Iterator[EventStore]:
    opened = EventStore(stack.database)
    yield opened
    opened.close()


def test_a_customer_is_recorded_changed_and_archived(asker: Asker) -> None:
    body = {"customer_id": "acme", "name": "Acme", "email": "ada@acme.example", "stripe_customer_id": "cus_1"}
    made = asker.post("/api/customers", body, status=201)
    assert {name: made[name] for name in body} == body
    assert (made["recorded"], made["is_internal"], made["plan"], made["archived_at"]) == (
        True,
        False,
        None,
        None,
    )
    assert (made["event_count"], made["margin"], made["margin_reason"]) == (0, None, "no_revenue_source")
    assert asker.post("/api/customers", body, status=409)["code"] == "already_exists"
    changed = asker.patch("/api/customers/acme", {"name": "Acme Inc.", "email": ""})
    assert (changed["name"], changed["email"], changed["stripe_customer_id"]) == ("Acme Inc.", "", "cus_1")
    assert asker.patch("/api/customers/acme/internal", {"is_internal": True})["is_internal"] is True
    archived = asker.patch("/api/customers/acme", {"archived": True})
    assert archived["archived_at"] is not None
    assert asker.patch("/api/customers/acme", {"archived": True})["archived_at"] == archived["archived_at"]
    listed = {each["customer_id"] for each in all_pages(asker, "/api/customers", "data")}
    assert "acme" not in listed
    assert [each["customer_id"] for each in asker.get("/api/customers", archived=True)["data"]] == ["acme"]
    asker.patch("/api/customers/acme", {"archived": False})
    assert "acme" in {each["customer_id"] for each in all_pages(asker, "/api/customers", "data")}
    for wrong in ({}, {"emial": "x"}, {"email": "no address"}, {"name": "a\nb"}):
        asker.patch("/api/customers/acme", wrong, status=400)
    asker.patch("/api/customers/none", {"name": "x"}, status=404)
    internal = asker.post("/api/customers", {"customer_id": "_internal_ci"}, status=201)
    assert internal["is_internal"] is True


def test_whom_requests_name_is_listed_with_exact_figures(store: EventStore, asker: Asker) -> None:
    made = [
        event(
            started_ms=NOON + number * HOUR_MS,
            customer=f"seen-{number % 3}",
            feature=f"f{number % 2}",
            cost_nano=1_000_003 * number,
            revenue_nano=None if number % 3 == 0 else 2_500_000,
        )
        for number in range(24)
    ]
    store.append(made)
    params = {"date_from": _text(NOON + 2 * HOUR_MS), "date_to": _text(NOON + 20 * HOUR_MS)}
    for number in range(3):
        mine = [each for each in made[2:20] if each.customer == f"seen-{number}"]
        told = asker.get(f"/api/customers/seen-{number}", **params)
        cost = sum(each.known_nano for each in mine)
        assert (told["event_count"], told["feature_count"], told["recorded"]) == (len(mine), 2, False)
        assert told["total_cost_nano"] == str(cost)
        if number == 0:
            assert (told["total_revenue"], told["margin"], told["margin_pct"]) == (None, None, None)
            assert told["margin_reason"] == "no_revenue_source"
        else:
            revenue = 2_500_000 * len(mine)
            assert told["margin_nano"] == str(revenue - cost)
            assert told["margin_pct"] == (100 * (Decimal(revenue) - cost) / revenue).quantize(
                Decimal("0.0001")
            )
    pages = all_pages(asker, "/api/customers", "data", limit=2, **params)
    ids = [each["customer_id"] for each in pages]
    assert ids == sorted(set(ids))
    assert {"seen-0", "seen-1", "seen-2"} <= set(ids)
    whole = asker.get("/api/customers", limit=200, **params)
    assert (whole["total"], whole["limit"], whole["offset"]) == (len(ids), 200, 0)
    assert whole["data"] == pages
    assert asker.get("/api/customers", limit=2, offset=1, **params)["data"] == pages[1:3]


def test_a_plans_own_price_is_revenue_of_its_customer(stack: Stack, asker: Asker) -> None:
    asker.post("/api/plans", {"plan": "paid", "price": {"amount": 30}}, status=201)
    asker.post("/api/customers", {"customer_id": "pays"}, status=201)
    since_ms = time.time_ns() // 1_000_000 - 10 * DAY_MS
    stack.customers.subscribe("pays", "paid", starts_ms=since_ms)
    told = asker.get("/api/customers/pays")
    assert (told["plan"], told["plan_version"]) == ("paid", 1)
    assert told["subscription_id"].startswith("sub_")
    # Of thirty dollars for 28 to 31 days, what ten days are.
    earned = int(told["total_revenue_nano"])
    assert 10 * 30 * 10**9 // 31 <= earned <= 11 * 30 * 10**9 // 28
    assert told["margin_nano"] == told["total_revenue_nano"]
    assert (told["margin_pct"], told["margin_reason"]) == (100, None)
    listed = {each["customer_id"]: each for each in all_pages(asker, "/api/customers", "data")}
    assert int(listed["pays"]["total_revenue_nano"]) >= earned
    half = asker.get("/api/customers/pays", date_to=_text(since_ms + 5 * DAY_MS))
    assert 2 * int(half["total_revenue_nano"]) <= earned + 1
    others = {name for name, each in listed.items() if each["total_revenue"] is not None}
    assert "acme" not in others
    # The operator's own: nothing is owed while it is marked so.
    marked = asker.patch("/api/customers/pays/internal", {"is_internal": True})
    assert (marked["total_revenue"], marked["margin"], marked["margin_pct"]) == (None, None, None)
    assert (marked["is_internal"], marked["margin_reason"]) == (True, "internal_customer")
    assert asker.get("/api/customers/pays")["margin_reason"] == "internal_customer"
    again = asker.patch("/api/customers/pays/internal", {"is_internal": False})
    assert int(again["total_revenue_nano"]) >= earned


def test_workspaces(asker: Asker) -> None:
    asker.post("/api/customers", {"customer_id": "spacious"}, status=201)
    path = "/api/customers/spacious/workspaces"
    for name in ("eu", "us", "asia"):
        made = asker.post(path, {"workspace": name, "name": name.upper()}, status=201)
        assert (made["customer_id"], made["workspace"], made["name"]) == ("spacious", name, name.upper())
    assert asker.post(path, {"workspace": "eu"}, status=409)["code"] == "already_exists"
    assert [each["workspace"] for each in all_pages(asker, path, "workspaces", limit=1)] == [
        "asia",
        "eu",
        "us",
    ]
    assert asker.patch(f"{path}/eu", {"name": "Europe"})["name"] == "Europe"
    assert asker.patch(f"{path}/us", {"archived": True})["archived_at"] is not None
    assert [each["workspace"] for each in asker.get(path)["workspaces"]] == ["asia", "eu"]
    assert [each["workspace"] for each in asker.get(path, archived=True)["workspaces"]] == ["us"]
    assert asker.get(f"{path}/eu")["name"] == "Europe"
    for missing in (f"{path}/none", "/api/customers/none/workspaces", "/api/customers/none/workspaces/eu"):
        asker.get(missing, status=404)
    asker.post("/api/customers/none/workspaces", {"workspace": "eu"}, status=404)


def test_the_platforms_requests(stack: Stack, http: httpx2.Client, asker: Asker) -> None:
    path = "/api/v1/client/customers"
    body = {"customerReferenceId": "user_42", "email": "ada@example.com", "firstName": "Ada"}
    made = asker.post(path, body, status=201)
    assert made["success"] is True
    assert {name: made["data"][name] for name in body} == body
    assert asker.post(path, body, status=409)["error"]["code"] == "already_exists"
    older = {"externalClientCustomerId": "user_43", "email": "b@example.com", "phoneNumber": "1"}
    assert asker.post(path, older, status=201)["data"]["customerReferenceId"] == "user_43"
    for wrong in ({"email": "a@b.c"}, {"customerReferenceId": "u"}, {**body, **older}, {**body, "vip": True}):
        assert asker.post(path, wrong, status=400)["success"] is False
    assert asker.patch(f"{path}/user_42", {"lastName": "L"})["data"]["lastName"] == "L"
    assert asker.get(f"{path}/user_42")["data"]["subscriptions"] == []
    rules = [{"feature_key": "search", "value": 10}, {"kind": "money", "window": "day", "value": 2}]
    asker.post("/api/plans", {"plan": "used", "other_features": "allow", "limits": rules}, status=201)
    asker.post("/api/subscriptions", {"customer_id": "user_42", "plan": "used"}, status=201)
    (subscription,) = asker.get(f"{path}/user_42")["data"]["subscriptions"]
    assert (subscription["planKey"], subscription["status"]) == ("used", "ACTIVE")
    secret = stack.key()
    headers = {"Observe-Customer": "user_42", "Observe-Feature": "search"}
    spent = stack.event(chat(stack, secret, **headers).headers["x-request-id"]).known_nano
    usage = asker.get(f"{path}/user_42/usage")["data"]
    (used,) = usage["subscriptions"]
    assert (used["planKey"], used["subscriptionId"]) == ("used", subscription["id"])
    features = {each["featureKey"]: each["limits"] for each in used["features"]}
    (requests,) = features["search"]
    assert (requests["limit"], requests["used"], requests["remaining"]) == (10, 1, 9)
    assert requests["projectedEndOfPeriod"] >= 1
    assert requests["wouldExceedLimit"] is (requests["projectedEndOfPeriod"] > 10)
    (money,) = features["*"]
    assert (money["limitNano"], money["usedNano"]) == ("2000000000", str(spent))
    bound = Asker(http, stack.key(scopes=("customers.read",), customer="user_42"))
    own = bound.get(f"{path}/user_42/usage")["data"]["subscriptions"][0]
    assert own["features"][0]["limits"][0]["used"] == 1
    assert bound.get(f"{path}/user_43/usage", status=404)["error"]["code"] == "not_found"
    assert asker.get(f"{path}/user_43/usage")["data"]["subscriptions"] == []


def test_customers_of_another_account_are_not_found(
    stack: Stack, http: httpx2.Client, store: EventStore, asker: Asker
) -> None:
    secret, _ = stack.keyring.create("customers", account_id="customers-of-others", scopes=("admin",))
    other = Asker(http, secret)
    other.post("/api/customers", {"customer_id": "theirs", "email": "t@example.com"}, status=201)
    other.post("/api/customers/theirs/workspaces", {"workspace": "eu"}, status=201)
    store.append([event(account_id="customers-of-others", customer="seen-there")])
    asked: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("PATCH", "/internal", {"is_internal": True}),
        ("GET", "/workspaces", None),
        ("GET", "/workspaces/eu", None),
        ("POST", "/workspaces", {"workspace": "x"}),
    ]
    for name in ("theirs", "seen-there"):
        for method, path, body in asked:
            more = {} if body is None else {"json": body}
            foreign = asker.ask(method, f"/api/customers/{name}{path}", status=404, **more)
            assert foreign == asker.ask(method, f"/api/customers/nobody{path}", status=404, **more)
    for path in ("", "/usage"):
        asker.get(f"/api/v1/client/customers/theirs{path}", status=404)
    assert [each["customer_id"] for each in other.get("/api/customers")["data"]] == ["seen-there", "theirs"]
    mine = {each["customer_id"] for each in all_pages(asker, "/api/customers", "data")}
    assert not {"theirs", "seen-there"} & mine
    # The same name here is another customer.
    assert asker.post("/api/customers", {"customer_id": "theirs"}, status=201)["email"] == ""
    assert other.get("/api/customers/theirs")["email"] == "t@example.com"


def _text(at_ms: int) -> str:
    return str(moment_text(at_ms))
