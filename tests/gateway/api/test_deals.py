"""Deals over HTTP: what one customer pays otherwise, from a moment on and until another one."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from accounts.plan import PlanVersion
from accounts.planprice import PlanPrice
from accounts.subscription import Deal
from billing.fees import earned_nano, fee_of
from gateway.api.fields import moment_ms
from tests.gateway.api.asking import Asker, all_pages
from tests.stack import Stack

pytestmark = pytest.mark.wide
SCOPES = ("billing.read", "billing.write", "usage.read", "customers.read")
DAY = timedelta(days=1)
DOLLAR = 10**9


@pytest.fixture
def billing(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=SCOPES))


@pytest.fixture(scope="module", autouse=True)
def plans(stack: Stack) -> None:
    for name in ("dealt", "other"):
        stack.plans.put_plan(PlanVersion(name, 0, ("search",), price=PlanPrice(30 * 10**9)))


def subscribe(stack: Stack, billing: Asker, customer: str, **more: Any) -> dict[str, Any]:
    stack.customers.add_customer(customer)
    body = {"customer_id": customer, "plan": "dealt", **more}
    return dict(billing.post("/api/subscriptions", body, status=201))


def later(days: float) -> str:
    return f"{datetime.now(UTC) + days * DAY:%Y-%m-%dT%H:%M:%S}Z"


def deals(billing: Asker, customer: str, **more: str) -> list[dict[str, Any]]:
    return all_pages(billing, "/api/deals", "deals", customer_id=customer, limit=1, **more)


def test_a_deal_holds_from_now_on(stack: Stack, billing: Asker) -> None:
    before = subscribe(stack, billing, "now")
    body = {"customer_id": "now", "price": 19.5, "quantity": 12, "discount_percent": 12.5}
    made = billing.post("/api/deals", body, status=201)
    assert (made["price"], made["price_nano"], made["quantity"]) == (Decimal("19.5"), "19500000000", 12)
    assert (made["discount_percent"], made["status"], made["ends_at"]) == (Decimal("12.5"), "active", None)
    assert deals(billing, "now") == [made] == [billing.get(f"/api/deals/{made['id']}")]
    cut = billing.get(f"/api/subscriptions/{before['id']}")
    assert (cut["status"], cut["ends_at"], cut["price"]) == ("ended", made["starts_at"], None)
    after = billing.get(f"/api/subscriptions/{made['id']}")
    assert (after["plan"], after["price"], after["cancel_at"]) == ("dealt", Decimal("19.5"), None)
    assert after["current_period_end"] == before["current_period_end"]
    ended = billing.delete(f"/api/deals/{made['id']}")
    assert ended["status"] == "ended"
    assert deals(billing, "now", status="active") == []
    assert [each["status"] for each in deals(billing, "now")] == ["ended"]
    assert billing.delete(f"/api/deals/{made['id']}", status=409)["code"] == "not_active"
    params = {"customer_id": "now", "status": "active"}
    listed = billing.ask("GET", "/api/subscriptions", params=params)["subscriptions"]
    assert [(each["price"], each["quantity"], each["ends_at"]) for each in listed] == [(None, 1, None)]


def test_a_deal_that_begins_and_ends_later_earns_for_its_time_alone(stack: Stack, billing: Asker) -> None:
    """Fees of whole months, of which the deal covers one: what the others earn stays as it was."""
    billing.post(
        "/api/subscriptions",
        {"customer_id": subscribed(stack, "span"), "plan": "dealt", "starts_at": "2099-01-01", "anchor": 1},
        status=201,
    )
    times = {"starts_at": "2099-03-01", "ends_at": "2099-04-01"}
    made = billing.post("/api/deals", {"customer_id": "span", "discount_percent": 50, **times}, status=201)
    assert (made["status"], made["starts_at"][:10], made["ends_at"][:10]) == (
        "pending",
        "2099-03-01",
        "2099-04-01",
    )
    assert earned(stack, "span") == [30 * DOLLAR, 30 * DOLLAR, 15 * DOLLAR, 30 * DOLLAR]
    spans = billing.get("/api/subscriptions", customer_id="span")["subscriptions"]
    assert [(each["discount_percent"], each["cancel_at"]) for each in spans] == [
        (0, None),
        (50, None),
        (0, None),
    ]
    # One inside of the other holds for its own time.
    inner = {"customer_id": "span", "price": 0, "starts_at": "2099-03-17", "ends_at": "2099-04-01"}
    inside = billing.post("/api/deals", inner, status=201)
    assert earned(stack, "span")[2] == 7_741_935_484  # 16 of 31 days at half of the price
    billing.delete(f"/api/deals/{inside['id']}")
    assert earned(stack, "span") == [30 * DOLLAR, 30 * DOLLAR, 15 * DOLLAR, 30 * DOLLAR]
    (back,) = deals(billing, "span")
    # Ended in its middle, and then taken back as a whole: one subscription is left, as there was.
    billing.delete(f"/api/deals/{back['id']}", ends_at="2099-03-10")
    assert deals(billing, "span")[0]["ends_at"][:10] == "2099-03-10"
    assert billing.delete(f"/api/deals/{back['id']}")["status"] == "ended"
    (left,) = billing.get("/api/subscriptions", customer_id="span")["subscriptions"]
    assert (left["ends_at"], left["discount_percent"]) == (None, 0)
    assert earned(stack, "span") == [30 * DOLLAR] * 4


def subscribed(stack: Stack, customer: str) -> str:
    stack.customers.add_customer(customer)
    return customer


def earned(stack: Stack, customer: str) -> list[int]:
    """What the plan will earn in the first months of 2099, in nano-USD: reports end with the present."""
    months = ("2099-01-01", "2099-02-01", "2099-03-01", "2099-04-01", "2099-05-01")
    plan = stack.plans.plan("dealt")
    assert plan.price is not None
    fees = [fee_of(each, plan, plan.price) for each in stack.customers.customer(customer).subscriptions]
    return [
        sum(earned_nano(fee, moment_ms(since), moment_ms(until)) for fee in fees)
        for since, until in itertools.pairwise(months)
    ]


def test_what_is_planned_goes_with_the_plan(stack: Stack, billing: Asker) -> None:
    made = subscribe(stack, billing, "planned")
    deal = billing.post(
        "/api/deals", {"customer_id": "planned", "quantity": 3, "starts_at": later(400)}, status=201
    )
    mine = f"/api/subscriptions/{made['id']}"
    # A later deal is no change of plan, and no end of it.
    told = billing.get(mine)
    assert (told["scheduled_change"], told["cancel_at"]) == (None, None)
    billing.delete(f"{mine}/plan-change", status=409)
    cancelled = billing.post(f"{mine}/cancellation", {"when": "END_OF_PERIOD"})
    assert cancelled["cancel_at"] == told["current_period_end"]
    assert deals(billing, "planned") == []
    assert billing.delete(f"{mine}/cancellation")["cancel_at"] is None
    billing.get(f"/api/deals/{deal['id']}", status=404)
    # And where the deal begins first, the end is that of both.
    soon = billing.post(
        "/api/deals", {"customer_id": "planned", "quantity": 3, "starts_at": later(0.001)}, status=201
    )
    ended = billing.post(f"{mine}/cancellation", {"when": "END_OF_PERIOD"})
    assert ended["cancel_at"] == told["current_period_end"]
    assert billing.get(f"/api/deals/{soon['id']}")["ends_at"] == told["current_period_end"]
    assert billing.delete(f"{mine}/cancellation")["cancel_at"] is None
    assert billing.get(f"/api/deals/{soon['id']}")["ends_at"] is None
    # Another plan has its own price.
    billing.post(f"{mine}/plan-change", {"plan": "other", "when": "IMMEDIATE"})
    assert deals(billing, "planned") == []


def test_a_subscription_can_begin_with_one(stack: Stack, billing: Asker) -> None:
    made = subscribe(stack, billing, "begins", price_nano="5000000000", quantity=2)
    assert (made["price"], made["quantity"]) == (5, 2)
    assert [each["id"] for each in deals(billing, "begins")] == [made["id"]]


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"price": 1, "price_nano": "1"},
        {"price": -1},
        {"price": "5"},
        {"quantity": 0},
        {"discount_percent": 101},
        {"discount_percent": 0.00001},
        {"quantity": 2, "starts_at": "2020-01-01"},
        {"quantity": 2, "starts_at": "9999-12-31"},
        {"quantity": 2, "starts_at": "2099-02-01", "ends_at": "2099-02-01"},
        {"quantity": 2, "plan": "other"},
    ],
)
def test_what_cannot_be_agreed(stack: Stack, billing: Asker, wish: dict[str, Any]) -> None:
    stack.customers.subscribe("fixed", "dealt", deal=Deal(quantity=7))
    billing.post("/api/deals", {"customer_id": "fixed", **wish}, status=400)
    assert {each["quantity"] for each in deals(billing, "fixed")} == {7}


def test_who_is_on_no_plan_and_who_is_nobody(stack: Stack, billing: Asker) -> None:
    billing.post("/api/deals", {"customer_id": "nobody", "quantity": 2}, status=404)
    body = {"customer_id": subscribed(stack, "planless"), "quantity": 2}
    assert "on no plan" in billing.post("/api/deals", body, status=400)["error"]
    plain = subscribe(stack, billing, "plain-price")
    billing.get(f"/api/deals/{plain['id']}", status=404)
    billing.delete(f"/api/deals/{plain['id']}", status=404)


def test_accounts_do_not_see_each_others(stack: Stack, http: httpx2.Client, billing: Asker) -> None:
    mine = subscribe(stack, billing, "secret", quantity=5)
    secret, _ = stack.keyring.create("elsewhere", account_id="deals-elsewhere", scopes=SCOPES)
    other = Asker(http, secret)
    assert other.get("/api/deals")["deals"] == []
    other.get(f"/api/deals/{mine['id']}", status=404)
    other.delete(f"/api/deals/{mine['id']}", status=404)
    other.post("/api/deals", {"customer_id": "secret", "quantity": 2}, status=404)
    assert [each["quantity"] for each in deals(billing, "secret")] == [5]
    reader = Asker(http, stack.key(scopes=("usage.read",)))
    reader.get("/api/deals", status=403)
