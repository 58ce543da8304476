"""Events as the API tells them: every page and filter against the list that was recorded, in Python."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx2
import pytest

from gateway.api.fields import moment_text
from metering.event import CostEvent
from metering.eventstore import EventStore
from metering.money import nano_to_usd
from tests.gateway.api.history import History, history, record
from tests.stack import ACCOUNT, Stack, wait_until

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def recorded(stack: Stack) -> History:
    """One account's history, beside another's."""
    mine, other = history(ACCOUNT, "mine"), history("other", "theirs")
    with closing(EventStore(stack.database)) as store:
        record(store, mine)
        record(store, other)
    return mine


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    return stack.key(scopes=("events.read", "events.write"))


@pytest.fixture
def ask(http: httpx2.Client, secret: str, recorded: History) -> Ask:
    def asked(path: str, expected: int = 200, caller: str | None = None, **query: Any) -> Any:
        answer = http.get(path, params=query, headers={"authorization": f"Bearer {caller or secret}"})
        assert answer.status_code == expected, answer.text[:500]
        return answer.json()

    return asked


def newest_first(events: list[CostEvent]) -> list[str]:
    return [event.id for event in sorted(events, key=lambda event: -event.started_ms)]


def walk(ask: Ask, path: str, name: str, **query: Any) -> list[Any]:
    """All pages of a list, by its cursors."""
    found: list[Any] = []
    cursor: dict[str, str] = {}
    for _ in range(100):
        page = ask(path, **query, **cursor)
        found += page[name]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}
    raise AssertionError("a list without an end")


FILTERS: list[tuple[dict[str, str], Callable[[CostEvent], bool]]] = [
    ({}, lambda event: True),
    ({"customer_id": "mine-customer-1"}, lambda event: event.customer == "mine-customer-1"),
    ({"feature_key": "mine-feature-0"}, lambda event: event.feature == "mine-feature-0"),
    ({"model": "gpt-2"}, lambda event: event.model == "gpt-2"),
    ({"status": "failed"}, lambda event: event.status == "failed"),
    ({"status": "succeeded"}, lambda event: event.status == "succeeded"),
    ({"source": "gateway"}, lambda event: True),
    ({"source": "sdk"}, lambda event: False),
    ({"key": "mine-key"}, lambda event: True),
    ({"task": "mine-task-3"}, lambda event: event.task_id == "mine-task-3"),
    ({"trace": "mine-trace-4"}, lambda event: event.trace_id == "mine-trace-4"),
    ({"customer_id": "theirs-customer-1"}, lambda event: False),
    (
        {"model": "gpt-1", "customer_id": "mine-customer-0", "status": "succeeded"},
        lambda event: (
            event.model == "gpt-1" and event.customer == "mine-customer-0" and event.status == "succeeded"
        ),
    ),
]


@pytest.mark.parametrize("direction", ["desc", "asc"])
@pytest.mark.parametrize(("query", "wanted"), FILTERS, ids=[str(each[0]) for each in FILTERS])
def test_pages_are_the_recorded_events_whatever_the_filter(
    ask: Ask, recorded: History, query: dict[str, str], wanted: Callable[[CostEvent], bool], direction: str
) -> None:
    expected = newest_first([event for event in recorded.events if wanted(event)])
    if direction == "asc":
        expected.reverse()
    found = walk(ask, "/api/events", "events", limit=17, sort_dir=direction, **query)
    assert [event["id"] for event in found] == expected
    first = ask("/api/events", limit=5, sort_dir=direction, **query)
    assert first["total"] == len(expected)
    assert (first["limit"], first["offset"], first["total_reason"]) == (5, 0, None)
    further = ask("/api/events", limit=5, offset=7, sort_dir=direction, **query)
    assert [event["id"] for event in further["events"]] == expected[7:12]


def test_a_span_is_half_open(ask: Ask, recorded: History) -> None:
    chosen = recorded.events[40:60]
    query = {
        "date_from": moment_text(chosen[0].started_ms),
        "date_to": moment_text(recorded.events[60].started_ms),
    }
    for direction in ("asc", "desc"):
        found = walk(ask, "/api/events", "events", limit=6, sort_dir=direction, **query)
        assert {event["id"] for event in found} == {event.id for event in chosen}
    assert ask("/api/events", **query)["total"] == 20


def test_an_event_tells_what_was_recorded_and_what_became_known(ask: Ask, recorded: History) -> None:
    first = recorded.events[0]
    told = ask(f"/api/events/{first.id}")
    assert first.cost_nano is not None
    assert told["recorded_cost_nano"] == str(first.cost_nano)
    assert told["cost_nano"] == str(first.cost_nano + 77)
    assert str(told["cost"]) == nano_to_usd(first.cost_nano + 77)
    assert told["margin_nano"] == str(2_000_000 - first.cost_nano - 77)
    assert told["adjustments"][0]["cost_delta_nano"] == "77"
    assert [each["cost_nano"] for each in told["attempts"]] == [str(first.cost_nano)]
    assert told["attempts"][0]["breakdown"][0]["price_pico"] == "2500000"
    assert told["timestamp"] == moment_text(first.started_ms)
    assert (told["duration_ms"], told["first_token_ms"]) == (300, 25)
    listed = ask("/api/events", sort_dir="asc", limit=1)["events"][0]
    assert listed == {name: value for name, value in told.items() if name in listed}


def test_what_is_not_known_is_null_with_a_reason(ask: Ask, recorded: History) -> None:
    unpriced = next(event for event in recorded.events if event.cost_nano is None)
    told = ask(f"/api/events/{unpriced.id}")
    assert (told["cost"], told["cost_nano"], told["cost_reason"]) == (None, None, "unpriced")
    assert (told["revenue"], told["revenue_reason"], told["margin"]) == (None, "no_revenue_known", None)


def test_unknown_and_foreign_events_are_the_same(ask: Ask, stack: Stack) -> None:
    with closing(EventStore(stack.database)) as store:
        foreign = store.page(account_id="other").events[0].id
    assert ask(f"/api/events/{foreign}", 404) == ask("/api/events/none", 404)
    assert ask("/api/events/trace/theirs-trace-1", 404) == ask("/api/events/trace/none", 404)
    assert ask("/api/tasks/theirs-task-1", 404) == ask("/api/tasks/none", 404)


def test_a_cursor_is_of_its_own_list(ask: Ask) -> None:
    cursor = ask("/api/events", limit=3)["next_cursor"]
    for query in ({"model": "gpt-1"}, {"sort_dir": "asc"}, {"status": "open"}):
        refused = ask("/api/events", 400, cursor=cursor, **query)
        assert refused["code"] == "invalid_cursor"
    assert ask("/api/tasks", 400, cursor=cursor)["code"] == "invalid_cursor"
    assert ask("/api/events", 400, cursor=cursor, offset=1)["code"] == "invalid_request"
    assert ask("/api/events", 400, sort_by="cost")["param"] == "sort_by"


@pytest.mark.parametrize("dimension", ["feature", "customer", "model"])
def test_groups_are_the_sums_of_their_events(ask: Ask, recorded: History, dimension: str) -> None:
    rows = walk(ask, f"/api/events/by-{dimension}", "rows", limit=1)
    assert rows == ask(f"/api/events/by-{dimension}")["rows"]
    sums: dict[str | None, list[CostEvent]] = {}
    for event in recorded.events:
        sums.setdefault(getattr(event, dimension), []).append(event)
    assert {row["key"] for row in rows} == set(sums)
    for row in rows:
        group = sums[row["key"]]
        corrected = 77 if recorded.events[0] in group else 0
        assert row["event_count"] == len(group)
        assert int(row["total_cost_nano"]) == sum(event.known_nano for event in group) + corrected
        assert row["unpriced_events"] == sum(event.cost_nano is None for event in group)
        known = [event.revenue_nano for event in group if event.revenue_nano is not None]
        assert row["total_revenue_nano"] == (str(sum(known)) if known else None)
        assert row["last_seen"] == moment_text(max(event.started_ms for event in group))
        assert row["margin_reason"] is not None  # no group has its whole revenue
        if known:
            percent = 100 * int(row["margin_nano"]) / sum(known)
            assert row["margin_pct"] == pytest.approx(percent, abs=0.0001)
        else:
            assert row["margin_pct"] is None
    costs = [int(row["total_cost_nano"]) for row in rows]
    assert costs == sorted(costs, reverse=True)


def test_agents_and_kinds_of_cost(ask: Ask, recorded: History) -> None:
    agents = {row["key"]: row for row in ask("/api/events/by-agent")["rows"]}
    assert set(agents) == {None, "mine-agent"}
    assert agents["mine-agent"]["event_count"] == sum(event.agent_id is not None for event in recorded.events)
    kinds = ask("/api/events/by-cost-type", days=30)["breakdown"]
    assert [(row["cost_type"], row["event_count"]) for row in kinds] == [("llm", len(recorded.events))]
    assert ask("/api/events/by-agent", date_from="2020-01-01", date_to="2020-02-01")["rows"] == []


def test_traces_by_their_latest_event_and_one_in_order(ask: Ask, recorded: History) -> None:
    of: dict[str, list[CostEvent]] = {}
    for event in recorded.events:
        if event.trace_id is not None:
            of.setdefault(event.trace_id, []).append(event)
    expected = sorted(of, key=lambda trace: -max(event.started_ms for event in of[trace]))
    for limit in (2, 50):
        found = walk(ask, "/api/events/traces", "traces", limit=limit)
        assert [trace["trace_id"] for trace in found] == expected
    for trace in found:
        events = sorted(of[trace["trace_id"]], key=lambda event: event.started_ms)
        assert trace["span_count"] == len(events)
        assert trace["root_event"]["id"] == events[0].id
        assert trace["total_duration_ms"] == events[-1].started_ms + 300 - events[0].started_ms
        corrected = 77 if recorded.events[0] in events else 0
        assert int(trace["total_cost_nano"]) == sum(event.known_nano for event in events) + corrected
        spans = walk(ask, f"/api/events/trace/{trace['trace_id']}", "spans", limit=3)
        assert [span["id"] for span in spans] == [event.id for event in events]


def test_a_bound_key_sees_its_own_only(ask: Ask, stack: Stack, recorded: History) -> None:
    customer = "mine-customer-1"
    own = stack.key(scopes=("events.read", "events.write"), customer=customer)
    mine = newest_first([event for event in recorded.events if event.customer == customer])
    found = walk(ask, "/api/events", "events", caller=own, limit=30)
    assert [event["id"] for event in found] == mine
    assert ask("/api/events", caller=own, customer_id="mine-customer-0")["events"] == []
    assert [row["key"] for row in ask("/api/events/by-customer", caller=own)["rows"]] == [customer]
    foreign = next(event for event in recorded.events if event.customer == "mine-customer-0")
    ask(f"/api/events/{foreign.id}", 404, caller=own)
    ask(f"/api/events/{mine[0]}", 200, caller=own)
    traces = walk(ask, "/api/events/traces", "traces", caller=own)
    assert {trace["root_event"]["customer_id"] for trace in traces} == {customer}
    tasks = walk(ask, "/api/tasks", "tasks", caller=own)
    assert {task["customer_id"] for task in tasks} == {customer}


def test_tasks_and_what_is_said_of_them(
    ask: Ask, http: httpx2.Client, secret: str, recorded: History
) -> None:
    of: dict[str, list[CostEvent]] = {}
    for event in recorded.events:
        if event.task_id is not None:
            of.setdefault(event.task_id, []).append(event)
    listed = walk(ask, "/api/tasks", "tasks", limit=7)
    assert [task["task_id"] for task in listed] == sorted(
        of, key=lambda task: (-min(event.started_ms for event in of[task]), task)
    )
    name = "mine-task-9"
    task = ask(f"/api/tasks/{name}")
    assert task["event_count"] == len(of[name])
    assert (task["outcome_given"], task["outcomes"]) == (False, [])
    assert int(task["cost_nano"]) == sum(event.known_nano for event in of[name])

    def give(path: str, **body: str) -> httpx2.Response:
        return http.post(path, json=body, headers={"authorization": f"Bearer {secret}"})

    taken = give(f"/api/tasks/{name}/outcome", outcome="rejected", reason="not what was asked")
    assert (taken.status_code, taken.json()["pending"]) == (200, False)
    again = give(f"/api/v1/tasks/{name}/outcome", outcome="success")
    assert again.json() == {
        "success": True,
        "data": {"taskId": name, "outcome": "success", "reason": None, "pending": False},
    }
    task = ask(f"/api/tasks/{name}")
    assert (task["outcome"], task["outcome_given"]) == ("success", True)
    assert [each["outcome"] for each in task["outcomes"]] == ["rejected", "success"]
    assert give("/api/tasks/mine-later/outcome", outcome="failure").json()["pending"] is True
    assert ask("/api/tasks/mine-later")["started_at"] is None
    wrong = give(f"/api/tasks/{name}/outcome", outcome="splendid")
    assert (wrong.status_code, wrong.json()["param"]) == (400, "outcome")
    alone = next(event for event in recorded.events if event.task_id is None)
    assert ask(f"/api/tasks/{alone.id}")["event_count"] == 1


def test_what_runs_is_told_from_the_ledger(ask: Ask, stack: Stack, http: httpx2.Client) -> None:
    assert ask("/api/events", status="open") == {
        "events": [],
        "total": 0,
        "total_reason": None,
        "limit": 50,
        "offset": 0,
        "next_cursor": None,
        "complete_since": None,
    }
    caller = stack.key(limits={"lifetime": 10**9})
    words = "hello [[simulate: tokens=400 pace_ms=50]]"
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": words}], "stream": True}
    headers = {"authorization": f"Bearer {caller}", "observe-customer": "runs"}
    with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        assert answer.status_code == 200
        parts = answer.iter_raw()  # kept: an iterator that is dropped hangs up
        next(parts)
        [running] = ask("/api/events", status="open", customer_id="runs")["events"]
        assert running["id"] == answer.headers["x-request-id"]
        assert (running["status"], running["cost"], running["cost_reason"]) == ("open", None, "open")
        assert int(running["held_nano"]) > 0
        assert running["model_requested"] == "gpt-4o-mini"
        assert ask("/api/events", status="open", customer_id="others")["events"] == []
        other = stack.key(scopes=("events.read",), customer="others")
        assert ask("/api/events", status="open", caller=other)["events"] == []
    wait_until(lambda: ask("/api/events", status="open")["total"] == 0)
