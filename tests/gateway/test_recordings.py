"""Real exchanges of providers that speak OpenAI's format, replayed through the gateway.

A server answers each request with what the provider really answered. The client must see the same bytes, the
event must have the recorded usage, and its cost must be what genai-prices works out for the same answer;
where it is not, DISAGREEMENTS says why. Skipped where the recordings are not at hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import httpx2
import orjson
import pytest
from genai_prices import Usage as OracleUsage
from genai_prices import calc_price

from gateway.settings import ProviderSettings, Settings
from metering.event import CostEvent
from tests.gateway.replay import Replay, answer_of, id_of, needs_recordings, recorded
from tests.stack import Stack, running_stack

PROVIDERS = {
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "groq": "groq",
    "huggingface": "huggingface_together",
    "mistral": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "zai": "zai",
}
"""Provider of the recordings -> provider in the price book."""

DISAGREEMENTS = {
    "test_openai_model_cerebras_provider_qwen_3_coder#0": "listed without a rate: oracle 0, ours unknown",
    "test_openai_model_cerebras_provider_qwen_3_coder#1": "listed without a rate: oracle 0, ours unknown",
    "test_openrouter_cache_instructions_gemini_real_api#0": "the oracle refuses the usage (cache "
    "read and written overlap); ours is the recorded bill: test_a_recorded_bill_decides...",
    "test_openrouter_web_search_tool_usage_stream#0": "ours is the recorded bill: a search is in it",
    "test_openrouter_advisor_tool#0": "ours is the recorded bill: an adviser's tokens are in it",
    "test_openrouter_advisor_tool_stream#0": "ours is the recorded bill: an adviser's tokens are in it",
    "test_ref_sibling_wire_contract[qwen-nested-model]#0": "ours is the recorded bill: of a dearer upstream",
}
"""Exchange id -> why our cost is not genai-prices' (with the page or the bill that decides)."""

pytestmark = needs_recordings


def exchanges() -> list[dict[str, Any]]:
    return recorded(
        lambda exchange: (
            exchange["provider"] in PROVIDERS
            and exchange["path"].split("?")[0].endswith(("/chat/completions", "/embeddings"))
        )
    )


@pytest.fixture(scope="module")
def stack(replay: Replay) -> Iterator[Stack]:
    providers = {
        name: ProviderSettings(base_url=f"http://127.0.0.1:{replay.port}/{name}", prices=prices, models=[])
        for name, prices in PROVIDERS.items()
    }
    with running_stack(Settings(providers=providers)) as started:
        yield started


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    return stack.key(name="replay")


def last_usage(exchange: dict[str, Any]) -> dict[str, Any] | None:
    """The usage object that the recording ends with, read without any code of the gateway's."""
    if "response" in exchange:
        found = exchange["response"].get("usage")
        return found if isinstance(found, dict) else None
    found = None
    for line in exchange.get("stream", "").splitlines():
        if line.startswith("data:") and line[5:].strip() != "[DONE]":
            chunk = orjson.loads(line[5:])
            reported = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
            found = reported or found
    return found


def count(usage: dict[str, Any], *path: str) -> int:
    value: Any = usage
    for name in path:
        value = (value or {}).get(name)
    return int(value or 0)


def served_model(exchange: dict[str, Any]) -> str:
    if "response" in exchange:
        return str(exchange["response"].get("model") or exchange["request"]["model"])
    for line in exchange["stream"].splitlines():
        if line.startswith("data:") and '"model"' in line:
            return str(orjson.loads(line[5:])["model"])
    return str(exchange["request"]["model"])


def oracle_cost(exchange: dict[str, Any], usage: dict[str, Any], started_ms: int) -> int | None:
    """What genai-prices asks for this usage, in nano-dollars; None when it knows no price."""
    counts = {
        "input_tokens": count(usage, "prompt_tokens"),
        "cache_read_tokens": count(usage, "prompt_tokens_details", "cached_tokens")
        or count(usage, "prompt_cache_hit_tokens"),
        "cache_write_tokens": count(usage, "prompt_tokens_details", "cache_write_tokens"),
        "input_audio_tokens": count(usage, "prompt_tokens_details", "audio_tokens"),
        "output_tokens": count(usage, "completion_tokens"),
        "output_audio_tokens": count(usage, "completion_tokens_details", "audio_tokens"),
    }
    for model in (served_model(exchange), exchange["request"]["model"]):
        try:
            price = calc_price(
                OracleUsage(**{name: number for name, number in counts.items() if number}),
                model_ref=model,
                provider_id=PROVIDERS[exchange["provider"]],
                genai_request_timestamp=datetime.fromtimestamp(started_ms / 1000, UTC),
            )
        except (LookupError, ValueError):  # no such model, or counts that it will not read
            continue
        return int((price.total_price * Decimal(10**9)).quantize(Decimal(1), ROUND_HALF_EVEN))
    return None


def send(stack: Stack, secret: str, exchange: dict[str, Any]) -> httpx2.Response:
    body = {**exchange["request"], "model": f"{exchange['provider']}/{exchange['request']['model']}"}
    surface = "/embeddings" if exchange["path"].endswith("/embeddings") else "/chat/completions"
    return httpx2.post(
        stack.base_url + surface, json=body, headers={"Authorization": f"Bearer {secret}"}, timeout=60
    )


def check_usage(event: CostEvent, usage: dict[str, Any]) -> None:
    told = event.usage or {}
    assert told.get("input_tokens", 0) == count(usage, "prompt_tokens")
    assert told.get("output_tokens", 0) == count(usage, "completion_tokens")
    cached = count(usage, "prompt_tokens_details", "cached_tokens") or count(usage, "prompt_cache_hit_tokens")
    assert told.get("cache_read_input_tokens", 0) == cached
    assert told.get("reasoning_output_tokens", 0) == (
        count(usage, "completion_tokens_details", "reasoning_tokens") or count(usage, "reasoning_tokens")
    )


@pytest.mark.parametrize("exchange", exchanges(), ids=id_of)
def test_a_recorded_exchange_passes_unaltered_and_costs_what_it_cost(
    stack: Stack, replay: Replay, secret: str, exchange: dict[str, Any]
) -> None:
    replay.exchange = exchange
    answer = send(stack, secret, exchange)
    assert answer.status_code == exchange["status"]
    assert answer.content == answer_of(exchange)[1]
    event = stack.event(answer.headers["x-request-id"])
    asked = {**exchange["request"]}
    if exchange["request"].get("stream") and not exchange["request"].get("stream_options"):
        asked["stream_options"] = {"include_usage": True}
    assert replay.asked == asked
    usage = last_usage(exchange)
    if exchange["status"] != 200 or usage is None:
        assert event.usage_source in ("none", "estimated")
        assert event.cost_nano is not None or event.usage
        return
    assert event.usage_source == "provider"
    check_usage(event, usage)
    expected = oracle_cost(exchange, usage, event.started_ms)
    agrees = event.cost_nano == expected
    assert agrees != (exchange["id"] in DISAGREEMENTS), (event.cost_nano, expected, event.breakdown)


def test_a_recorded_bill_decides_how_overlapping_cache_figures_are_read(
    stack: Stack, replay: Replay, secret: str
) -> None:
    name = "test_openrouter_cache_instructions_gemini_real_api#0"
    replay.exchange = next(exchange for exchange in exchanges() if exchange["id"] == name)
    event = stack.event(send(stack, secret, replay.exchange).headers["x-request-id"])
    billed = Decimal(str(replay.exchange["response"]["usage"]["cost"])) * 10**9
    assert event.cost_nano is not None
    assert event.cost_nano == round(billed)
    assert event.cost_status == "provider_reported"


def test_every_recorded_exchange_of_the_format_was_tried(record_property: Any) -> None:
    counted = Counter(exchange["provider"] for exchange in exchanges())
    record_property("replayed", dict(counted))
    assert sum(counted.values()) >= 100
