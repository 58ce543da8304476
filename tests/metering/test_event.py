from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from metering.event import AMOUNT_MAX, Attempt, CostEvent, EventError, decode, encode
from tests.metering.events import any_events, event


def test_event_comes_back_from_its_bytes_as_it_was() -> None:
    original = event(cost_upper_nano=400_000, truncated_by="gateway", max_output_written=4_096)
    assert decode(encode(original)) == original


@given(any_events())
@settings(max_examples=100, deadline=None)
def test_any_event_comes_back_from_its_bytes_and_from_its_document(original: CostEvent) -> None:
    assert decode(encode(original)) == original
    assert decode(orjson.loads(encode(original))) == original


def test_what_is_absent_is_left_out_and_a_cost_of_zero_is_not_absent() -> None:
    document = orjson.loads(encode(CostEvent(id="e1", cost_nano=0, usage={}, started_ms=5)))
    assert document["cost_nano"] == 0
    assert document["usage"] == {}
    assert set(document) == {
        "id",
        "account_id",
        "status",
        "outcome",
        "usage_source",
        "usage",
        "cost_nano",
        "cost_status",
        "started_ms",
        "closed_by",
        "schema_version",
    }
    unpriced = orjson.loads(encode(CostEvent(id="e1")))
    assert "cost_nano" not in unpriced
    assert decode(unpriced).cost_nano is None


def test_events_of_the_gateway_do_not_grow_by_what_other_sources_tell() -> None:
    assert b"source" not in encode(CostEvent(id="e1")).replace(b"usage_source", b"")
    told = CostEvent(
        id="e1", source="sdk", event_name="summarized", idempotency_key="k", revenue_source="explicit",
        span_id="s", parent_span_id="p", agent_id="a", cost_type="llm", duration_ms=0, usage_units=0,
    )  # fmt: skip
    assert decode(encode(told)) == told
    assert decode(b'{"id":"e1"}').source == "gateway"


def test_units_are_those_told_else_the_tokens_else_one_of_what_was_served() -> None:
    usage = {"input_tokens": 30, "output_tokens": 4, "reasoning_output_tokens": 3}
    assert CostEvent(id="e1", usage=usage).units == 34
    assert CostEvent(id="e1", usage=usage, usage_units=0).units == 0
    assert CostEvent(id="e1").units == 1
    assert CostEvent(id="e1", usage=usage, status="failed").units == 0
    assert CostEvent(id="e1", usage_units=-1).units == 0


def test_fields_of_a_later_version_are_kept_and_written_again() -> None:
    document = orjson.loads(encode(event()))
    document |= {"schema_version": 9, "carbon_mg": 12, "mood": None}
    document["attempts"][0]["region"] = "eu"
    read = decode(document)
    assert read.unknown == {"carbon_mg": 12, "mood": None}
    assert read.attempts[0].unknown == {"region": "eu"}
    assert orjson.loads(encode(read)) == document


def test_null_is_absence() -> None:
    assert decode(b'{"id":"e1","customer":null,"wasted_nano":null,"attempts":null}') == CostEvent(id="e1")


def test_an_event_without_a_task_is_its_own() -> None:
    assert CostEvent(id="e1").task == "e1"
    assert CostEvent(id="e1", task_id="t1").task == "t1"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "event: expected an object, found list"),
        (b"{}", "event.id: missing"),
        (b'{"id":""}', "event.id: missing"),
        (b'{"id":7}', "event.id: expected str, found 7"),
        (b'{"id":"e","cost_nano":1.5}', "event.cost_nano: expected int, found 1.5"),
        (b'{"id":"e","cost_nano":true}', "event.cost_nano: expected int, found True"),
        (b'{"id":"e","stream":1}', "event.stream: expected bool, found 1"),
        (b'{"id":"e","cost_nano":9007199254740992}', "beyond what an event can hold"),
        (b'{"id":"e","usage":{"input_tokens":"3"}}', "event.usage.input_tokens: expected a whole number"),
        (b'{"id":"e","attempts":[3]}', "event.attempts[0]: expected an object"),
        (b'{"id":"e","attempts":[{},{"http_status":"200"}]}', "event.attempts[1].http_status: expected int"),
    ],
)
def test_what_is_no_event_is_told_with_the_field(source: bytes, complaint: str) -> None:
    with pytest.raises(EventError) as raised:
        decode(source)
    assert complaint in str(raised.value)


def test_the_largest_amount_passes() -> None:
    assert decode({"id": "e", "cost_nano": AMOUNT_MAX}).cost_nano == AMOUNT_MAX


def test_building_and_encoding_an_event_is_cheap_enough_for_the_hot_path() -> None:
    """10 us on an idle core; the bound allows for a busy machine and still catches a lost optimisation."""

    def best(act: Any) -> float:
        times = []
        for _ in range(20):
            start = time.process_time_ns()
            for _ in range(200):
                act()
            times.append((time.process_time_ns() - start) / 200)
        return min(times)

    full = event()
    fields = {name: getattr(full, name) for name in CostEvent.__slots__}
    tries = {name: getattr(full.attempts[0], name) for name in Attempt.__slots__}
    assert best(lambda: encode(CostEvent(**fields | {"attempts": [Attempt(**tries)]}))) < 40_000
