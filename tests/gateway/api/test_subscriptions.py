"""Subscriptions over HTTP: begun once, changed now or with the next period, ended, and taken back."""

from __future__ import annotations

from decimal import Decimal

import httpx2
import pytest

from accounts.plan import PlanRule, PlanVersion
from tests.gateway.api.asking import Asker, all_pages, chat
from tests.stack import Stack


@pytest.fixture
def billing(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=("billing.read", "billing.write")))


@pytest.fixture(scope="module", autouse=True)
def plans(stack: Stack) -> None:
    for name, value in (("small", 1), ("large", 50)):
        rule = PlanRule("requests", "month", value, "search")
        stack.plans.put_plan(PlanVersion(name, 0, ("search",), False, (rule,)))


def subscribe(stack: Stack, billing: Asker, customer: str, plan: str = "small", **more: object) -> str:
    stack.customers.add_customer(customer)
    body = {"customer_id": customer, "plan": plan, **more}
    return str(billing.post("/api/subscriptions", body, status=201)["id"])


def ask(stack: Stack, secret: str, customer: str) -> int:
    headers = {"Observe-Customer": customer, "Observe-Feature": "search"}
    return chat(stack, secret, **headers).status_code


def test_a_subscription_begins_once(stack: Stack, billing: Asker) -> None:
    made = subscribe(stack, billing, "once")
    told = billing.get(f"/api/subscriptions/{made}")
    assert (told["customer_id"], told["plan"], told["version"], told["status"]) == (
        "once",
        "small",
        1,
        "active",
    )
    assert told["current_period_start"].endswith("-01T00:00:00.000Z")
    assert told["current_period_start"] < told["starts_at"] < told["current_period_end"]
    assert (told["ends_at"], told["cancel_at"], told["scheduled_change"]) == (None, None, None)
    refused = billing.post("/api/subscriptions", {"customer_id": "once", "plan": "large"}, status=409)
    assert refused["code"] == "already_subscribed"
    billing.post("/api/subscriptions", {"customer_id": "nobody", "plan": "small"}, status=404)
    stack.customers.add_customer("lost")
    billing.post("/api/subscriptions", {"customer_id": "lost", "plan": "none"}, status=404)
    for wish in (
        {"starts_at": "2020-01-01"},
        {"starts_at": "9999-12-31"},
        {"starts_at": "2099-02-01", "ends_at": "2099-01-01"},
    ):
        billing.post("/api/subscriptions", {"customer_id": "lost", "plan": "small", **wish}, status=400)
    wrong = {"customer_id": "lost", "plan": "small", "limits": {"search/requests/day": {"value": 3}}}
    assert "search/requests/month" in billing.post("/api/subscriptions", wrong, status=400)["error"]


def test_an_upgrade_holds_for_the_next_request(stack: Stack, billing: Asker) -> None:
    secret = stack.key()
    first = subscribe(stack, billing, "grows")
    assert [ask(stack, secret, "grows") for _ in range(2)] == [200, 402]
    changed = billing.post(f"/api/subscriptions/{first}/plan-change", {"plan": "large"})
    assert changed["id"] != first
    assert (changed["plan"], changed["status"]) == ("large", "active")
    assert ask(stack, secret, "grows") == 200
    former = billing.get(f"/api/subscriptions/{first}")
    assert (former["status"], former["ends_at"]) == ("ended", changed["starts_at"])
    assert former["current_period_start"] is None
    again = billing.post(f"/api/subscriptions/{changed['id']}/plan-change", {"plan": "large"}, status=409)
    assert again["code"] == "already_on_plan"
    billing.post(f"/api/subscriptions/{first}/plan-change", {"plan": "small"}, status=409)


def test_a_downgrade_with_the_next_period_can_be_taken_back(stack: Stack, billing: Asker) -> None:
    first = subscribe(stack, billing, "shrinks", "large")
    planned = billing.post(
        f"/api/subscriptions/{first}/plan-change", {"plan": "small", "when": "END_OF_PERIOD"}
    )
    assert (planned["plan"], planned["status"]) == ("small", "pending")
    told = billing.get(f"/api/subscriptions/{first}")
    assert told["status"] == "active"
    assert told["ends_at"] == told["current_period_end"] == planned["starts_at"]
    assert told["cancel_at"] is None
    assert told["scheduled_change"] == {
        "subscription_id": planned["id"],
        "plan": "small",
        "version": 1,
        "at": planned["starts_at"],
    }
    refused = billing.delete(f"/api/subscriptions/{first}/cancellation", status=409)
    assert refused["code"] == "nothing_scheduled"
    back = billing.delete(f"/api/subscriptions/{first}/plan-change")
    assert (back["ends_at"], back["scheduled_change"]) == (None, None)
    billing.get(f"/api/subscriptions/{planned['id']}", status=404)
    assert (
        billing.delete(f"/api/subscriptions/{first}/plan-change", status=409)["code"] == "nothing_scheduled"
    )
    # A plan that was to come is withdrawn by ending it.
    planned = billing.post(
        f"/api/subscriptions/{first}/plan-change", {"plan": "small", "when": "END_OF_PERIOD"}
    )
    billing.post(f"/api/subscriptions/{planned['id']}/cancellation", {})
    assert billing.get(f"/api/subscriptions/{first}")["cancel_at"] == planned["starts_at"]


def test_an_end_with_the_period_can_be_taken_back_and_one_at_once_cannot(
    stack: Stack, billing: Asker
) -> None:
    secret = stack.key()
    first = subscribe(stack, billing, "leaves", "large")
    told = billing.post(f"/api/subscriptions/{first}/cancellation", {"when": "END_OF_PERIOD"})
    assert told["status"] == "active"
    assert told["cancel_at"] == told["current_period_end"] == told["ends_at"]
    assert (
        billing.delete(f"/api/subscriptions/{first}/plan-change", status=409)["code"] == "nothing_scheduled"
    )
    assert billing.delete(f"/api/subscriptions/{first}/cancellation")["cancel_at"] is None
    assert ask(stack, secret, "leaves") == 200
    ended = billing.post(f"/api/subscriptions/{first}/cancellation", {"when": "IMMEDIATE"})
    assert ended["status"] == "ended"
    assert ended["cancel_at"] is not None
    assert ask(stack, secret, "leaves") == 403  # it was on a plan, and is not any more
    for method in ("POST", "DELETE"):
        body = {"json": {}} if method == "POST" else {}
        billing.ask(method, f"/api/subscriptions/{first}/cancellation", status=409, **body)


def test_what_a_customer_has_otherwise(stack: Stack, billing: Asker) -> None:
    secret = stack.key()
    made = subscribe(
        stack,
        billing,
        "special",
        limits={"search/requests/month": {"value": 2, "enforcement": "hard"}},
        features={"extra": True},
    )
    told = billing.get(f"/api/subscriptions/{made}")
    assert told["limits"] == [
        {"limit": "search/requests/month", "value": 2, "value_nano": None, "enforcement": "hard"}
    ]
    assert (told["features"], told["discount_percent"]) == ({"extra": True}, Decimal(0))
    assert [ask(stack, secret, "special") for _ in range(3)] == [200, 200, 402]


def test_lists_by_customer_plan_and_status(stack: Stack, billing: Asker) -> None:
    ids = {name: subscribe(stack, billing, name) for name in ("list-a", "list-b", "list-c")}
    later = subscribe(stack, billing, "list-d", starts_at="2099-01-01T00:00:00Z")
    (mine,) = billing.get("/api/subscriptions", customer_id="list-b")["subscriptions"]
    assert mine["id"] == ids["list-b"]
    pending = billing.ask("GET", "/api/subscriptions?status=pending")["subscriptions"]
    assert [each["id"] for each in pending if each["customer_id"] == "list-d"] == [later]
    listed = all_pages(billing, "/api/subscriptions", "subscriptions", limit=2, plan="small", status="active")
    found = [each["id"] for each in listed]
    assert len(set(found)) == len(found)
    assert set(ids.values()) <= set(found)
    assert later not in found


def test_the_platforms_requests(stack: Stack, billing: Asker) -> None:
    stack.customers.add_customer("user_42")
    path = "/api/v1/client/subscriptions"
    made = billing.post(path, {"customerReferenceId": "user_42", "planId": "small"}, status=201)
    assert made["success"] is True
    subscription = made["data"]["subscription"]
    assert (subscription["planId"], subscription["status"]) == ("small", "ACTIVE")
    first = subscription["id"]
    refused = billing.post(path, {"customerReferenceId": "user_42", "planId": "small"}, status=409)
    assert (refused["success"], refused["error"]["code"]) == (False, "already_subscribed")
    up = billing.post(f"{path}/{first}/plan-change", {"changeToPlanId": "large", "changeType": "UPGRADE"})
    second = up["data"]["subscription"]
    assert (second["planKey"], second["status"]) == ("large", "ACTIVE")
    down = billing.post(
        f"{path}/{second['id']}/plan-change", {"changeToPlanId": "small", "changeType": "DOWNGRADE"}
    )
    assert down["data"]["subscription"]["status"] == "PENDING"
    scheduled = billing.get(f"{path}/{second['id']}")["data"]["subscription"]["scheduledChange"]
    assert scheduled["subscriptionId"] == down["data"]["subscription"]["id"]
    undone = billing.delete(f"{path}/{second['id']}/plan-change/scheduled")
    assert undone["data"]["subscription"]["scheduledChange"] is None
    ending = billing.ask("POST", f"{path}/cancellation/{second['id']}?cancelMode=END_OF_PERIOD")
    assert ending["data"]["subscription"]["cancelAt"] is not None
    billing.delete(f"{path}/cancellation/{second['id']}/scheduled")
    ended = billing.ask("POST", f"{path}/cancellation/{second['id']}?cancelMode=IMMEDIATE")
    assert ended["data"]["subscription"]["status"] == "CANCELLED"
    assert billing.get(f"{path}/sub_none", status=404)["error"]["code"] == "not_found"


def test_subscriptions_of_another_account_are_not_found(
    stack: Stack, http: httpx2.Client, billing: Asker
) -> None:
    secret, _ = stack.keyring.create("subs", account_id="subscribers-of-others", scopes=("admin",))
    mine = subscribe(stack, billing, "ours")
    other = Asker(http, secret)
    assert other.get("/api/subscriptions")["subscriptions"] == []
    for method, path in (
        ("GET", ""),
        ("POST", "/plan-change"),
        ("DELETE", "/plan-change"),
        ("POST", "/cancellation"),
        ("DELETE", "/cancellation"),
    ):
        body = {"json": {"plan": "large"} if "plan" in path else {}} if method == "POST" else {}
        foreign = other.ask(method, f"/api/subscriptions/{mine}{path}", status=404, **body)
        assert foreign == other.ask(method, f"/api/subscriptions/sub_none{path}", status=404, **body)
    other.post("/api/subscriptions", {"customer_id": "ours", "plan": "small"}, status=404)
    assert billing.get(f"/api/subscriptions/{mine}")["status"] == "active"


def test_how_it_is_paid_is_kept_and_told_back(stack: Stack, billing: Asker) -> None:
    """As the platform's clients send it; it goes with the customer to another plan, and changes nothing."""
    stack.customers.add_customer("paying")
    path = "/api/v1/client/subscriptions"
    body = {"customerReferenceId": "paying", "planId": "small", "gracePeriod": 5, "paymentMethodId": "pm_1"}
    made = billing.post(path, body, status=201)["data"]["subscription"]
    assert (made["gracePeriod"], made["paymentMethodId"], made["status"]) == (5, "pm_1", "ACTIVE")
    change = {"changeToPlanId": "large", "changeType": "UPGRADE"}
    after = billing.post(f"{path}/{made['id']}/plan-change", change)["data"]["subscription"]
    assert (after["gracePeriod"], after["paymentMethodId"], after["planId"]) == (5, "pm_1", "large")
    told = billing.get(f"/api/subscriptions/{after['id']}")
    assert (told["grace_period_days"], told["payment_method_id"]) == (5, "pm_1")
    usual = billing.get(f"/api/subscriptions/{subscribe(stack, billing, 'plain')}")
    assert (usual["grace_period_days"], usual["payment_method_id"]) == (3, None)
    own = subscribe(stack, billing, "told", grace_period_days=0, payment_method_id="pm_2")
    assert billing.get(f"{path}/{own}")["data"]["subscription"]["gracePeriod"] == 0
    for wrong in ({"gracePeriod": "5"}, {"gracePeriod": -1}, {"gracePeriod": 367}, {"paymentMethodId": 7}):
        error = billing.post(path, {**body, **wrong}, status=400)["error"]
        assert error["detail"] == next(iter(wrong))
