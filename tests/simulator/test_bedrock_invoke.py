"""Anthropic's bodies through Bedrock's InvokeModel: the answer is Anthropic's, the price Bedrock's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import botocore.exceptions
import pytest

from simulator.process import Simulator
from tests.simulator.amazon import MICRO, SONNET, amazon

COUNTS = "x-amzn-bedrock-"


@pytest.fixture(scope="module")
def bedrock(running_simulator: Simulator) -> Iterator[Any]:
    client = amazon(running_simulator.root)
    yield client
    client.close()


def body(text: str, **more: Any) -> str:
    message = {"role": "user", "content": text}
    return json.dumps(
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 500, "messages": [message], **more}
    )


def counts(answer: dict[str, Any]) -> dict[str, int]:
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    found = {name.removeprefix(COUNTS): value for name, value in headers.items() if name.startswith(COUNTS)}
    return {name: int(value) for name, value in found.items()}


def test_the_answer_is_anthropics_and_its_counts_are_in_headers(bedrock: Any, simulator: Simulator) -> None:
    answer = bedrock.invoke_model(modelId=SONNET, body=body("Hi [[simulate: tokens=3]]"))
    message = json.loads(answer["body"].read())
    assert (message["type"], message["model"]) == ("message", "claude-sonnet-4-5-20250929")
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (17, 3)
    assert counts(answer) == {
        "input-token-count": 17, "output-token-count": 3, "cache-read-input-token-count": 0,
        "cache-write-input-token-count": 0, "invocation-latency": 3,
    }  # fmt: skip
    (entry,) = simulator.bill()["requests"]
    assert entry["model"] == SONNET
    # Of one geography: $3.30/M and $16.50/M.
    assert Fraction(entry["exact"]) == (17 * Fraction("3.30") + 3 * Fraction("16.50")) / 10**6


def test_a_stream_is_anthropics_events_in_chunks(bedrock: Any, simulator: Simulator) -> None:
    text = "Hi [[simulate: tokens=3]]"
    stream = bedrock.invoke_model_with_response_stream(modelId=SONNET, body=body(text))["body"]
    events = [json.loads(each["chunk"]["bytes"]) for each in stream]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    plain = json.loads(bedrock.invoke_model(modelId=SONNET, body=body(text))["body"].read())
    deltas = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(deltas) == plain["content"][0]["text"]
    metrics = events[-1]["amazon-bedrock-invocationMetrics"]
    assert (metrics["inputTokenCount"], metrics["outputTokenCount"]) == (17, 3)
    assert [entry["nano"] for entry in simulator.bill()["requests"]] == [105_600, 105_600]


def test_caching_and_thinking_are_anthropics_at_bedrocks_price(bedrock: Any, simulator: Simulator) -> None:
    system = [{"type": "text", "text": " word" * 1_500, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    asked = body("Hi [[simulate: tokens=1 reasoning=4]]", system=system, thinking=thinking, max_tokens=2_000)
    first = counts(bedrock.invoke_model(modelId=SONNET, body=asked))
    second = counts(bedrock.invoke_model(modelId=SONNET, body=asked))
    assert first["cache-write-input-token-count"] == second["cache-read-input-token-count"] == 1_500
    assert (first["cache-read-input-token-count"], second["cache-write-input-token-count"]) == (0, 0)
    fresh = first["input-token-count"]
    assert (first["output-token-count"], second["input-token-count"]) == (5, fresh)
    one, two = simulator.bill()["requests"]
    said = fresh * Fraction("3.30") + 5 * Fraction("16.50")
    assert Fraction(one["exact"]) == (said + 1_500 * Fraction("6.60")) / 10**6
    assert Fraction(two["exact"]) == (said + 1_500 * Fraction("0.33")) / 10**6


def test_a_failing_stream_raises_in_the_sdk(bedrock: Any, simulator: Simulator) -> None:
    text = "[[simulate: tokens=9 error_in_stream=4]]"
    stream = bedrock.invoke_model_with_response_stream(modelId=SONNET, body=body(text))["body"]
    with pytest.raises(botocore.exceptions.EventStreamError, match="modelStreamErrorException"):
        list(stream)
    assert simulator.bill()["requests"][0]["completion_tokens"] == 4


def test_another_model_may_answer_and_is_what_costs(bedrock: Any, simulator: Simulator) -> None:
    other = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    answer = bedrock.invoke_model(modelId=SONNET, body=body(f"[[simulate: tokens=1 served={other}]]"))
    assert json.loads(answer["body"].read())["model"] == "claude-haiku-4-5-20251001"
    (entry,) = simulator.bill()["requests"]
    assert (entry["model"], Fraction(entry["exact"])) == (
        other, (entry["prompt_tokens"] * Fraction("1.10") + Fraction("5.50")) / 10**6,
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        body("Hi", anthropic_version="2023-06-01"),
        body("Hi", stream=True),
        body("Hi", model="claude-sonnet-4-5"),
        body("Hi", max_tokens=0),
        body("Hi", tools=[{"type": "web_search_20250305", "name": "web_search"}]),
    ],
)
def test_what_bedrock_does_not_take_is_refused(bedrock: Any, simulator: Simulator, wrong: str) -> None:
    with pytest.raises(bedrock.exceptions.ValidationException):
        bedrock.invoke_model(modelId=SONNET, body=wrong)
    with pytest.raises(bedrock.exceptions.ValidationException, match="only Anthropic's"):
        bedrock.invoke_model(modelId=MICRO, body=body("Hi"))
    assert simulator.total_nano() == 0


def test_errors_are_the_sdks_own(bedrock: Any) -> None:
    with pytest.raises(bedrock.exceptions.ThrottlingException):
        bedrock.invoke_model(modelId=SONNET, body=body("[[simulate: status=429]]"))
    with pytest.raises(bedrock.exceptions.ModelErrorException):
        bedrock.invoke_model_with_response_stream(modelId=SONNET, body=body("[[simulate: status=424]]"))
