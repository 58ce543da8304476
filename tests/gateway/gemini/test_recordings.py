"""Every recorded exchange of the Gemini API and of Vertex AI, replayed through the gateway.

A server answers each request with what Google really answered. The provider must be asked what was asked
then, at the same path; the client must see the same bytes; the event must have the recorded usage in full;
and its cost must be what genai-prices works out for the same answer. Skipped where the recordings are not at
hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN
from typing import Any

import httpx2
import orjson
import pytest
from genai_prices.data_snapshot import get_snapshot

from gateway.settings import Settings
from metering.event import CostEvent
from tests.gateway.replay import Replay, answer_of, id_of, needs_recordings, recorded
from tests.stack import Stack, running_stack

PREFIXES = {"google": "/v1beta/openai", "vertex": "/v1beta1/projects/ours/locations/here"}
"""Provider of the recordings -> where its base_url leads to."""
PRESETS = {"google": "gemini", "vertex": "vertex"}
OURS = {"embedContent", "batchEmbedContents"}
"""What answers without usage: Google counts no embeddings."""
GOOGLE = next(provider for provider in get_snapshot().providers if provider.id == "google")

pytestmark = [needs_recordings, pytest.mark.wide]


def exchanges() -> list[dict[str, Any]]:
    return recorded(lambda exchange: exchange["provider"] in PREFIXES)


@pytest.fixture(scope="module")
def stack(replay: Replay) -> Iterator[Stack]:
    providers = {
        name: {
            "preset": PRESETS[name],
            "base_url": f"http://127.0.0.1:{replay.port}{prefix}",
            "auth": "x-goog-api-key",
            "api_key": "ours",
            "models": [],
        }
        for name, prefix in PREFIXES.items()
    }
    with running_stack(Settings.model_validate({"providers": providers})) as started:
        yield started


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    return stack.key(name="replay")


def asked_of(exchange: dict[str, Any]) -> Any:
    """The recorded body; one was kept as its text."""
    asked = exchange["request"]
    return orjson.loads(asked) if isinstance(asked, str) else asked


def model_of(exchange: dict[str, Any]) -> str:
    return str(exchange["path"].rpartition("/models/")[2].partition(":")[0])


def send(stack: Stack, secret: str, exchange: dict[str, Any]) -> httpx2.Response:
    model = model_of(exchange)
    path = exchange["path"].replace(f"/models/{model}:", f"/models/{exchange['provider']}/{model}:")
    return httpx2.post(
        stack.base_url.removesuffix("/v1") + path,
        json=asked_of(exchange),
        headers={"x-goog-api-key": secret},
        timeout=60,
    )


def answers(exchange: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of an answer, read without any code of the gateway's."""
    if "stream" in exchange:
        lines = [line for line in exchange["stream"].splitlines() if line.startswith("data:")]
        return [orjson.loads(line[5:]) for line in lines]
    return [exchange["response"] if "response" in exchange else orjson.loads(exchange["text"])]


def usage_of(exchange: dict[str, Any]) -> dict[str, Any]:
    found = [each["usageMetadata"] for each in answers(exchange) if each.get("usageMetadata")]
    return dict(found[-1]) if found else {}


def searches_of(exchange: dict[str, Any]) -> int:
    return sum(
        len((candidate.get("groundingMetadata") or {}).get("webSearchQueries") or ())
        for each in answers(exchange)
        for candidate in each.get("candidates") or ()
    )


def oracle_cost(exchange: dict[str, Any], at_ms: int) -> int | None:
    """What genai-prices asks for this answer, in nano-dollars."""
    told = [each for each in answers(exchange) if each.get("usageMetadata")][-1]
    rule = next(rule for rule in GOOGLE.extractors or () if rule.api_flavor == "default")
    usage = rule.extract(told)[1]
    if searches_of(exchange):
        usage.web_searches = searches_of(exchange)
    for name in (told.get("modelVersion"), model_of(exchange)):
        model = GOOGLE.find_model(name, all_providers=get_snapshot().providers) if name else None
        if model is not None:
            flex = told["usageMetadata"].get("trafficType") == "ON_DEMAND_FLEX"
            price = model.calc_price(
                usage,
                GOOGLE,
                genai_request_timestamp=datetime.fromtimestamp(at_ms / 1_000, UTC),
                price_context={"service_tier": "flex"} if flex else {},
            )
            return int((price.total_price * 10**9).to_integral_value(ROUND_HALF_EVEN))
    return None


def modality(usage: dict[str, Any], name: str, *lists: str) -> int:
    return sum(
        row["tokenCount"] for each in lists for row in usage.get(each) or () if row["modality"] == name
    )


def check_usage(event: CostEvent, exchange: dict[str, Any]) -> None:
    usage, told = usage_of(exchange), event.usage or {}
    given = ("promptTokensDetails", "toolUsePromptTokensDetails")
    pictures = sum(modality(usage, name, *given) for name in ("IMAGE", "DOCUMENT"))
    expected = {
        "input_tokens": usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0),
        "output_tokens": usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0),
        "cache_read_input_tokens": usage.get("cachedContentTokenCount", 0),
        "reasoning_output_tokens": usage.get("thoughtsTokenCount", 0),
        "input_audio_tokens": modality(usage, "AUDIO", *given),
        "input_image_tokens": pictures,
        "input_video_tokens": modality(usage, "VIDEO", *given),
        "output_image_tokens": modality(usage, "IMAGE", "candidatesTokensDetails"),
        "web_searches": searches_of(exchange),
    }
    assert {name: told.get(name, 0) for name in expected} == expected
    assert usage["totalTokenCount"] == expected["input_tokens"] + expected["output_tokens"]


@pytest.mark.parametrize("exchange", exchanges(), ids=id_of)
def test_a_recorded_exchange_passes_unaltered_and_costs_what_it_cost(
    stack: Stack, replay: Replay, secret: str, exchange: dict[str, Any]
) -> None:
    replay.exchange = exchange
    answer = send(stack, secret, exchange)
    assert (answer.status_code, answer.content) == (exchange["status"], answer_of(exchange)[1])
    assert replay.asked == asked_of(exchange)
    folder = PREFIXES[exchange["provider"]].removesuffix("/openai")
    verb = exchange["path"].rpartition("/models/")[2]
    publisher = "/publishers/google" if exchange["provider"] == "vertex" else ""
    assert replay.path == f"{folder}{publisher}/models/{verb}"
    assert replay.header("x-goog-api-key") == ["ours"]
    event = stack.event(answer.headers["x-request-id"])
    assert (event.status, event.outcome) == ("succeeded", "success")
    assert event.stream == ("stream" in exchange)
    assert event.surface == ("batchEmbedContents" if "batchEmbed" in verb else "generateContent")
    if usage_of(exchange).get("promptTokenCount") is None:
        blocked = any((each.get("promptFeedback") or {}).get("blockReason") for each in answers(exchange))
        assert event.surface in OURS or blocked
        assert event.usage_source == "estimated"
        return
    assert event.usage_source == "provider"
    check_usage(event, exchange)
    expected = oracle_cost(exchange, event.started_ms)
    assert event.cost_nano == expected, event.breakdown
    assert sum(row["cost_nano"] for row in event.breakdown) == event.cost_nano


def test_every_recorded_exchange_of_the_format_was_tried(record_property: Any) -> None:
    counted = Counter(exchange["provider"] for exchange in exchanges())
    record_property("replayed", dict(counted))
    assert counted["google"] >= 110
    assert counted["vertex"] >= 22
