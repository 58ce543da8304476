"""Entitlements on the platform paths: asked for one feature or for all, with and without more use."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from accounts.plan import PlanRule, PlanVersion
from tests.gateway.api.asking import Asker, chat
from tests.stack import Stack

PATH = "/api/v1/client/entitlements"


@pytest.fixture(scope="module", autouse=True)
def plan(stack: Stack) -> None:
    rules = (PlanRule("requests", "month", 3, "search"), PlanRule("money", "day", 5 * 10**9))
    stack.plans.put_plan(PlanVersion("entitled", 0, ("search", "notes"), False, rules))
    stack.customers.subscribe("user_42", "entitled")
    stack.customers.add_customer("bare")


@pytest.fixture
def usage(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=("usage.read",)))


def test_a_feature_of_a_customer(stack: Stack, usage: Asker) -> None:
    secret = stack.key()
    headers = {"Observe-Customer": "user_42", "Observe-Feature": "search"}
    assert chat(stack, secret, **headers).status_code == 200
    data = usage.get(f"{PATH}/user_42/search")["data"]
    assert (data["referenceCustomerId"], data["featureKey"], data["allowed"]) == ("user_42", "search", True)
    assert data["meta"]["reason"]["code"] == "subscribed"
    assert {name: data["usage"][name] for name in ("used", "limit", "remaining")} == {
        "used": 1,
        "limit": 3,
        "remaining": 2,
    }
    assert "simulation" not in data
    refused = usage.get(f"{PATH}/user_42/images")["data"]
    assert (refused["allowed"], refused["meta"]["reason"]["code"]) == (False, "feature_not_in_plan")
    assert "images" in refused["meta"]["reason"]["description"]
    assert usage.ask("GET", f"{PATH}/bare/search")["data"]["allowed"] is True  # nothing is asked of it


@pytest.mark.parametrize("path", ["nobody/search", "nobody"])
def test_of_whom_nothing_is_recorded_nothing_is_told(usage: Asker, path: str) -> None:
    assert usage.ask("GET", f"{PATH}/{path}", status=204) is None


def test_all_features_of_a_plan(stack: Stack, http: httpx2.Client, usage: Asker) -> None:
    told = usage.get(f"{PATH}/user_42")
    assert told["success"] is True
    (item,) = told["data"]["items"]
    assert item["subscriptionId"].startswith("sub_")
    both = [{"featureKey": "search", "allowed": True}, {"featureKey": "notes", "allowed": True}]
    assert item["entitlements"] == both
    assert told["data"]["pagination"] == {"total": 2, "limit": 50, "offset": 0, "hasMore": False}
    second = usage.get(f"{PATH}/user_42", limit=1, offset=1)["data"]
    assert second["items"][0]["entitlements"] == both[1:]
    assert usage.get(f"{PATH}/user_42", limit=1)["data"]["pagination"]["hasMore"] is True
    for query in ("limit=0", "limit=x", "offset=-1", "limit=201", "page=1"):
        usage.ask("GET", f"{PATH}/user_42?{query}", status=400)
    (bare,) = usage.get(f"{PATH}/bare")["data"]["items"]
    assert bare == {"subscriptionId": None, "entitlements": []}
    bound = Asker(http, stack.key(scopes=("usage.read",), customer="user_42", feature="notes"))
    (mine,) = bound.get(f"{PATH}/user_42")["data"]["items"]
    assert mine["entitlements"] == both[1:]
    bound.get(f"{PATH}/bare", status=403)
    bound.get(f"{PATH}/user_42/search", status=403)


@pytest.mark.parametrize(
    ("units", "allowed", "projected", "left"), [(0, True, 1, 2), (2, True, 3, 0), (3, False, 4, 0)]
)
def test_what_more_use_would_do(
    stack: Stack, usage: Asker, units: int, allowed: bool, projected: int, left: int
) -> None:
    before = stack.redis.dbsize()
    body = {"customerReferenceId": "user_42", "featureKey": "search", "context": {"flowId": "f-1"}}
    for name in ("usage", "track"):
        told = usage.post(PATH, {**body, name: {"eventName": "search", "usageUnits": units}})["data"]
        assert (told["allowed"], told["flowId"]) == (allowed, "f-1")
        assert told["simulation"] == {
            "requestedUsage": units,
            "projectedUsage": projected,
            "projectedRemaining": left,
            "wouldExceedLimit": not allowed,
        }
    assert stack.redis.dbsize() == before  # nothing was used, nothing reserved
    assert "simulation" not in usage.post(PATH, body)["data"]
    open_ended = usage.post(PATH, {**body, "featureKey": "notes", "usage": {"usageUnits": 9}})["data"]
    assert open_ended["simulation"]["wouldExceedLimit"] is None  # only money is limited there


@pytest.mark.parametrize(
    "change",
    [
        {"featureKey": None},
        {"usage": 3},
        {"usage": {"usageUnits": -1}},
        {"usage": {"usageUnits": 1.5}},
        {"context": {"flowId": "f" * 65}},
        {"customerReferenceId": "a b"},
        {"usage": {"usageUnits": "2"}},
        {"usage": {"usageUnits": True}},
        {"usage": {}, "track": {}},
    ],
)
def test_what_cannot_be_asked(usage: Asker, change: dict[str, Any]) -> None:
    usage.post(PATH, {"customerReferenceId": "user_42", "featureKey": "search", **change}, status=400)


@pytest.mark.parametrize(
    ("path", "change", "named"),
    [
        (PATH, {"customerReferenceID": "user_1"}, "customerReferenceID"),
        (PATH, {"usage": {"usage_units": 2}}, "usage_units"),
        (PATH, {"context": {"flow": "f-1"}}, "flow"),
        (f"{PATH}/check", {"usage": {"usageUnits": 2}}, "usage"),
        (f"{PATH}/check", {"requested": {"apples": 2}}, "requested.apples"),
        (f"{PATH}/check", {"requested": {"requests": "2"}}, "requested.requests"),
    ],
)
def test_what_it_does_not_know_is_named(usage: Asker, path: str, change: dict[str, Any], named: str) -> None:
    """A slip in a field's name would else be an answer to another question."""
    body = {"customerReferenceId": "user_42", "featureKey": "search", **change}
    error = usage.post(path, body, status=400)["error"]
    assert named in error["message"]
    usage.ask("GET", f"{PATH}/user_42/search?units=2", status=400)
    usage.post(f"{path}?units=2", {"customerReferenceId": "user_42", "featureKey": "search"}, status=400)


def test_a_question_as_the_platform_writes_it(usage: Asker) -> None:
    """With every field that its clients send."""
    wish = {"eventName": "search", "usageUnits": 1, "model": "gpt-4o-mini", "meta": {"from": "checkout"}}
    context = {"idempotencyKey": "check-1", "flowId": "f-1"}
    body = {"customerReferenceId": "user_42", "featureKey": "search", "usage": wish, "context": context}
    data = usage.post(PATH, body)["data"]
    assert (data["flowId"], data["simulation"]["requestedUsage"]) == ("f-1", 1)
    told = usage.post(f"{PATH}/check", {"customerReferenceId": "user_42", "featureKey": "search"})
    assert told["allowed"] is told["data"]["allowed"] is True


def test_customers_of_another_account_are_not_there(stack: Stack, http: httpx2.Client) -> None:
    secret, _ = stack.keyring.create(
        "elsewhere", account_id="entitled-elsewhere", scopes=("usage.read",), assertion="any"
    )
    other = Asker(http, secret)
    assert other.ask("GET", f"{PATH}/user_42", status=204) is None
    assert other.ask("GET", f"{PATH}/user_42/search", status=204) is None
