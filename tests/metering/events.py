"""Cost events for tests: one that is ordinary in every field, and a Hypothesis strategy of any."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st

from metering.adjustment import Adjustment
from metering.event import Attempt, CostEvent
from metering.ids import new_id
from metering.outcome import OUTCOMES, Outcome

NOVEMBER_MS = 1_793_491_200_000  # 2026-11-01T00:00Z, a whole day
USAGE = {
    "input_tokens": 1_200,
    "cache_read_input_tokens": 400,
    "output_tokens": 300,
    "reasoning_output_tokens": 100,
    "requests": 1,
}
LINES = [{"unit": "output_tokens", "quantity": 300, "price_pico": 600_000, "cost_nano": 180_000}]


def event(**changes: Any) -> CostEvent:
    """A succeeded, priced request of customer acme; its one attempt costs what the event is said to cost."""
    cost_nano = changes.get("cost_nano", 330_000)
    attempt = Attempt(
        provider="openai",
        model="gpt-4o-mini",
        status="succeeded",
        http_status=200,
        usage=USAGE,
        usage_source="provider",
        cost_nano=cost_nano,
        cost_status="priced",
        breakdown=LINES,
        price_entries=["openai/gpt-4o-mini/2024-07-18"],
        started_ms=NOVEMBER_MS,
        first_byte_ms=NOVEMBER_MS + 250,
        ended_ms=NOVEMBER_MS + 900,
        upstream_request_id="req_1",
    )
    made = CostEvent(
        id=new_id(),
        key_id="key_1",
        customer="acme",
        feature="summaries",
        properties={"env": "prod"},
        surface="chat.completions",
        route="fast",
        route_final="fast",
        provider="openai",
        model="gpt-4o-mini",
        stream=True,
        outcome="success",
        http_status=200,
        usage=USAGE,
        usage_source="provider",
        cost_nano=330_000,
        cost_status="priced",
        breakdown=LINES,
        started_ms=NOVEMBER_MS,
        ended_ms=NOVEMBER_MS + 900,
        attempts=[attempt],
    )
    return dataclasses.replace(made, **changes)


def adjustment(of: CostEvent, **changes: Any) -> Adjustment:
    """A correction of the event by an operator that changes nothing but what is given."""
    made = Adjustment(
        id=new_id(),
        event_id=of.id,
        account_id=of.account_id,
        at_ms=NOVEMBER_MS + 3_600_000,
        source="operator",
        reason="known better",
    )
    return dataclasses.replace(made, **changes)


_names = st.sampled_from([None, "acme", "globex", "ünïcode", "a,b"])
_amounts = st.integers(0, 2**53 - 1)
_small = st.integers(0, 10**12)
_deltas = st.integers(-(10**12), 10**12)
_usages = st.none() | st.dictionaries(
    st.sampled_from(sorted(USAGE)), st.integers(0, 10**9), min_size=0, max_size=5
)


@st.composite
def any_events(draw: st.DrawFn) -> CostEvent:
    """Events over a few names and three days in November 2026, known and unknown in every way."""
    return CostEvent(
        id=draw(st.sampled_from([f"id-{n:02d}" for n in range(40)])),
        account_id=draw(st.sampled_from(["default"] * 9 + ["other"])),
        key_id=draw(_names),
        customer=draw(_names),
        feature=draw(_names),
        workspace=draw(st.sampled_from([None, "w1", "w2"])),
        plan=draw(st.sampled_from([None, "free", "pro"])),
        trace_id=draw(st.sampled_from([None, "t1", "t2", "t3"])),
        task_id=draw(st.sampled_from([None, None, None, "task-1", "task-2", "id-03", "id-17"])),
        route="asked",
        route_final=draw(st.sampled_from([None, "fast"])),
        provider=draw(st.sampled_from([None, "openai", "other"])),
        model=draw(st.sampled_from([None, "m1", "m2"])),
        status=draw(st.sampled_from(["succeeded", "failed", "orphaned"])),
        outcome=draw(st.sampled_from(["success", "failure", "rejected", "unknown"])),
        usage=draw(_usages),
        cost_nano=draw(st.none() | _amounts),
        cost_upper_nano=draw(st.none() | _amounts),
        wasted_nano=draw(_small),
        doubted_nano=draw(_small),
        revenue_nano=draw(st.none() | _small),
        started_ms=NOVEMBER_MS + draw(st.integers(0, 3 * 24 * 3_600_000)),
        source=draw(st.sampled_from(["gateway", "gateway", "sdk", "import"])),
        event_name=draw(st.sampled_from([None, "summarized"])),
        idempotency_key=draw(st.sampled_from([None, "key-1"])),
        usage_units=draw(st.none() | st.integers(0, 10**9)),
        duration_ms=draw(st.none() | st.integers(0, 10**6)),
        attempts=draw(st.lists(st.builds(Attempt, cost_nano=st.none() | _small), max_size=3)),
    )


@st.composite
def any_adjustments(draw: st.DrawFn) -> Adjustment:
    """Adjustments of those events, and of some that never come."""
    return Adjustment(
        id=draw(st.sampled_from([f"adj-{n:02d}" for n in range(25)])),
        event_id=draw(st.sampled_from([f"id-{n:02d}" for n in range(44)])),
        account_id=draw(st.sampled_from(["default", "default", "default", "other"])),
        at_ms=NOVEMBER_MS + 5,
        source="operator",
        reason="known better",
        cost_delta_nano=draw(_deltas),
        doubted_delta_nano=draw(_deltas),
        unknown_delta_nano=draw(_deltas),
        unpriced_delta=draw(st.sampled_from([0, -1])),
    )


@st.composite
def any_outcomes(draw: st.DrawFn) -> Outcome:
    """Outcomes of tasks that those events name, of such events themselves, and of tasks that never come."""
    return Outcome(
        id=draw(st.sampled_from([f"out-{n:02d}" for n in range(15)])),
        account_id=draw(st.sampled_from(["default", "default", "default", "other"])),
        task_id=draw(
            st.sampled_from(["task-1", "task-2", "task-9", *(f"id-{n:02d}" for n in range(10, 40))])
        ),
        outcome=draw(st.sampled_from(OUTCOMES)),
        at_ms=NOVEMBER_MS + draw(st.integers(0, 3)),
        reason=draw(st.none() | st.just("not what was asked")),
    )
