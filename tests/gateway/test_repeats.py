"""Requests that clients send again: idempotency keys, and retries of the official SDKs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from budgets.claims import KEPT_MS, OPENING_MS
from budgets.names import names_of
from gateway.settings import LedgerSettings, TimeoutSettings
from metering.money import nano_to_usd
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.gateway.scripts import scripts_run
from tests.stack import Stack, running_stack, wait_until

MODEL = "gpt-4o-mini"
NAMES = names_of("default")


def chat(words: str = "Say hello.", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": words}], **more}


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    quick = LedgerSettings(heartbeat_ms=300, lease_ms=2_000)
    with running_stack(simulated_settings(simulator, ledger=quick)) as started:
        yield started


@pytest.fixture
def secret(stack: Stack) -> str:
    return stack.key(limits={"month": 10**9})


@pytest.fixture
def http(stack: Stack, secret: str) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {secret}", "observe-customer": "acme"}
    with httpx2.Client(base_url=stack.base_url, headers=headers, timeout=60) as client:
        yield client


def post(http: httpx2.Client, key: str | None, body: dict[str, Any], **headers: str) -> httpx2.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        given["idempotency-key"] = key
    return http.post("/chat/completions", json=body, headers=given)


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


def test_the_second_use_of_a_key_is_told_how_the_first_ended(http: httpx2.Client, stack: Stack) -> None:
    first = post(http, "k-1", chat())
    assert first.status_code == 200
    event = stack.event(first.headers["x-request-id"])
    # How it ended is known with its close, what it cost is told a moment later.
    wait_until(lambda: error_of(post(http, "k-1", chat()))["request"]["cost_usd"])
    again = post(http, "k-1", chat())
    assert again.status_code == 409
    assert again.headers["x-should-retry"] == "false"
    error = error_of(again)
    assert (error["code"], error["param"]) == ("request_finished", "Idempotency-Key")
    assert event.cost_nano
    expected = {"id": event.id, "status": "succeeded", "cost_usd": nano_to_usd(event.cost_nano)}
    assert error["request"] == expected
    assert event.id in error["message"]
    assert len([each for each in stack.events() if each.id != event.id and each.key_id == event.key_id]) == 0


def test_another_body_under_the_same_key_is_refused(http: httpx2.Client) -> None:
    first = post(http, "k-2", chat())
    other = post(http, "k-2", chat("Say goodbye."))
    assert other.status_code == 422
    assert error_of(other)["code"] == "idempotency_mismatch"
    assert error_of(other)["request"]["id"] == first.headers["x-request-id"]
    # The order of fields and white space do not make another body.
    same = http.post(
        "/chat/completions",
        content=b'{ "messages":[{"content":"Say hello.","role":"user"}], "model":"gpt-4o-mini"}',
        headers={"idempotency-key": "k-2"},
    )
    assert (same.status_code, error_of(same)["code"]) == (409, "request_finished")


def test_a_key_is_in_progress_while_its_request_runs(http: httpx2.Client, stack: Stack) -> None:
    slow = chat("[[simulate: tokens=30 pace_ms=30]]", stream=True)
    with http.stream("POST", "/chat/completions", json=slow, headers={"idempotency-key": "k-3"}) as first:
        lines = first.iter_lines()
        next(lines)
        again = post(http, "k-3", slow)
        assert (again.status_code, error_of(again)["code"]) == (409, "request_in_progress")
        assert again.headers["retry-after"] == "1"
        assert error_of(again)["request"] == {"id": first.headers["x-request-id"], "status": "open"}
        other = post(http, "k-3", chat("Something else."))
        assert other.status_code == 422
        for _ in lines:
            pass
    assert error_of(post(http, "k-3", slow))["code"] == "request_finished"


def test_a_hundred_at_once_run_once(stack: Stack, secret: str, simulator: Simulator) -> None:
    codes: list[int | str] = []
    ready = threading.Barrier(50)

    def ask() -> None:
        headers = {"authorization": f"Bearer {secret}"}
        with httpx2.Client(base_url=stack.base_url, headers=headers, timeout=60) as own:
            ready.wait()
            answer = post(own, "k-storm", chat("[[simulate: tokens=5 first_ms=200]]"))
            codes.append(200 if answer.status_code == 200 else error_of(answer)["code"])

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count(200) == 1
    assert set(codes) <= {200, "request_in_progress", "request_finished"}


def test_keys_of_different_callers_are_apart(http: httpx2.Client, stack: Stack) -> None:
    assert post(http, "k-4", chat()).status_code == 200
    other = stack.key()
    answer = post(http, "k-4", chat(), authorization=f"Bearer {other}")
    assert answer.status_code == 200


def test_a_refused_request_gives_its_key_back(http: httpx2.Client, stack: Stack, secret: str) -> None:
    stack.set_limit(secret, "day", 1)
    assert post(http, "k-5", chat()).status_code == 402
    stack.set_limit(secret, "day", 10**9)
    assert wait_until(lambda: post(http, "k-5", chat()).status_code == 200)


def test_a_failure_at_no_cost_gives_its_key_back(http: httpx2.Client) -> None:
    failing = chat("[[simulate: status=400 times=1 id=give-back]]")
    assert post(http, "k-6", failing).status_code == 400
    assert wait_until(lambda: post(http, "k-6", failing).status_code == 200)


def test_a_hang_up_keeps_its_key_with_what_it_cost(http: httpx2.Client, stack: Stack) -> None:
    slow = chat("[[simulate: tokens=200 pace_ms=20]]", stream=True)
    with http.stream("POST", "/chat/completions", json=slow, headers={"idempotency-key": "k-7"}) as first:
        next(first.iter_lines())
    event = stack.event(first.headers["x-request-id"])
    assert event.status == "cancelled"
    again = wait_until(lambda: post(http, "k-7", slow))
    assert error_of(again)["code"] == "request_finished"
    assert error_of(again)["request"]["status"] == "cancelled"


def claim_of(stack: Stack, secret: str) -> str:
    (name,) = stack.redis.scan_iter(match=f"{NAMES.base}claim:{stack.records[secret]}:*")
    return str(name.decode())


def test_a_claim_is_kept_for_a_day(http: httpx2.Client, stack: Stack, secret: str) -> None:
    post(http, "k-8", chat())
    assert KEPT_MS - 60_000 < stack.redis.pttl(claim_of(stack, secret)) <= KEPT_MS == 86_400_000


def test_the_key_of_a_request_whose_worker_died_says_how_it_ended(
    http: httpx2.Client, stack: Stack, secret: str
) -> None:
    """What the worker tells at the end is missing; the ledger's own marker of the end is there."""
    first = post(http, "k-9", chat())
    name = claim_of(stack, secret)
    stack.redis.hdel(name, "status", "cost")
    again = post(http, "k-9", chat())
    assert error_of(again)["code"] == "request_finished"
    assert error_of(again)["request"] == {
        "id": first.headers["x-request-id"],
        "status": "succeeded",
        "cost_usd": None,
    }
    stack.redis.delete(NAMES.open + first.headers["x-request-id"])  # the marker ends before the claim does
    assert error_of(post(http, "k-9", chat()))["code"] == "request_finished"


def test_the_key_of_a_request_that_never_opened_is_free_again(
    http: httpx2.Client, stack: Stack, secret: str
) -> None:
    first = post(http, "k-10", chat())
    name = claim_of(stack, secret)
    stack.redis.delete(NAMES.open + first.headers["x-request-id"])
    stack.redis.hdel(name, "status", "cost")
    assert error_of(post(http, "k-10", chat()))["code"] == "request_in_progress"  # perhaps it opens just now
    stack.redis.hset(name, "at", int(time.time() * 1_000) - OPENING_MS - 1)
    assert post(http, "k-10", chat()).status_code == 200


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
def test_a_key_that_is_none_is_refused(http: httpx2.Client, key: str) -> None:
    answer = post(http, key, chat())
    assert (answer.status_code, error_of(answer)["param"]) == (400, "idempotency-key")


def test_the_sdk_raises_its_own_classes(stack: Stack, secret: str) -> None:
    with OpenAI(base_url=stack.base_url, api_key=secret, max_retries=0) as sdk:
        ask = sdk.chat.completions.create
        messages: Any = [{"role": "user", "content": "Say hello."}]
        ask(model=MODEL, messages=messages, extra_headers={"Idempotency-Key": "sdk-1"})
        with pytest.raises(openai.ConflictError) as ended:
            ask(model=MODEL, messages=messages, extra_headers={"Idempotency-Key": "sdk-1"})
        assert (ended.value.status_code, ended.value.code) == (409, "request_finished")
        assert ended.value.request_id
        assert ended.value.body["request"]["cost_usd"]  # type: ignore[index]
        other: Any = [{"role": "user", "content": "Say goodbye."}]
        with pytest.raises(openai.UnprocessableEntityError) as mismatch:
            ask(model=MODEL, messages=other, extra_headers={"Idempotency-Key": "sdk-1"})
        assert mismatch.value.code == "idempotency_mismatch"


def scripts_of(stack: Stack, http: httpx2.Client, keys: list[str | None], of_each: int) -> Counter[str]:
    """The scripts that requests with these keys run."""

    def ask() -> None:
        for key in keys:
            post(http, key, chat())

    return scripts_run(stack, ask, of_each * len(keys))


def test_requests_without_a_key_ask_the_ledger_nothing_more(http: httpx2.Client, stack: Stack) -> None:
    post(http, "first", chat())  # a server is asked twice where it does not know a script yet
    plain = scripts_of(stack, http, [None] * 5, 2)
    assert (plain["open"], plain["claim"]) == (5, 0)  # the first one's unclaim may follow as late as this
    keyed = scripts_of(stack, http, [f"count-{number}" for number in range(5)], 4)
    assert keyed.keys() == {"open", "close", "claim", "unclaim"}
    assert (keyed["open"], keyed["claim"]) == (5, 5)


# Retries of the official SDKs.


@pytest.mark.wide
def test_an_sdks_retry_joins_the_task_of_what_it_repeats(simulator: Simulator) -> None:
    """The SDK loses patience with a provider that hangs, and asks again by itself."""
    brief = TimeoutSettings(connect_s=20, first_byte_s=4, idle_s=20, total_s=60)
    with running_stack(simulated_settings(simulator, timeouts=brief)) as stack:
        retry_joins(stack, stack.key(limits={"month": 10**9}))


def retry_joins(stack: Stack, secret: str) -> None:
    asked: list[httpx2.Response] = []
    before = {event.id for event in stack.events()}
    words = "[[simulate: hang=before_headers times=1 id=sdk-retry]]"
    with (
        httpx2.Client(event_hooks={"response": [asked.append]}) as own,
        OpenAI(base_url=stack.base_url, api_key=secret, max_retries=2, timeout=2, http_client=own) as sdk,
    ):
        sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": words}])
    (answer,) = asked
    second = stack.event(answer.headers["x-request-id"])
    assert answer.request.headers["x-stainless-retry-count"] == "1"
    first = wait_until(lambda: [each for each in stack.events() if each.id not in before | {second.id}])
    assert [second.task_id] == [event.id for event in first]
    assert answer.headers["observe-task-id"] == second.task_id


def test_a_retry_after_a_hang_up_joins_also_the_second_time(http: httpx2.Client, stack: Stack) -> None:
    slow = chat("[[simulate: tokens=200 pace_ms=20]]", stream=True)
    ids = []
    for count in range(3):
        headers = {"x-stainless-retry-count": str(count)}
        with http.stream("POST", "/chat/completions", json=slow, headers=headers) as answer:
            next(answer.iter_lines())
        ids.append(answer.headers["x-request-id"])
        wait_until(lambda: stack.open_requests() == 0)
    events = [stack.event(each) for each in ids]
    assert [event.status for event in events] == ["cancelled"] * 3
    assert [event.task_id for event in events] == [None, ids[0], ids[0]]


def test_a_retry_joins_a_request_that_still_runs(http: httpx2.Client, stack: Stack) -> None:
    slow = chat("[[simulate: tokens=40 pace_ms=20]]", stream=True)
    with http.stream("POST", "/chat/completions", json=slow) as first:
        next(first.iter_lines())
        again = http.post("/chat/completions", json=slow, headers={"x-stainless-retry-count": "1"})
        assert stack.event(again.headers["x-request-id"]).task_id == first.headers["x-request-id"]


@pytest.mark.parametrize(
    ("number", "headers", "more"),
    [
        (0, {"observe-customer": "globex"}, {}),
        (1, {"observe-feature": "other"}, {}),
        (2, {}, {"temperature": 0.5}),
        (3, {"x-stainless-retry-count": "0"}, {}),
        (4, {"observe-task-id": "mine"}, {}),
    ],
)
def test_what_is_no_retry_of_it_joins_nothing(
    http: httpx2.Client, stack: Stack, number: int, headers: dict[str, str], more: dict[str, Any]
) -> None:
    slow = chat(f"Number {number}. [[simulate: tokens=100 pace_ms=20]]", stream=True)
    with http.stream("POST", "/chat/completions", json=slow) as first:
        next(first.iter_lines())
    wait_until(lambda: stack.open_requests() == 0)
    tasks = []
    for told, body in (({}, slow), (headers, slow | more), ({}, slow)):
        given = {"x-stainless-retry-count": "1"} | told
        with http.stream("POST", "/chat/completions", json=body, headers=given) as again:
            next(again.iter_lines())
        wait_until(lambda: stack.open_requests() == 0)
        tasks.append(stack.event(again.headers["x-request-id"]).task_id)
    # Its retry joins it before and, but for a new first request of the same content, after the other one.
    assert tasks[:2] == [first.headers["x-request-id"], headers.get("observe-task-id")]
    assert tasks[2] == first.headers["x-request-id"] or headers.get("x-stainless-retry-count") == "0"


def test_a_memory_ends_after_ten_minutes(http: httpx2.Client, stack: Stack) -> None:
    slow = chat("[[simulate: tokens=100 pace_ms=20]] memory", stream=True)
    with http.stream("POST", "/chat/completions", json=slow) as first:
        next(first.iter_lines())
    names = wait_until(lambda: list(stack.redis.scan_iter(match=f"{NAMES.base}again:*")))
    assert all(0 < stack.redis.pttl(name) <= 600_000 for name in names)
