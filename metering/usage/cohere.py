"""Usage in Cohere's v2 format (chat, embed), and of rerank, whoever serves it.

Shapes: https://docs.cohere.com/reference/chat, /embed and /rerank. What is charged stands in `billed_units`:
Cohere adds a preamble of its own to a prompt, counts it in `tokens` and does not charge it. Chat reports
under `usage` (in a stream, in the last event's `delta`), embed and rerank under `meta`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metering.usage.reading import NOTHING, Reading, count, part, text, whole
from metering.usage.totals import Usage


def read(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
    """What an answer of chat or embed, or an event of a chat's stream, tells."""
    reported = part(document, "usage") or part(part(document, "delta"), "usage") or part(document, "meta")
    usage = _usage(reported)
    model = text(document.get("model")) or before.model
    return Reading(before.usage if usage is None else usage, before.service_tier, model)


def read_rerank(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
    """What a rerank answer tells: searches at Cohere and where its models are served, tokens elsewhere."""
    found = read(document, before)
    if found.usage is not None:
        return found
    reported = part(document, "usage") or part(part(document, "meta"), "tokens")
    tokens = reported.get("total_tokens", reported.get("input_tokens"))
    if tokens is None:
        return found
    return Reading(Usage(input_tokens=count(tokens)), before.service_tier, found.model)


def _usage(reported: Mapping[str, Any]) -> Usage | None:
    billed = part(reported, "billed_units")
    if billed:
        return _of(billed)
    tokens = part(reported, "tokens")
    if not tokens:
        return None
    counted = _of(tokens)
    cached = min(count(reported.get("cached_tokens")), counted.input_tokens)
    return counted + Usage(cache_read_input_tokens=cached, requests=0)


def _of(units: Mapping[str, Any]) -> Usage:
    images = count(units.get("image_tokens"))
    figures = {
        "rerank_searches": count(units.get("search_units")),
        "classifications": count(units.get("classifications")),
        "input_images": count(units.get("images")) if not images else 0,
    }
    return Usage(
        input_tokens=count(units.get("input_tokens")) + images,
        input_image_tokens=images,
        output_tokens=count(units.get("output_tokens")),
        extra=whole(figures),
    )
