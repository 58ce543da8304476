"""Usage in OpenAI's chat completions format, and in what others return who copy it.

Shapes: https://platform.openai.com/docs/api-reference/chat. Text completions have the same object, and
embeddings have it without completion tokens. Where others differ is noted at each place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metering.usage.reading import NOTHING, Reading, count, part, text, tier, usd_nano, whole
from metering.usage.totals import Usage

# Calls that run at the provider, as OpenRouter, Perplexity and xAI count them inside `usage`.
_CALLS = {
    "web_search_requests": "web_searches",
    "web_search_calls": "web_searches",
    "x_search_calls": "social_searches",
    "file_search_calls": "storage_searches",
    "document_search_calls": "storage_searches",
    "collections_search_calls": "storage_searches",
    "code_interpreter_calls": "code_executions",
    "code_execution_calls": "code_executions",
}
_CALLS_IN = ("server_tool_use", "server_tool_use_details", "server_side_tool_usage_details")
_ANY_CALLS = frozenset(_CALLS_IN)
_TICKS_PER_NANO = 10
"""xAI reports its bill in ticks of 10^-10 dollars."""


def read(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
    """What a chat answer, or a chunk of one, tells. Usage is taken from any chunk; the last one counts."""
    reported = usage_object(document)
    usage = read_usage(reported) if reported is not None else None
    served = tier(document.get("service_tier")) or before.service_tier
    model = text(document.get("model")) or before.model
    if reported is None or usage is None:
        return Reading(before.usage, served, model, reported_nano=before.reported_nano)
    return Reading(usage, served, model, reported_nano=reported_cost(reported))


def read_embeddings(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
    """The same for embeddings, which others than OpenAI count in `total_tokens` alone."""
    reported = usage_object(document)
    if reported is not None and reported.get("prompt_tokens") is None and count(reported.get("total_tokens")):
        document = {**document, "usage": {**reported, "prompt_tokens": reported["total_tokens"]}}
    return read(document, before)


def usage_object(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where an answer or a chunk carries its usage: at the top, or under Groq's `x_groq`."""
    usage = document.get("usage")
    if isinstance(usage, dict):
        return usage
    groq = document.get("x_groq")
    if isinstance(groq, dict) and isinstance(groq.get("usage"), dict):
        return dict(groq["usage"])
    return None


def read_usage(reported: Mapping[str, Any]) -> Usage | None:
    """Usage of one answer from its `usage` object; None when it reports nothing countable.

    OpenAI counts cached tokens inside prompt_tokens and reasoning inside completion_tokens. Where others
    differ: DeepSeek names the cached part prompt_cache_hit_tokens; xAI counts reasoning beside
    completion_tokens, which its own total_tokens shows; Perplexity counts reasoning and citations beside
    them, and its total_tokens does not show it. Mistral's num_cached_tokens is no part of a bill: it charges
    less for the cached_tokens of prompt_tokens_details, which come in blocks of 64.
    """
    given = reported.get("prompt_tokens")
    produced = reported.get("completion_tokens")
    if given is None and produced is None and count(reported.get("total_tokens")) == 0:
        return None
    prompt, completion = count(given), count(produced)
    inside = part(reported, "prompt_tokens_details")
    outside = part(reported, "completion_tokens_details")
    reasoning = count(outside.get("reasoning_tokens", reported.get("reasoning_tokens")))
    total = count(reported.get("total_tokens"))
    citations = count(reported.get("citation_tokens"))
    perplexity = "citation_tokens" in reported or "num_search_queries" in reported
    if reasoning and (perplexity or reasoning > completion or total == prompt + completion + reasoning):
        completion += reasoning
    return Usage(
        input_tokens=prompt,
        cache_read_input_tokens=count(_cached(reported, inside)),
        cache_write_5m_input_tokens=count(inside.get("cache_write_tokens")),
        input_audio_tokens=count(inside.get("audio_tokens")),
        input_image_tokens=count(inside.get("image_tokens")),
        output_tokens=completion + citations,
        reasoning_output_tokens=reasoning,
        output_audio_tokens=count(outside.get("audio_tokens")),
        output_image_tokens=count(outside.get("image_tokens")),
        extra=_others(reported, inside, citations),
    )


def _cached(reported: Mapping[str, Any], inside: Mapping[str, Any]) -> Any:
    """The cached part of the prompt by whoever names it; an explicit 0 is an answer, null is none."""
    for holder, name in (
        (inside, "cached_tokens"),
        (reported, "prompt_cache_hit_tokens"),
        (reported, "cached_tokens"),
    ):
        if (value := holder.get(name)) is not None:
            return value
    return None


def _others(
    reported: Mapping[str, Any], inside: Mapping[str, Any], citations: int
) -> tuple[tuple[str, int], ...]:
    """Units beyond tokens of text, sound and images: for most answers none, after a few look-ups."""
    figures: dict[str, int] = {}
    if "video_tokens" in inside:
        figures["input_video_tokens"] = count(inside["video_tokens"])
    if citations:
        figures["citation_output_tokens"] = citations
    if "num_search_queries" in reported:
        figures["web_searches"] = count(reported["num_search_queries"])
    if not _ANY_CALLS.isdisjoint(reported):
        for holder in _CALLS_IN:
            add_calls(figures, part(reported, holder), _CALLS)
    return whole(figures) if figures else ()


def add_calls(figures: dict[str, int], reported: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Note how often each tool of the provider ran, by the registry's names for those calls."""
    for name, unit in names.items():
        if name in reported:
            figures[unit] = count(reported[name])


def reported_cost(reported: Mapping[str, Any]) -> int | None:
    """What the provider says this answer cost, nano-USD; None where it does not say.

    OpenRouter's `cost` is what it charges. Where the caller's own key at the upstream pays (`is_byok`, or a
    `cost` below the upstream's), the upstream's bill comes on top; else `cost_details` are parts of `cost`,
    and are not added. Perplexity's `cost` is an object with a `total_cost`; xAI counts in ticks; DeepInfra
    calls it `estimated_cost`.
    """
    if "cost" in reported:
        cost = reported["cost"]
        if isinstance(cost, dict):
            return usd_nano(cost.get("total_cost"))
        charged = usd_nano(cost)
        upstream = usd_nano(part(reported, "cost_details").get("upstream_inference_cost"))
        if charged is not None and upstream is not None:
            byok = reported.get("is_byok")
            if byok is True or (byok is None and charged < upstream):
                return charged + upstream
        return charged
    if "cost_in_usd_ticks" in reported:
        ticks = reported["cost_in_usd_ticks"]
        if isinstance(ticks, int) and not isinstance(ticks, bool) and ticks >= 0:
            nano, rest = divmod(ticks, _TICKS_PER_NANO)
            return nano + (rest > 5 or (rest == 5 and nano % 2))
        return None
    return usd_nano(reported.get("estimated_cost"))
