"""Proof that comparing events with the provider's own bill can fail.

The same traffic runs through a whole gateway and through three that are broken in one place: one rate, one
subset of usage, one attempt. The comparison passes for the first and must fail for each of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from budgets.hold import Settled
from gateway import endings
from gateway.request import Request
from gateway.settings import PriceOverride
from gateway.settlement import settle
from metering.usage import Usage, openai
from simulator.process import Simulator, start_simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack

EXACT = ("priced", "override")
LONG = "A prefix that is long enough for the provider to keep it in its cache. " * 120
TRAFFIC: list[dict[str, Any]] = [
    {"model": "gpt-4o-mini", "text": "plain [[simulate: tokens=37]]"},
    {"model": "gpt-4o", "text": "streamed [[simulate: tokens=51]]", "stream": True},
    {"model": "gpt-5-mini", "text": "reasoned [[simulate: tokens=20 reasoning=200]]"},
    {"model": "gpt-4o-mini", "text": LONG + "[[simulate: tokens=5]]"},
    {"model": "gpt-4o-mini", "text": LONG + "[[simulate: tokens=5]]", "stream": True},
    {"model": "gpt-4o-mini", "text": "lost [[simulate: hang=before_headers]]", "max_tokens": 50},
]


def disagreements(stack: Stack, simulator: Simulator, secret: str) -> list[str]:
    """What an auditor would object to, with the bill in one hand and events and ledger in the other."""
    events = {event.id: event for event in stack.events()}
    found = []
    billed = 0
    for entry in simulator.bill()["requests"]:
        billed += entry["nano"]
        event = events.pop(entry["id"], None)
        if event is None:
            found.append(f"{entry['id']}: billed, but there is no event")
        elif event.cost_status in EXACT and event.cost_nano != entry["nano"]:
            found.append(f"{entry['id']}: costs {event.cost_nano}, billed {entry['nano']}")
        elif event.cost_status not in EXACT and not entry["nano"] <= (event.cost_upper_nano or 0):
            found.append(f"{entry['id']}: at most {event.cost_upper_nano}, billed {entry['nano']}")
    found += [f"{request_id}: an event, but nothing was asked of the provider" for request_id in events]
    (row,) = stack.counters(secret).values()
    covered = row["spent"] + row.get("doubted", 0)
    if covered < billed:
        found.append(f"the ledger covers {covered} of the {billed} billed")
    return found


def audit(simulator: Simulator, **settings: object) -> list[str]:
    simulator.reset()
    with running_stack(simulated_settings(simulator, **settings)) as stack:
        secret = stack.key(limits={"month": 10**10})
        for request in TRAFFIC:
            body = {name: value for name, value in request.items() if name != "text"}
            body["messages"] = [{"role": "user", "content": request["text"]}]
            answer = httpx2.post(
                f"{stack.base_url}/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {secret}"},
                timeout=60,
            )
            stack.event(answer.headers["x-request-id"])
        return disagreements(stack, simulator, secret)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with start_simulator() as started:
        yield started


def test_the_whole_gateway_agrees_with_the_bill(simulator: Simulator) -> None:
    assert audit(simulator) == []
    bill = simulator.bill()["requests"]
    assert len(bill) == len(TRAFFIC)
    assert any(entry["cached"] for entry in bill)
    assert any(entry["reasoning"] for entry in bill)


@pytest.mark.wide
def test_one_wrong_rate_is_found(simulator: Simulator) -> None:
    wrong = PriceOverride(
        provider="openai",
        model="gpt-4o-mini",
        usd_per_million={"cache_read_input_tokens": "0.076"},
    )
    assert any("costs" in line for line in audit(simulator, prices=[wrong]))


Reader = Callable[[dict[str, Any]], Usage | None]


def _without_cached(read: Reader) -> Reader:
    def broken(reported: dict[str, Any]) -> Usage | None:
        usage = read(reported)
        return None if usage is None else usage._replace(cache_read_input_tokens=0)

    return broken


@pytest.mark.wide
def test_one_forgotten_subset_is_found(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "read_usage", _without_cached(openai.read_usage))
    assert any("costs" in line for line in audit(simulator))


def _forgetting_the_last_attempt(request: Request, winner: Any) -> Settled:
    if request.attempts[-1].status == "unknown":
        request.attempts.pop()
    return settle(request, winner)


@pytest.mark.wide
def test_one_forgotten_attempt_is_found(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "settle", _forgetting_the_last_attempt)
    assert any("billed" in line for line in audit(simulator))
