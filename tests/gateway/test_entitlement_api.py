"""What the endpoints say of a customer's entitlements is what its next request meets."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from accounts.feature import Feature
from accounts.plan import PlanRule
from accounts.policy import Policy
from accounts.subscription import Override, Overrides
from budgets.names import names_of
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.gateway.test_entitlements import DENIED, DOLLAR, OK, SPENT, ask, plan, requests, told
from tests.stack import ACCOUNT, Stack, running_stack

READING = ("proxy.chat", "usage.read", "billing.read")


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    with running_stack(simulated_settings(simulator)) as started:
        yield started


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    return stack.key(scopes=READING)


def root(stack: Stack) -> str:
    return stack.base_url.removesuffix("/v1")


def check(stack: Stack, secret: str, customer: str, feature: str, **more: Any) -> httpx2.Response:
    return httpx2.post(
        f"{root(stack)}/api/v1/client/entitlements/check",
        json={"customerReferenceId": customer, "featureKey": feature, **more},
        headers={"Authorization": f"Bearer {secret}"},
        timeout=60,
    )


def checked(stack: Stack, secret: str, customer: str, feature: str, **more: Any) -> dict[str, Any]:
    answer = check(stack, secret, customer, feature, **more)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    assert document["allowed"] is document["data"]["allowed"]
    return document["data"]  # type: ignore[no-any-return]


def test_a_check_tells_the_figures_and_reserves_nothing(stack: Stack, secret: str) -> None:
    stack.plans.put_plan(plan("c1", requests(3), features=("search", "notes")))
    stack.customers.subscribe("c1", "c1")
    assert told(ask(stack, secret, customer="c1")) == OK
    before = stack.redis.dbsize()
    for _ in range(2):
        found = checked(stack, secret, "c1", "search")
        assert (found["allowed"], found["reason"], found["plan"]) == (True, "subscribed", "c1@1")
        assert [found[name] for name in ("unit", "limit", "used", "remaining")] == ["requests", 3, 1, 2]
        assert found["resets_at"].endswith("-01T00:00:00Z")
    assert stack.redis.dbsize() == before
    assert stack.open_requests() == 0
    assert checked(stack, secret, "c1", "search", requested={"requests": 3})["allowed"] is False
    boolean = checked(stack, secret, "c1", "notes")
    assert boolean["allowed"]
    assert (boolean["limit"], boolean["remaining"], boolean["limits"]) == (None, None, [])
    refused = checked(stack, secret, "c1", "images")
    assert (refused["allowed"], refused["reason"]) == (False, "feature_not_in_plan")
    assert "images" in refused["message"]


def test_the_plan_of_a_customer_with_all_its_features(stack: Stack, secret: str) -> None:
    spend = PlanRule("money", "month", 5 * DOLLAR)
    stack.plans.put_plan(plan("c2", requests(3), spend, features=("search", "notes"), name="Second"))
    bound = stack.key(scopes=READING, customer="c2")
    stack.customers.subscribe("c2", "c2")
    answer = httpx2.get(f"{root(stack)}/api/plan", headers={"Authorization": f"Bearer {bound}"}, timeout=60)
    document = answer.json()
    assert (document["plan"], document["plan_version"], document["name"]) == ("c2", 1, "Second")
    assert [each["feature_key"] for each in document["features"]] == ["search", "notes"]
    assert document["features"][0]["limit"] == 3
    money = document["features"][1]  # nothing but the budget of all features together is on it
    assert (money["unit"], money["limit"], money["remaining_nano"]) == ("usd", 5.0, str(5 * DOLLAR))
    unbound = httpx2.get(f"{root(stack)}/api/plan", headers={"Authorization": f"Bearer {secret}"}, timeout=60)
    assert (unbound.status_code, unbound.json()["param"]) == (400, "Observe-Customer")
    nobody = httpx2.get(
        f"{root(stack)}/api/plan",
        headers={"Authorization": f"Bearer {secret}", "Observe-Customer": "nobody"},
        timeout=60,
    )
    assert (nobody.json()["plan"], nobody.json()["features"]) == (None, [])


def test_who_may_ask_and_how_faults_look(stack: Stack, secret: str) -> None:
    def code(answer: httpx2.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["error"]["code"]

    assert code(check(stack, stack.key(), "c3", "search")) == (403, "insufficient_scope")
    assert code(check(stack, "obs_nonsense", "c3", "search")) == (401, "invalid_api_key")
    # A key that could not make a request for a customer cannot try out which ones there are.
    bound = stack.key(scopes=READING, customer="c4")
    assert code(check(stack, bound, "c3", "search")) == (403, "customer_not_allowed")
    assert check(stack, bound, "c4", "search").status_code == 200
    assert code(check(stack, secret, "", "search"))[0] == 400
    assert code(check(stack, secret, "c3", "search", requested={"apples": 1}))[0] == 400
    broken = httpx2.post(
        f"{root(stack)}/api/v1/client/entitlements/check",
        content=b"{",
        headers={"Authorization": f"Bearer {secret}"},
        timeout=60,
    )
    assert broken.status_code == 400
    stack.revoke(bound)
    assert code(check(stack, bound, "c4", "search")) == (401, "invalid_api_key")


def test_a_ledger_that_lost_its_values_is_not_an_answer(stack: Stack, secret: str) -> None:
    stack.plans.put_plan(plan("c5", requests(3)))
    stack.customers.subscribe("c5", "c5")
    stack.redis.hdel(names_of(ACCOUNT).limits, "c5@1/search/requests/month")
    assert check(stack, secret, "c5", "search").status_code == 503
    assert told(ask(stack, secret, customer="c5"))[0] == 503
    stack.plans.put_plan(plan("c5", requests(3)))  # publishes all plans again
    assert checked(stack, secret, "c5", "search")["allowed"]


SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_check_says_what_the_request_after_it_meets(stack: Stack, secret: str, seed: int) -> None:
    """Random plans, subscriptions, overrides, limits of other kinds, switched off features; after each change
    every customer and feature is asked about, and then used."""
    chance = random.Random(seed)
    features = [f"s{seed}f{n}" for n in range(3)]
    customers = [f"s{seed}c{n}" for n in range(3)]
    plans = [f"s{seed}p{n}" for n in range(2)]

    def rules() -> list[PlanRule]:
        found = {}
        for feature in (*features, None):
            for window in chance.sample(["day", "week", "month", "lifetime"], chance.randint(0, 2)):
                more: dict[str, Any] = {"enforcement": chance.choice(["hard", "hard", "soft"])}
                if window in ("day", "month") and chance.random() < 0.4:
                    more |= {"mode": "accumulate", "carry_max": 2}
                rule = requests(chance.randint(0, 4), feature=feature, window=window, **more)
                found[rule.name] = rule
        return list(found.values())

    def put_plan() -> None:
        found = rules()
        granted = {rule.feature for rule in found if rule.feature} | set(chance.sample(features, 1))
        key = chance.choice(plans)
        others = chance.random() < 0.3
        anchor = chance.choice([0, 1, 15])
        stack.plans.put_plan(plan(key, *found, features=tuple(sorted(granted)), others=others, anchor=anchor))
        stack.customers.migrate(key)

    def subscribe() -> None:
        known = {each.plan for each, _ in stack.plans.plans()}
        stack.customers.subscribe(chance.choice(customers), chance.choice(sorted(known & set(plans))))

    def unsubscribe() -> None:
        customer = chance.choice(customers)
        try:
            stack.customers.unsubscribe(customer)
        except (LookupError, ValueError):
            stack.customers.add_customer(customer)

    def override() -> None:
        customer = chance.choice(customers)
        try:
            present = stack.customers.customer(customer).at(stack.customers.now_ms())
        except LookupError:
            return
        if present is not None:
            names = [rule.name for rule in stack.plans.plan(present.plan, present.version).rules]
            limits = {name: Override(value=chance.randint(0, 5)) for name in names[:1]}
            stack.customers.override(customer, Overrides(limits, {features[0]: chance.random() < 0.5}))

    def policy() -> None:
        known = sorted({each.plan for each, _ in stack.plans.plans()} & set(plans))
        choice = chance.choice(["allow", "deny", "default_plan"])
        stack.plans.set_policy(
            Policy(choice, plan=chance.choice(known) if choice == "default_plan" else None)
        )

    def switch() -> None:
        stack.plans.put_feature(Feature(chance.choice(features), enabled=chance.random() < 0.7))

    def limit() -> None:
        stack.limits.set("customer", chance.choice(customers), "requests", "day", chance.randint(0, 3))

    put_plan()
    seen = set()
    for _ in range(8):
        chance.choice([put_plan, subscribe, subscribe, unsubscribe, override, policy, switch, limit])()
        for customer in customers:
            feature = chance.choice(features)
            says = checked(stack, secret, customer, feature)
            meets = told(ask(stack, secret, customer=customer, feature=feature))
            expected = OK if says["allowed"] else SPENT if says["reason"] == "limit_reached" else DENIED
            assert meets == expected, says
            seen.add(meets)
    assert len(seen) >= 2
