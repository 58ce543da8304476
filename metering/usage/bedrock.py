"""Usage at Amazon Bedrock: Converse and ConverseStream, and InvokeModel with each maker's own shape.

Shapes: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html. Converse counts
what was read from the cache and written to it beside inputTokens, which its totalTokens shows. Converse names
no model: what served is what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metering.usage import anthropic, cohere, openai
from metering.usage.reading import NOTHING, Reading, count, objects, part, text, tier, whole
from metering.usage.totals import Usage

_CALLS = {"webSearchRequests": "web_searches", "codeExecutionRequests": "code_executions"}
_METRICS = "amazon-bedrock-invocationMetrics"
_HEADER = "x-amzn-bedrock-"


def read_converse(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
    """What a Converse answer, or an event of ConverseStream, tells; usage comes with `metadata`."""
    document = part(document, "metadata") or document
    served = tier(part(document, "serviceTier").get("type")) or before.service_tier
    if part(document, "performanceConfig").get("latency") == "optimized":
        served = "optimized"
    reported = document.get("usage")
    usage = _usage(reported) if isinstance(reported, dict) else None
    return Reading(before.usage if usage is None else usage, served, before.model)


def read_invoke(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
    """What an InvokeModel answer, or an event of its stream, tells, whoever made the model.

    The metrics that Bedrock adds to a stream's last event have the last word, but where they agree with the
    maker's own figures these stay: they also say how long cache writes live.
    """
    found = _makers(document, before)
    metrics = part(document, _METRICS)
    if not metrics:
        return found
    usage, own = _metrics(metrics), found.usage
    if own is not None and (own.input_tokens, own.output_tokens) == (usage.input_tokens, usage.output_tokens):
        return found
    return Reading(usage, found.service_tier, found.model, raw=found.raw)


def read_invoke_headers(headers: Mapping[str, str], before: Reading = NOTHING) -> Reading:
    """What the headers of an InvokeModel answer tell (lower-case names), where its body told nothing."""
    given = headers.get(f"{_HEADER}input-token-count")
    if before.usage is not None or given is None:
        return before
    figures = {
        "inputTokenCount": _number(given),
        "outputTokenCount": _number(headers.get(f"{_HEADER}output-token-count")),
        "cacheReadInputTokenCount": _number(headers.get(f"{_HEADER}cache-read-input-token-count")),
        "cacheWriteInputTokenCount": _number(headers.get(f"{_HEADER}cache-write-input-token-count")),
    }
    return Reading(_metrics(figures), before.service_tier, before.model)


def _makers(document: Mapping[str, Any], before: Reading) -> Reading:
    reported = document.get("usage")
    if isinstance(reported, dict) and ("inputTokens" in reported or "outputTokens" in reported):
        return read_converse(document, before)
    if "message" in document or (
        isinstance(reported, dict) and ("input_tokens" in reported or "output_tokens" in reported)
    ):
        return anthropic.read(document, before)
    if isinstance(reported, dict):
        return openai.read(document, before)
    if "meta" in document:
        return cohere.read(document, before)
    usage = _titan(document) or _llama(document) or before.usage
    return Reading(usage, before.service_tier, before.model, raw=before.raw)


def _usage(reported: Mapping[str, Any]) -> Usage | None:
    given, produced = reported.get("inputTokens"), reported.get("outputTokens")
    if given is None and produced is None:
        return None
    # Some answers have the counts under both spellings.
    read_tokens = count(reported.get("cacheReadInputTokens", reported.get("cacheReadInputTokenCount")))
    written = count(reported.get("cacheWriteInputTokens", reported.get("cacheWriteInputTokenCount")))
    hour = sum(
        count(row.get("inputTokens"))
        for row in objects(reported.get("cacheDetails"))
        if text(row.get("ttl")) == "1h"
    )
    hour = min(hour, written)
    whole_input = count(given)
    cached = read_tokens + written
    if not (cached <= whole_input and count(reported.get("totalTokens")) == whole_input + count(produced)):
        whole_input += cached
    figures: dict[str, int] = {}
    for name, value in part(reported, "serverToolUsage").items():
        figures[_CALLS.get(name, name)] = count(value)
    return Usage(
        input_tokens=whole_input,
        cache_read_input_tokens=read_tokens,
        cache_write_5m_input_tokens=written - hour,
        cache_write_1h_input_tokens=hour,
        output_tokens=count(produced),
        extra=whole(figures),
    )


def _metrics(metrics: Mapping[str, Any]) -> Usage:
    read_tokens = count(metrics.get("cacheReadInputTokenCount"))
    written = count(metrics.get("cacheWriteInputTokenCount"))
    return Usage(
        input_tokens=count(metrics.get("inputTokenCount")) + read_tokens + written,
        cache_read_input_tokens=read_tokens,
        cache_write_5m_input_tokens=written,
        output_tokens=count(metrics.get("outputTokenCount")),
    )


def _titan(document: Mapping[str, Any]) -> Usage | None:
    """Amazon's older models: one count of the input, one for each result."""
    if "inputTextTokenCount" not in document:
        return None
    produced = sum(count(result.get("tokenCount")) for result in objects(document.get("results")))
    produced = produced or count(document.get("totalOutputTextTokenCount"))
    return Usage(input_tokens=count(document["inputTextTokenCount"]), output_tokens=produced)


def _llama(document: Mapping[str, Any]) -> Usage | None:
    if document.get("prompt_token_count") is None or document.get("generation_token_count") is None:
        return None
    return Usage(
        input_tokens=count(document["prompt_token_count"]),
        output_tokens=count(document["generation_token_count"]),
    )


def _number(header: str | None) -> int:
    return int(header) if header is not None and header.isascii() and header.isdigit() else 0
