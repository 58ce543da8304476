from __future__ import annotations

from metering.event import CostEvent
from reports.eventline import cost, event_line, tokens
from tests.metering.events import event


def test_line_says_when_how_who_what_and_what_it_cost() -> None:
    assert event_line(event(started_ms=1_795_249_200_123)) == (
        "2026-11-21 08:20:00",
        "succeeded",
        "acme / summaries",
        "gpt-4o-mini",
        "1,200 in (400 cached), 300 out",
        "$0.00033",
        "1 attempt",
    )


def test_what_is_absent_is_said_to_be_absent() -> None:
    bare = CostEvent(id="e1", status="failed", model_requested="gpt-9")
    assert event_line(bare)[1:] == (
        "failed",
        "(none) / (none)",
        "gpt-9",
        "tokens unknown",
        "unknown",
        "0 attempts",
    )


def test_unknown_cost_is_never_zero() -> None:
    assert cost(event(cost_nano=None)) == "unknown"
    assert cost(event(cost_nano=None, cost_upper_nano=5_000_000)) == "unknown, at most $0.005"
    assert cost(event(cost_nano=0)) == "$0.00"


def test_estimated_cost_says_so_with_its_bound() -> None:
    shown = cost(event(cost_status="estimated", cost_nano=1_000, cost_upper_nano=2_000))
    assert shown == "$0.000001 estimated, at most $0.000002"


def test_names_cannot_command_a_terminal() -> None:
    assert event_line(event(customer="x\x1b]0;y", feature="a\rb"))[2] == "x\\x1b]0;y / a\\rb"


def test_usage_of_nothing_is_shown_as_nothing_used() -> None:
    assert tokens(event(usage={})) == "0 in, 0 out"
