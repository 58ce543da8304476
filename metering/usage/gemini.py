"""Usage in Google's generateContent format, at the Gemini API and at Vertex.

Shapes: https://ai.google.dev/api/generate-content#UsageMetadata. `promptTokenCount` includes what came from
the cache; what tools put into the prompt stands beside it. Thoughts stand beside `candidatesTokenCount`,
which `totalTokenCount` shows; where it shows that they are inside, they are not added. Every chunk of a
stream repeats cumulative figures. Searches are no part of usage: the queries stand with each candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metering.usage.reading import NOTHING, Reading, count, objects, part, text, tier, whole
from metering.usage.totals import Usage

# A page of a document is counted, and billed, as an image.
_INPUT = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}


def read(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
    """What an answer, or a chunk of a streamed one, tells."""
    raw = {**before.raw, **_searches(document, before.raw)}
    reported = document.get("usageMetadata")
    if isinstance(reported, dict):
        raw.update((name, value) for name, value in reported.items() if value is not None)
    model = text(document.get("modelVersion"))
    return Reading(
        usage=_usage(raw),
        service_tier=tier(raw.get("serviceTier") or raw.get("trafficType")),
        model=model.removeprefix("models/") if model else before.model,
        raw=raw,
    )


def read_embeddings(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
    """The same for embeddings. Vertex reports tokens for each text, and characters, which are the same texts
    once more: they count where no tokens do."""
    tokens, characters = 0, count(part(document, "metadata").get("billableCharacterCount"))
    for prediction in objects(document.get("predictions")):
        tokens += count(part(part(prediction, "embeddings"), "statistics").get("token_count"))
    if not tokens and not characters:
        return read(document, before)
    usage = Usage(input_tokens=tokens, extra=() if tokens else whole({"input_characters": characters}))
    return Reading(usage=usage, model=before.model)


def _usage(raw: Mapping[str, Any]) -> Usage | None:
    prompt = raw.get("promptTokenCount")
    produced = raw.get("candidatesTokenCount", raw.get("responseTokenCount"))
    if prompt is None and produced is None and not count(raw.get("totalTokenCount")):
        return None
    given, made = count(prompt), count(produced)
    tools, thoughts = count(raw.get("toolUsePromptTokenCount")), count(raw.get("thoughtsTokenCount"))
    inside = thoughts <= made and count(raw.get("totalTokenCount")) == given + tools + made
    media = _by_kind(raw, "promptTokensDetails", "toolUsePromptTokensDetails")
    cached = _by_kind(raw, "cacheTokensDetails")
    out = _by_kind(raw, "candidatesTokensDetails", "responseTokensDetails")
    figures = {
        "cache_read_image_tokens": cached.get("image", 0),
        "input_video_tokens": media.get("video", 0),
        "output_video_tokens": out.get("video", 0),
        "web_searches": len(raw.get("web searches", ())),
        "map_searches": int(bool(raw.get("map searches"))),
    }
    return Usage(
        input_tokens=given + tools,
        cache_read_input_tokens=count(raw.get("cachedContentTokenCount")),
        input_audio_tokens=media.get("audio", 0),
        input_image_tokens=media.get("image", 0),
        cache_read_audio_tokens=cached.get("audio", 0),
        output_tokens=made if inside else made + thoughts,
        reasoning_output_tokens=thoughts,
        output_audio_tokens=out.get("audio", 0),
        output_image_tokens=out.get("image", 0),
        extra=whole(figures),
    )


def _by_kind(raw: Mapping[str, Any], *lists: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in lists:
        for row in objects(raw.get(name)):
            kind = _INPUT.get(str(row.get("modality")))
            if kind is not None:
                found[kind] = found.get(kind, 0) + count(row.get("tokenCount"))
    return found


def _searches(document: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """The queries so far: a stream names them once, or names the whole list again.

    How many of them are charged is the price list's affair: older models are billed once for a prompt.
    """
    found: dict[str, Any] = {}
    for candidate in objects(document.get("candidates")):
        grounding = part(candidate, "groundingMetadata")
        queries = grounding.get("webSearchQueries")
        if isinstance(queries, list):
            known = found.get("web searches", raw.get("web searches", ()))
            found["web searches"] = (*known, *(query for query in queries if query and query not in known))
        if any("maps" in chunk for chunk in objects(grounding.get("groundingChunks"))):
            found["map searches"] = True
    return found
