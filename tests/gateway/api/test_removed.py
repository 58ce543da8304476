"""Questions for a time from which single events were removed: told from sums, told with what is missing and
why, or refused. Never told with less than there was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from gateway.api.fields import moment_text
from metering.eventstore import EventStore
from tests.gateway.api.asking import Asker, all_pages
from tests.gateway.api.history import NOW_MS
from tests.metering.events import event
from tests.stack import Stack

pytestmark = pytest.mark.wide
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
TODAY_MS = NOW_MS - NOW_MS % DAY_MS
FLOOR_MS = TODAY_MS - 50 * DAY_MS
KEPT_MS = TODAY_MS - 60 * DAY_MS + 7 * HOUR_MS + 1
"""In a day of which the narrow rows stay."""


@pytest.fixture(scope="module")
def before(stack: Stack) -> Iterator[dict[str, Any]]:
    """Seventy days of events, of which the first twenty are removed; what was told of them until then."""
    store = EventStore(stack.database)
    store.append(
        [
            event(
                started_ms=TODAY_MS - 70 * DAY_MS + number * 5 * HOUR_MS + 11,
                customer=f"c{number % 2}",
                feature="search",
                cost_nano=10**6 + number,
                agent_id="a",
                trace_id=f"flow-{number // 5}",
            )
            for number in range(330)
        ]
    )
    with httpx2.Client(base_url=stack.base_url.removesuffix("/v1"), timeout=60) as http:
        told = whole_days(Asker(http, stack.key(scopes=("usage.read", "customers.read"))))
    store.remove_events(FLOOR_MS, [KEPT_MS])
    yield told
    store.close()


@pytest.fixture
def ask(stack: Stack, http: httpx2.Client, before: dict[str, Any]) -> Asker:
    return Asker(http, stack.key(scopes=("usage.read", "customers.read", "events.read")))


def whole_days(ask: Asker) -> dict[str, Any]:
    span = {"date_from": moment_text(TODAY_MS - 66 * DAY_MS), "date_to": moment_text(TODAY_MS - 40 * DAY_MS)}
    paths = ("analytics/by-customer", "analytics/by-model", "analytics/overview", "customers", "features")
    return {path: figures(ask.get(f"/api/{path}", **span)) for path in paths}


def figures(answer: dict[str, Any]) -> Any:
    """Without the moments at which requests were last seen, which single events tell."""
    if "current" in answer:
        return answer["current"]
    rows = answer.get("rows") or answer.get("data") or answer["features"]
    return [{name: part for name, part in row.items() if name != "last_seen"} for row in rows]


def test_sums_of_whole_days_are_what_they_were(ask: Asker, before: dict[str, Any]) -> None:
    assert whole_days(ask) == before
    assert before["customers"][0]["event_count"] > 50


def test_the_overview_tells_what_sums_know_and_why_it_does_not_tell_the_rest(ask: Asker) -> None:
    usual = ask.get("/api/analytics/overview")
    assert usual["current"]["requests"] > 100
    assert (usual["detail_reason"], usual["estimated"]) == (None, usual["estimated"])
    # The span before begins inside of an hour of which the single requests are gone.
    assert usual["previous"] is None
    assert "removed" in usual["previous_reason"]
    old = ask.get(
        "/api/analytics/overview",
        date_from=moment_text(TODAY_MS - 55 * DAY_MS),
        date_to=moment_text(TODAY_MS),
    )
    assert old["current"]["requests"] > 200
    assert (old["waste"], old["estimated"]) == (None, None)
    assert str(moment_text(FLOOR_MS)) in old["detail_reason"]
    assert (old["previous"]["requests"] > 0, old["previous_reason"]) == (True, None)


@pytest.mark.parametrize(
    "path", ["events/by-agent", "events/by-cost-type", "customers", "features", "events/export"]
)
def test_what_needs_removed_events_is_refused(ask: Asker, path: str) -> None:
    since = str(moment_text(FLOOR_MS - DAY_MS + 5))
    refused = ask.get(f"/api/{path}", status=400, date_from=since)
    assert refused["code"] == "events_removed"
    ask_later = {"date_from": str(moment_text(FLOOR_MS)), "date_to": str(moment_text(FLOOR_MS + DAY_MS + 5))}
    if path != "events/export":
        ask.get(f"/api/{path}", **ask_later)


def test_a_day_of_which_only_sums_are_kept_has_no_documents_to_tell_of(ask: Asker) -> None:
    day_ms = KEPT_MS - KEPT_MS % DAY_MS
    span = {"date_from": str(moment_text(day_ms)), "date_to": str(moment_text(day_ms + DAY_MS))}
    for path in ("events/by-agent", "events/export", "analytics/cost-by-token-type"):
        assert ask.get(f"/api/{path}", status=400, **span)["code"] == "events_removed", path
    body = {**span, "swaps": [{"model": "gpt-4o", "to_provider": "openai", "to_model": "gpt-4o-mini"}]}
    assert ask.post("/api/simulations/price", body, status=400)["code"] == "events_removed"
    inside = {**span, "date_from": str(moment_text(KEPT_MS))}
    assert ask.get("/api/analytics/by-customer", **inside)["total"]["requests"] == 3


def test_pages_of_events_tell_since_when_all_are_there(ask: Asker) -> None:
    """Also of a day of which rows are kept for sums: what is told and what is counted is the same."""
    since = str(moment_text(FLOOR_MS))
    listed = all_pages(ask, "/api/events", "events", limit=50)
    told = ask.get("/api/events", limit=1)
    assert (told["complete_since"], told["total"]) == (since, len(listed))
    assert min(each["timestamp"] for each in listed) >= since
    before = {"date_from": str(moment_text(KEPT_MS - 1)), "date_to": str(moment_text(KEPT_MS + DAY_MS))}
    gone = ask.get("/api/events", **before)
    assert (gone["events"], gone["total"], gone["complete_since"]) == ([], 0, since)
    assert ask.get("/api/events", date_from=since)["complete_since"] is None
    first = ask.get("/api/events", sort_dir="asc", limit=1, offset=1)
    assert (first["events"][0], first["complete_since"]) == (listed[-2], since)
    running = ask.ask("GET", "/api/events", params={"status": "open"})
    assert (running["events"], running["complete_since"]) == ([], None)


def test_traces_tell_since_when_their_events_are_there(ask: Asker) -> None:
    """What is told of a trace are the events that its own page has, no kept rows of earlier ones."""
    since = str(moment_text(FLOOR_MS))
    listed = all_pages(ask, "/api/events/traces", "traces", limit=50)
    assert ask.get("/api/events/traces")["complete_since"] == since
    oldest = listed[-1]
    assert (oldest["trace_id"], oldest["span_count"]) == ("flow-19", 4)  # of five, of which one is removed
    for each in (listed[0], oldest):
        whole = ask.get(f"/api/events/trace/{each['trace_id']}")
        assert whole["complete_since"] == since
        assert len(whole["spans"]) == each["span_count"]
        assert each["root_event"] == whole["spans"][0]
        assert sum(int(span["cost_nano"]) for span in whole["spans"]) == int(each["total_cost_nano"])
    ask.get("/api/events/trace/flow-0", status=404)
