"""Every recorded exchange with Anthropic, replayed through the gateway.

The client must see the bytes that Anthropic sent, the provider the request that was recorded, the event the
usage that the answer ends with, and the cost what genai-prices works out for it. DISAGREEMENTS would say
where it is not; `tests/metering/test_recordings.py` knows of none either.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import httpx2
import orjson
import pytest
from genai_prices import Usage as OracleUsage
from genai_prices import calc_price

from metering.event import CostEvent
from tests.gateway.anthropic.conftest import settings
from tests.gateway.replay import Replay, answer_of, id_of, needs_recordings, recorded
from tests.metering.test_recordings import DISAGREEMENTS
from tests.stack import Stack, running_stack

pytestmark = needs_recordings
EXCHANGES = recorded(lambda exchange: exchange["provider"] == "anthropic")


@pytest.fixture(scope="module")
def stack(replay: Replay) -> Iterator[Stack]:
    with running_stack(settings(f"http://127.0.0.1:{replay.port}")) as started:
        yield started


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    return stack.key(name="replay")


def send(stack: Stack, secret: str, exchange: dict[str, Any]) -> httpx2.Response:
    """The request as Anthropic's SDK sends it, with a gateway's key."""
    body = {**exchange["request"], "model": f"anthropic/{exchange['request']['model']}"}
    headers = {"x-api-key": secret, "anthropic-version": "2023-06-01", "anthropic-beta": "one,two"}
    return httpx2.post(f"{stack.base_url}/messages?beta=true", json=body, headers=headers, timeout=60)


def told(exchange: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(model, usage) that the answer ends with, read without any code of the gateway's."""
    if "response" in exchange:
        return exchange["response"]["model"], exchange["response"]["usage"]
    model, usage = "", {}
    for line in exchange["stream"].splitlines():
        if line.startswith("data:"):
            event = orjson.loads(line[5:])
            model = (event.get("message") or {}).get("model") or model
            usage = {**usage, **((event.get("message") or event).get("usage") or {})}
    return model, usage


def counts(usage: dict[str, Any]) -> dict[str, int]:
    """Anthropic's disjoint counts as inclusive ones."""
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    found = {
        "input_tokens": usage["input_tokens"] + read + written,
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "output_tokens": usage["output_tokens"],
        "web_searches": (usage.get("server_tool_use") or {}).get("web_search_requests", 0),
    }
    return {name: number for name, number in found.items() if number}


def oracle_nano(model: str, usage: dict[str, int], at_ms: int) -> Decimal:
    found = OracleUsage()
    for name, number in usage.items():
        setattr(found, name, number)
    price = calc_price(
        found,
        model_ref=model,
        provider_id="anthropic",
        genai_request_timestamp=datetime.fromtimestamp(at_ms / 1_000, UTC),
    )
    return price.total_price * 10**9


def expected(exchange: dict[str, Any], at_ms: int) -> int:
    """What genai-prices asks for the answer, and for the adviser that the model asked."""
    model, usage = told(exchange)
    assert not (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")
    total = oracle_nano(model, counts(usage), at_ms)
    for each in usage.get("iterations") or ():
        if each["type"] != "message":
            total += oracle_nano(each.get("model") or model, counts(each), at_ms)
    return int(total.to_integral_value(ROUND_HALF_EVEN))


def check_usage(event: CostEvent, exchange: dict[str, Any]) -> None:
    model, usage = told(exchange)
    found = event.usage or {}
    assert event.model == model
    assert found["input_tokens"] == counts(usage)["input_tokens"]
    assert found.get("cache_read_input_tokens", 0) == usage["cache_read_input_tokens"]
    written = found.get("cache_write_5m_input_tokens", 0) + found.get("cache_write_1h_input_tokens", 0)
    assert written == usage["cache_creation_input_tokens"]
    assert found["output_tokens"] == usage["output_tokens"]
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0)
    assert found.get("reasoning_output_tokens", 0) == thought


@pytest.mark.parametrize("exchange", EXCHANGES, ids=id_of)
def test_a_recorded_exchange_passes_unaltered_and_costs_what_it_cost(
    stack: Stack, replay: Replay, secret: str, exchange: dict[str, Any]
) -> None:
    replay.exchange = exchange
    replay.extra = [("request-id", "req_recorded"), ("anthropic-ratelimit-requests-remaining", "9")]
    answer = send(stack, secret, exchange)
    assert answer.status_code == exchange["status"] == 200
    assert answer.content == answer_of(exchange)[1]
    assert replay.asked == exchange["request"]
    assert replay.path == "/v1/messages"
    assert replay.header("anthropic-version") == ["2023-06-01"]
    assert replay.header("anthropic-beta") == ["one,two"]
    assert replay.header("x-api-key") == ["sk-ant-simulated"]
    assert not replay.header("authorization")
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert answer.headers["x-upstream-request-id"] == "req_recorded"
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "9"
    event = stack.event(answer.headers["request-id"])
    assert (event.surface, event.status, event.usage_source) == ("messages", "succeeded", "provider")
    assert event.outcome == "success", event.outcome_reason
    check_usage(event, exchange)
    assert f"anthropic/{exchange['id']}" not in DISAGREEMENTS
    assert event.cost_nano == expected(exchange, event.started_ms), event.breakdown
    assert sum(row["cost_nano"] for row in event.breakdown) == event.cost_nano


def test_every_recorded_exchange_was_tried(record_property: Any) -> None:
    streamed = sum("stream" in exchange for exchange in EXCHANGES)
    record_property("whole, streamed", (len(EXCHANGES) - streamed, streamed))
    assert len(EXCHANGES) >= 110
    assert streamed >= 5
