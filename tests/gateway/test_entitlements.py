"""Plans as a client meets them: what is refused, what is counted, and that a change holds at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from accounts.feature import Feature
from accounts.plan import PlanRule, PlanVersion
from accounts.policy import Policy
from accounts.subscription import Override, Overrides
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.gateway.scripts import scripts_run
from tests.stack import Stack, running_stack, wait_until

MODEL = "gpt-4o-mini"
DOLLAR = 10**9


@pytest.fixture
def stack(simulator: Simulator) -> Iterator[Stack]:
    """A gateway of the test's own: plans are of the whole account."""
    with running_stack(simulated_settings(simulator)) as started:
        yield started


def ask(
    stack: Stack, secret: str, customer: str | None = "acme", feature: str | None = "search", **fields: Any
) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    if customer is not None:
        headers["Observe-Customer"] = customer
    if feature is not None:
        headers["Observe-Feature"] = feature
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi. [[simulate: tokens=5]]"}]}
    return httpx2.post(
        f"{stack.base_url}/chat/completions",
        json=body | {"max_tokens": 20} | fields,
        headers=headers,
        timeout=60,
    )


def told(answer: httpx2.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json().get("error", {}).get("code")


def plan(key: str, *rules: PlanRule, features: tuple[str, ...] = ("search",), **more: Any) -> PlanVersion:
    return PlanVersion(key, 0, features=features, rules=rules, **more)


def requests(value: int, **more: Any) -> PlanRule:
    return PlanRule(**{"kind": "requests", "window": "month", "value": value, "feature": "search", **more})


OK, DENIED, SPENT = (200, None), (403, "entitlement_denied"), (402, "budget_exceeded")


def test_a_plan_grants_its_features_and_no_others_and_its_events_name_it(stack: Stack) -> None:
    secret = stack.key()
    stack.plans.put_plan(plan("pro", requests(2)))
    stack.customers.subscribe("acme", "pro")
    answers = [ask(stack, secret) for _ in range(3)]
    assert [told(each) for each in answers] == [OK, OK, SPENT]
    assert stack.event(answers[0].headers["x-request-id"]).plan == "pro@1"
    refused = ask(stack, secret, feature="images")
    assert told(refused) == DENIED
    assert refused.headers["x-should-retry"] == "false"
    assert refused.json()["error"]["param"] == "Observe-Feature"
    for word in ("acme", "images", "pro"):
        assert word in refused.json()["error"]["message"]
    unnamed = ask(stack, secret, feature=None)
    assert told(unnamed) == DENIED
    assert "Observe-Feature" in unnamed.json()["error"]["message"]
    # Another customer is on no plan: nothing is asked of it.
    assert told(ask(stack, secret, customer="other", feature="images")) == OK


def test_unknown_customers_are_allowed_refused_or_on_the_default_plan(stack: Stack) -> None:
    secret = stack.key()
    stack.plans.put_plan(plan("free", requests(1)))
    assert told(ask(stack, secret)) == OK
    stack.plans.set_policy(Policy("deny"))
    assert told(ask(stack, secret)) == DENIED
    assert told(ask(stack, secret, customer=None)) == OK
    stack.plans.set_policy(Policy("deny", "deny"))
    assert told(ask(stack, secret, customer=None)) == DENIED
    stack.plans.set_policy(Policy("default_plan", plan="free"))
    answers = [ask(stack, secret, customer=name) for name in ("a", "a", "b")]
    assert [told(each) for each in answers] == [OK, SPENT, OK]
    assert stack.event(answers[0].headers["x-request-id"]).plan == "free@1"
    # The default plan is its latest version, at once.
    stack.plans.put_plan(plan("free", requests(2)))
    assert told(ask(stack, secret, customer="a")) == OK
    assert told(ask(stack, secret, customer="a")) == SPENT


def test_a_customer_that_was_just_created_is_known_at_once(stack: Stack) -> None:
    secret = stack.key()
    stack.plans.put_plan(plan("pro"))
    stack.plans.set_policy(Policy("deny"))
    for name in ("first", "second"):  # the first one also makes workers ask for customers' documents
        assert told(ask(stack, secret, customer=name)) == DENIED
        stack.customers.subscribe(name, "pro")
        assert told(ask(stack, secret, customer=name)) == OK
        stack.customers.unsubscribe(name)
        assert told(ask(stack, secret, customer=name)) == DENIED


def test_a_feature_that_is_switched_off_is_refused_at_once_to_everybody(stack: Stack) -> None:
    secret = stack.key()
    stack.plans.put_plan(plan("pro"))
    stack.customers.subscribe("acme", "pro")
    assert told(ask(stack, secret)) == OK
    stack.plans.put_feature(Feature("search", enabled=False))
    for customer in ("acme", "nobody"):
        refused = ask(stack, secret, customer=customer)
        assert told(refused) == DENIED
        assert "switched off" in refused.json()["error"]["message"]
    stack.plans.put_feature(Feature("search"))
    assert told(ask(stack, secret)) == OK


def test_counters_go_on_when_the_plan_changes(stack: Stack) -> None:
    secret = stack.key()
    stack.plans.put_plan(plan("small", requests(2)))
    stack.plans.put_plan(plan("large", requests(5)))
    stack.customers.subscribe("acme", "small")
    assert [told(ask(stack, secret)) for _ in range(3)] == [OK, OK, SPENT]
    stack.customers.subscribe("acme", "large")
    assert [told(ask(stack, secret)) for _ in range(4)] == [OK, OK, OK, SPENT]
    stack.customers.subscribe("acme", "small")
    assert told(ask(stack, secret)) == SPENT
    assert told(ask(stack, secret, customer="other")) == OK


def test_a_version_does_not_change_and_customers_move_when_they_are_told_to(stack: Stack) -> None:
    secret = stack.key()
    stack.plans.put_plan(plan("pro", requests(1)))
    for name in ("a", "b"):
        stack.customers.subscribe(name, "pro")
        assert told(ask(stack, secret, customer=name)) == OK
    latest, new = stack.plans.put_plan(plan("pro", requests(3)))
    assert (latest.version, new) == (2, True)
    assert stack.plans.put_plan(plan("pro", requests(3)))[1] is False
    assert told(ask(stack, secret, customer="a")) == SPENT
    assert stack.customers.migrate("pro") == ["a", "b"]
    assert [told(ask(stack, secret, customer="a")) for _ in range(3)] == [OK, OK, SPENT]


def test_soft_limits_let_requests_through_and_are_counted(stack: Stack) -> None:
    secret = stack.key()
    stack.plans.put_plan(plan("pro", requests(1, enforcement="soft", thresholds=(100,))))
    stack.customers.subscribe("acme", "pro")
    before = over(stack)
    assert [told(ask(stack, secret)) for _ in range(3)] == [OK, OK, OK]
    assert over(stack) - before == 2
    notices = [entry for _, entry in stack.redis.xrange("t2:{31}:notices")]
    assert [(each[b"limit"], each[b"percent"], each[b"spent"]) for each in notices] == [
        (b"pro@1/search/requests/month", b"100", b"1")
    ]


def over(stack: Stack) -> float:
    from prometheus_client import REGISTRY

    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "tollkeeper_over_limit_total"
    )


def test_limits_on_a_plan_are_a_pool_of_all_its_customers(stack: Stack) -> None:
    secret = stack.key()
    stack.plans.put_plan(plan("pro", requests(10)))
    for name in ("a", "b"):
        stack.customers.subscribe(name, "pro")
    stack.limits.set("plan", "pro", "requests", "month", 2)
    assert [told(ask(stack, secret, customer=name)) for name in ("a", "b", "a")] == [OK, OK, SPENT]


def test_money_of_all_features_together_and_what_a_customer_has_otherwise(stack: Stack) -> None:
    secret = stack.key()
    spend = PlanRule("money", "month", 100 * DOLLAR)
    stack.plans.put_plan(plan("pro", spend, requests(1), features=("search", "images")))
    stack.customers.subscribe("acme", "pro")
    assert told(ask(stack, secret)) == OK
    assert told(ask(stack, secret)) == SPENT
    answer = ask(stack, secret, feature="images")
    assert told(answer) == OK
    assert answer.headers["observe-budget-remaining-usd"].startswith("99.99")
    stack.customers.override(
        "acme", Overrides({"search/requests/month": Override(value=2)}, {"images": False, "beta": True})
    )
    assert [told(ask(stack, secret)) for _ in range(2)] == [OK, SPENT]
    assert told(ask(stack, secret, feature="images")) == DENIED
    assert told(ask(stack, secret, feature="beta")) == OK


@pytest.mark.wide
def test_a_trial_ends_by_itself(stack: Stack) -> None:
    secret = stack.key()
    stack.plans.put_plan(plan("trial"))
    stack.plans.put_plan(plan("pro", requests(1)))
    now_ms = stack.customers.now_ms()
    stack.customers.subscribe("acme", "trial", ends_ms=now_ms + 5_000)
    stack.customers.subscribe("other", "trial", ends_ms=now_ms + 5_000)
    stack.customers.subscribe("other", "pro", starts_ms=now_ms + 5_000)
    for name in ("acme", "other"):
        assert told(ask(stack, secret, customer=name)) == OK
    time.sleep(max(0.0, (now_ms + 5_050 - time.time() * 1_000) / 1_000))
    ended = ask(stack, secret)
    assert told(ended) == DENIED
    assert "ended" in ended.json()["error"]["message"]
    assert [told(ask(stack, secret, customer="other")) for _ in range(2)] == [OK, SPENT]


def test_the_warm_case_is_one_round_trip_with_and_without_a_document(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a customer has been met, known or not, its requests ask for nothing but an open and a close."""
    secret = stack.key()
    stack.plans.put_plan(plan("free", requests(1_000)))
    stack.plans.set_policy(Policy("default_plan", plan="free"))
    stack.customers.subscribe("acme", "free")
    for name in ("acme", "stranger"):
        assert told(ask(stack, secret, customer=name)) == OK

    def never(*words: Any) -> Any:
        raise AssertionError(f"the ledger was asked for {words}")

    parts = stack.gateway.parts
    for owner, fetch in (
        (parts.terms, "_fetch_account"),
        (parts.terms, "_fetch_customer"),
        (parts.keys, "_fetch"),
        (parts.entitlements, "_command"),
    ):
        monkeypatch.setattr(owner, fetch, never)
    wait_until(lambda: stack.open_requests() == 0)

    def go() -> None:
        for name in ("acme", "stranger"):
            assert [told(ask(stack, secret, customer=name)) for _ in range(5)] == [OK] * 5

    assert scripts_run(stack, go, 20) == {"open": 10, "close": 10}


@pytest.mark.wide
def test_upgrade_and_downgrade_under_load_on_two_workers_hold_at_once(simulator: Simulator) -> None:
    """Eight clients on two workers: what is admitted never passes the limit of the plan that was in force,
    and after each change has returned no worker goes by the former plan."""
    with (
        running_stack(simulated_settings(simulator)) as one,
        running_stack(simulated_settings(simulator), valkey=socket_of(one)) as other,
    ):
        secret = one.key()
        one.plans.put_plan(plan("small", requests(20)))
        one.plans.put_plan(plan("large", requests(60), features=("search", "images")))
        one.customers.subscribe("acme", "small")
        answers: list[tuple[int, Any]] = []
        stop = threading.Event()

        def keep_asking(stack: Stack) -> None:
            while not stop.is_set():
                answers.append(told(ask(stack, secret)))

        with ThreadPoolExecutor(8) as pool:
            running = [pool.submit(keep_asking, stack) for stack in (one, other) for _ in range(4)]
            try:
                wait_until(lambda: answers.count(SPENT) >= 8)
                assert answers.count(OK) == 20
                one.customers.subscribe("acme", "large")
                assert told(ask(one, secret, feature="images")) == OK
                assert told(ask(other, secret, feature="images")) == OK
                wait_until(lambda: answers.count(OK) == 60)
                one.customers.subscribe("acme", "small")
                for stack in (one, other):
                    assert told(ask(stack, secret, feature="images")) == DENIED
                refused = answers.count(SPENT)
                wait_until(lambda: answers.count(SPENT) >= refused + 16)
            finally:
                stop.set()
            for each in running:
                each.result()
        assert answers.count(OK) == 60
        assert set(answers) == {OK, SPENT}


def socket_of(stack: Stack) -> Any:
    return stack.redis.connection_pool.connection_kwargs["path"]
