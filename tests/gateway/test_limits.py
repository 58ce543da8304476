"""Limits of every kind and scope, as a client meets them."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from budgets.names import names_of
from tests.stack import ACCOUNT, Stack, wait_until

MODEL = "gpt-4o-mini"
DOLLAR = 10**9


def ask(
    stack: Stack,
    secret: str,
    text: str = "Hello. [[simulate: tokens=5]]",
    *,
    model: str = MODEL,
    stream: bool = False,
    **headers: str,
) -> httpx2.Response:
    messages = [{"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "max_tokens": 20, "stream": stream}
    sent = {"Authorization": f"Bearer {secret}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return httpx2.post(f"{stack.base_url}/chat/completions", json=body, headers=sent, timeout=60)


def told(answer: httpx2.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json().get("error", {}).get("code")


SCOPES = [
    ("customer", "acme", {"Observe_Customer": "acme"}, {"Observe_Customer": "other"}),
    ("customer", "*", {"Observe_Customer": "acme2"}, {"Observe_Customer": "other2"}),
    (
        "workspace",
        "acme\x1feu",
        {"Observe_Customer": "acme", "Observe_Workspace": "eu"},
        {"Observe_Customer": "acme", "Observe_Workspace": "us"},
    ),
    ("feature", "summarize", {"Observe_Feature": "summarize"}, {"Observe_Feature": "translate"}),
    (
        "customer_feature",
        "*\x1fsearch",
        {"Observe_Customer": "a", "Observe_Feature": "search"},
        {"Observe_Customer": "b", "Observe_Feature": "search"},
    ),
    ("trace", "*", {"Observe_Trace_Id": "t1"}, {"Observe_Trace_Id": "t2"}),
    ("route", "gpt-4.1-nano", {}, None),
]


@pytest.mark.parametrize(
    ("scope", "scope_id", "mine", "others"),
    SCOPES,
    ids=[f"{scope}-{which[:1]}" for scope, which, *_ in SCOPES],
)
def test_a_limit_holds_for_its_scope_and_for_nobody_else(
    stack: Stack, scope: str, scope_id: str, mine: dict[str, Any], others: dict[str, Any] | None
) -> None:
    secret = stack.key()
    window = "lifetime" if scope == "trace" else "day"
    stack.limits.set(scope, scope_id, "requests", window, 2)
    try:
        model = "gpt-4.1-nano" if scope == "route" else MODEL
        answers = [ask(stack, secret, model=model, **mine) for _ in range(3)]
        assert [told(answer) for answer in answers] == [(200, None), (200, None), (402, "budget_exceeded")]
        assert answers[2].headers["x-should-retry"] == "false"
        assert "2 requests" in answers[2].json()["error"]["message"]
        if others is not None:
            assert ask(stack, secret, model=model, **others).status_code == 200
    finally:
        stack.limits.clear(scope, scope_id, "requests", window)
    assert ask(stack, secret, **mine).status_code == 200


def test_money_on_account_customer_and_key_is_held_and_settled_on_all(stack: Stack) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    account = stack.limits.set("account", ACCOUNT, "money", "month", DOLLAR).limit
    customer = stack.limits.set("customer", "acme", "money", "week", DOLLAR).limit
    try:
        answer = ask(stack, secret, Observe_Customer="acme")
        event = stack.event(answer.headers["x-request-id"])
        rows = {}
        for name in stack.redis.scan_iter(match=names_of(ACCOUNT).window + "*"):
            for limit in (account, customer):
                row = stack.redis.hget(name, limit.id)
                if row:
                    rows[limit.id] = struct.unpack("<3q", row)
        assert rows == {account.id: (event.cost_nano, 0, 0), customer.id: (event.cost_nano, 0, 0)}
        (key_row,) = stack.counters(secret).values()
        assert key_row == {"spent": event.cost_nano, "reserved": 0, "doubted": 0}
    finally:
        stack.limits.clear("account", ACCOUNT, "money", "month")
        stack.limits.clear("customer", "acme", "money", "week")


def test_requests_per_minute_say_when_to_come_back(stack: Stack) -> None:
    secret = stack.key()
    stack.limits.set("key", stack.records[secret], "requests_per_minute", "minute", 3)
    answers = [ask(stack, secret) for _ in range(4)]
    assert [told(answer) for answer in answers][:3] == [(200, None)] * 3
    assert told(answers[3]) == (429, "rate_limit_exceeded")
    assert 15 <= int(answers[3].headers["retry-after"]) <= 20  # one is refilled every 20 s
    assert answers[3].headers["x-should-retry"] == "true"


def test_tokens_per_minute_are_charged_as_used(stack: Stack) -> None:
    secret = stack.key()
    stack.limits.set("key", stack.records[secret], "tokens_per_minute", "minute", 2_000)
    # Each is estimated at some 30 tokens and uses about as many; a long answer moves the rate further.
    assert ask(stack, secret).status_code == 200
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi. [[simulate: tokens=1990]]"}]}
    headers = {"Authorization": f"Bearer {secret}"}
    url = f"{stack.base_url}/chat/completions"
    assert httpx2.post(url, json=body, headers=headers, timeout=60).status_code == 200
    assert told(ask(stack, secret)) == (429, "rate_limit_exceeded")


def test_output_tokens_are_bounded_before_and_counted_after(stack: Stack) -> None:
    secret = stack.key()
    stack.limits.set("key", stack.records[secret], "output_tokens", "day", 600)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi. [[simulate: tokens=5000]]"}]}
    headers = {"Authorization": f"Bearer {secret}"}
    answer = httpx2.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["observe-max-tokens"] == "600"
    event = stack.event(answer.headers["x-request-id"])
    assert event.usage is not None
    assert event.usage["output_tokens"] == 600
    assert event.truncated_by == "gateway"
    assert told(ask(stack, secret)) == (402, "budget_exceeded")


def test_so_many_at_once_and_no_more(stack: Stack) -> None:
    secret = stack.key()
    stack.limits.set("key", stack.records[secret], "concurrency", "now", 2)
    slow = "Hello. [[simulate: tokens=20 pace_ms=200]]"
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(ask, stack, secret, slow, stream=True) for _ in range(2)]
        wait_until(lambda: stack.open_requests() == 2)
        refused = ask(stack, secret)
        assert told(refused) == (429, "rate_limit_exceeded")
        assert "2 requests at once" in refused.json()["error"]["message"]
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert [each.result().status_code for each in running] == [200, 200]
    assert ask(stack, secret).status_code == 200


@pytest.mark.parametrize("enforcement", ["soft", "shadow"])
def test_soft_and_shadow_limits_count_and_refuse_nothing(stack: Stack, enforcement: str) -> None:
    secret = stack.key()
    stack.limits.set(
        "key",
        stack.records[secret],
        "requests",
        "day",
        2,
        enforcement=enforcement,
        thresholds=(50, 100, 150),
    )
    before = stack.redis.xlen(names_of(ACCOUNT).notices)
    assert [ask(stack, secret).status_code for _ in range(4)] == [200] * 4
    notices = [entry for _, entry in stack.redis.xrange(names_of(ACCOUNT).notices)][before:]
    assert [(entry[b"percent"], entry[b"spent"]) for entry in notices] == [
        (b"50", b"1"),
        (b"100", b"2"),
        (b"150", b"3"),
    ]


def test_a_limit_set_while_clients_run_holds_for_the_next_request(stack: Stack) -> None:
    secret = stack.key()
    assert ask(stack, secret, Observe_Customer="late").status_code == 200
    stack.limits.set("customer", "late", "requests", "day", 1)
    try:
        answers = [ask(stack, secret, Observe_Customer="late").status_code for _ in range(2)]
        assert answers == [200, 402]
        stack.limits.set("customer", "late", "requests", "day", 2)
        assert ask(stack, secret, Observe_Customer="late").status_code == 200
        stack.limits.set("customer", "late", "requests", "day", 2, enforcement="soft")
        assert ask(stack, secret, Observe_Customer="late").status_code == 200
    finally:
        stack.limits.clear("customer", "late", "requests", "day")


def test_seventeen_limits_are_one_too_many_and_the_operator_is_told(stack: Stack) -> None:
    secret = stack.key()
    windows = ("day", "week", "month", "lifetime")
    kinds = ("requests", "money", "tokens", "output_tokens")
    for kind in kinds:
        for window in windows:
            stack.limits.set("feature", "crowded", kind, window, 10**6)
    stack.limits.set("feature", "crowded", "concurrency", "now", 10)
    try:
        answer = ask(stack, secret, Observe_Feature="crowded")
        assert told(answer) == (500, "too_many_limits")
        stack.limits.clear("feature", "crowded", "concurrency", "now")
        assert ask(stack, secret, Observe_Feature="crowded").status_code == 200
    finally:
        for kind in kinds:
            for window in windows:
                stack.limits.clear("feature", "crowded", kind, window)
