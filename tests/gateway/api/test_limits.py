"""Limits over HTTP: set, changed, cleared, and what is used of them; they hold for the next request."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from budgets.limit import KINDS, SCOPES, windows_for
from tests.gateway.api.asking import Asker, all_pages, chat
from tests.stack import Stack

DOLLAR = 10**9
_SUBJECTS: dict[str, dict[str, str]] = {
    "account": {},
    "key": {"key_id": "*"},
    "customer": {"customer_id": "c/1"},
    "workspace": {"customer_id": "c1", "workspace": "*"},
    "feature": {"feature_key": "search"},
    "customer_feature": {"customer_id": "*", "feature_key": "search"},
    "plan": {"plan": "pro"},
    "trace": {"trace_id": "*"},
    "route": {"route": "gpt-4o-mini"},
}


@pytest.fixture
def billing(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=("billing.read", "billing.write")))


def test_a_lowered_limit_holds_for_the_next_request(stack: Stack, billing: Asker) -> None:
    secret = stack.key()
    made = billing.post(
        "/api/limits",
        {"scope": "customer", "customer_id": "lowered", "window": "month", "value": 5},
        status=201,
    )
    assert (made["value"], made["value_nano"], made["spent_nano"]) == (Decimal("5.00"), "5000000000", "0")
    answer = chat(stack, secret, **{"Observe-Customer": "lowered"})
    assert answer.status_code == 200
    spent = stack.event(answer.headers["x-request-id"]).known_nano
    told = billing.get(f"/api/limits/{made['id']}")
    assert told["spent_nano"] == told["used_nano"] == str(spent)
    assert told["spent"] == Decimal(spent).scaleb(-9)
    assert told["remaining_nano"] == str(5 * DOLLAR - spent)
    assert (told["rows"], told["rows_total"]) == ([], None)
    lowered = billing.patch(f"/api/limits/{made['id']}", {"value_nano": str(spent)})
    assert (lowered["id"], lowered["restarted"], lowered["remaining_nano"]) == (made["id"], False, "0")
    refused = chat(stack, secret, **{"Observe-Customer": "lowered"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_exceeded")
    billing.patch(f"/api/limits/{made['id']}", {"enforcement": "soft"})
    assert chat(stack, secret, **{"Observe-Customer": "lowered"}).status_code == 200
    billing.patch(f"/api/limits/{made['id']}", {"enforcement": "hard"})
    assert chat(stack, secret, **{"Observe-Customer": "lowered"}).status_code == 402
    assert billing.get(f"/api/limits/{made['id']}")["remaining"] < 0  # what ran without it is told
    assert billing.delete(f"/api/limits/{made['id']}") == {"success": True, "id": made["id"]}
    assert chat(stack, secret, **{"Observe-Customer": "lowered"}).status_code == 200
    billing.get(f"/api/limits/{made['id']}", status=404)
    billing.delete(f"/api/limits/{made['id']}", status=404)


def test_setting_it_again_changes_it(billing: Asker) -> None:
    wish = {"scope": "feature", "feature_key": "twice", "window": "day", "value": 1.25}
    first = billing.post("/api/limits", wish, status=201)
    again = billing.post("/api/limits", {**wish, "value": 2}, status=200)
    assert (again["id"], again["value_nano"]) == (first["id"], "2000000000")
    moved = billing.post("/api/limits", {**wish, "time_zone": "Europe/Berlin"}, status=200)
    assert moved["restarted"]
    assert moved["id"] != first["id"]
    assert moved["time_zone"] == "Europe/Berlin"


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_kind_and_window_can_be_limited(stack: Stack, http: httpx2.Client, scope: str) -> None:
    secret, _ = stack.keyring.create(f"of {scope}", account_id=f"of-{scope}", scopes=("admin",))
    admin = Asker(http, secret)
    made = []
    for kind in KINDS:
        for window in windows_for(scope, kind):
            value = Decimal("0.50") if kind == "money" else 7
            wish = {"scope": scope, **_SUBJECTS[scope], "kind": kind, "window": window}
            told = admin.post("/api/limits", {**wish, "value": float(value)}, status=201)
            assert told["value"] == value
            assert told["value_nano"] == ("500000000" if kind == "money" else None)
            assert {name: told[name] for name in wish} == wish
            if "*" not in _SUBJECTS[scope].values():
                assert (told["remaining"], told["used"], told["used_reason"]) == (value, 0, None)
            else:
                assert (told["remaining"], told["used_reason"]) == (None, "each_has_its_own")
            made.append(told["id"])
    listed = all_pages(admin, "/api/limits", "limits", limit=2, scope=scope)
    assert sorted(each["id"] for each in listed) == sorted(made)
    for limit_id in made:
        admin.delete(f"/api/limits/{limit_id}")
    assert admin.get("/api/limits")["limits"] == []


def test_a_limit_on_each_tells_who_has_the_least_left(stack: Stack, billing: Asker) -> None:
    secret = stack.key()
    made = billing.post(
        "/api/limits",
        {"scope": "customer", "customer_id": "*", "kind": "requests", "window": "day", "value": 50},
        status=201,
    )
    for customer, times in (("often", 3), ("seldom", 1)):
        for _ in range(times):
            assert chat(stack, secret, **{"Observe-Customer": customer}).status_code == 200
    told = billing.get(f"/api/limits/{made['id']}")
    rows = [(row["customer_id"], row["used"], row["remaining"]) for row in told["rows"]]
    assert rows == [("often", 3, 47), ("seldom", 1, 49)]
    assert (told["rows_total"], told["value"], told["spent"]) == (2, 50, None)
    few = billing.get(f"/api/limits/{made['id']}", rows=1)
    assert (len(few["rows"]), few["rows_total"]) == (1, 2)
    billing.delete(f"/api/limits/{made['id']}")


def test_lists_are_filtered(stack: Stack, billing: Asker) -> None:
    wishes: list[dict[str, Any]] = [
        {"scope": "customer", "customer_id": "filtered"},
        {"scope": "workspace", "customer_id": "filtered", "workspace": "eu"},
        {"scope": "customer_feature", "customer_id": "filtered", "feature_key": "search"},
        {"scope": "plan", "plan": "filtered"},
    ]
    ids = [
        billing.post("/api/limits", {**wish, "window": "week", "value": 3}, status=201)["id"]
        for wish in wishes
    ]
    mine = billing.get("/api/limits", customer_id="filtered")["limits"]
    assert [each["id"] for each in mine] == ids[:3]
    assert [each["id"] for each in billing.get("/api/limits", plan="filtered")["limits"]] == ids[3:]
    both = billing.get("/api/limits", customer_id="filtered", scope="workspace")["limits"]
    assert [(each["id"], each["workspace"]) for each in both] == [(ids[1], "eu")]
    refused = billing.ask("GET", "/api/limits?plan=a&key_id=b", status=400)
    assert "one of" in refused["error"]
    billing.ask("GET", "/api/limits?plan=a&scope=key", status=400)


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"scope": "customer", "window": "day", "value": 1}, "customer_id"),
        ({"scope": "account", "customer_id": "a", "window": "day", "value": 1}, "customer_id"),
        ({"scope": "customer", "customer_id": "a", "value": 1}, "window"),
        ({"scope": "customer", "customer_id": "a", "window": "day"}, "value"),
        ({"scope": "customer", "customer_id": "a", "window": "day", "value": 1, "value_nano": "1"}, "value"),
        ({"scope": "customer", "customer_id": "a", "window": "day", "value": -1}, "value"),
        ({"scope": "customer", "customer_id": "a", "window": "day", "value": 1e300}, "value"),
        ({"scope": "customer", "customer_id": "a", "window": "minute", "value": 1}, "minute"),
        ({"scope": "trace", "trace_id": "*", "window": "day", "value": 1}, "lifetime"),
        ({"scope": "customer", "customer_id": "a", "window": "day", "value": 1, "time_zone": "Mars"}, "Mars"),
        ({"scope": "customer", "customer_id": "a", "window": "day", "value": 1, "anchor": 3}, "anchor"),
        (
            {"scope": "customer", "customer_id": "a", "window": "day", "value": 1, "thresholds": [90, 50]},
            "thresholds",
        ),
        ({"scope": "key", "key_id": "key_none", "window": "day", "value": 1}, "No such key"),
        ({"scope": "planet", "window": "day", "value": 1}, "scope"),
        ({"scope": "account", "window": "day", "value": 1, "hard": True}, "hard"),
        ({"scope": "customer", "customer_id": "a\u001fb", "window": "day", "value": 1}, "customer_id"),
    ],
)
def test_what_cannot_be_is_said(billing: Asker, wish: dict[str, Any], named: str) -> None:
    refused = billing.post("/api/limits", wish, status=404 if named == "No such key" else 400)
    assert named.lower() in refused["error"].lower()


def test_a_key_cannot_lift_what_limits_itself(stack: Stack, http: httpx2.Client) -> None:
    secret = stack.key(scopes=("billing.read", "billing.write", "keys.write"), limits={"month": DOLLAR})
    own = Asker(http, secret)
    child = own.post(
        "/api/sdk-keys",
        {"name": "child", "scopes": ["billing.write", "billing.read"], "budget_cents": 10},
        status=201,
    )
    (inherited,) = child["inherited_limits"]
    (lower,) = child["limits"]
    for asker in (own, Asker(http, child["key"])):
        for method in ("PATCH", "DELETE"):
            body = {"json": {"value": 1000}} if method == "PATCH" else {}
            refused = asker.ask(method, f"/api/limits/{inherited['id']}", status=403, **body)
            assert refused["code"] == "own_limit"
    Asker(http, child["key"]).patch(f"/api/limits/{lower['id']}", {"value": 1000}, status=403)
    assert own.patch(f"/api/limits/{lower['id']}", {"value": 0.2})["value_nano"] == "200000000"
    limit = {"scope": "key", "key_id": "*", "window": "day", "value": 1}
    own.post("/api/limits", limit, status=403)


def test_limits_of_another_account_are_not_found(stack: Stack, http: httpx2.Client, billing: Asker) -> None:
    wish = {"scope": "customer", "customer_id": "theirs", "window": "month", "value": 1}
    secret, _ = stack.keyring.create("elsewhere", account_id="elsewhere", scopes=("admin",))
    theirs = Asker(http, secret).post("/api/limits", wish, status=201)
    for method in ("GET", "DELETE", "PATCH"):
        body = {"json": {"value": 9}} if method == "PATCH" else {}
        refused = billing.ask(method, f"/api/limits/{theirs['id']}", status=404, **body)
        unknown = billing.ask(method, "/api/limits/lim_none", status=404, **body)
        assert refused == unknown
    assert billing.get("/api/limits", customer_id="theirs")["limits"] == []
    mine = billing.post("/api/limits", {**wish, "value": 2}, status=201)
    assert mine["id"] != theirs["id"]
    assert Asker(http, secret).get(f"/api/limits/{theirs['id']}")["value_nano"] == str(DOLLAR)
    account = billing.post("/api/limits", {"scope": "account", "window": "day", "value": 900}, status=201)
    assert [each["id"] for each in Asker(http, secret).get("/api/limits")["limits"]] == [theirs["id"]]
    billing.delete(f"/api/limits/{account['id']}")
