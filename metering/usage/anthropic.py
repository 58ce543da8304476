"""Usage in Anthropic's Messages format, at Anthropic and where others serve it (Vertex, Bedrock).

Shapes: https://platform.claude.com/docs/en/api/messages. `input_tokens` counts only what was neither read
from the cache nor written to it, so the three are added up here. A stream reports on `message_start` and
again on `message_delta`: cumulative figures, of which the later ones hold, a 0 too. `cache_creation` divides
the cache writes by how long they live; `cache_creation_input_tokens` is their sum, and not one more kind.

`iterations` lists the model calls behind one answer. Those of type `message` make up the totals. A compaction
of the context is billed beside them at the same model's price, and an advisor at its own model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metering.usage.reading import NOTHING, Reading, count, objects, part, text, tier
from metering.usage.totals import Usage

# Tools that run at the provider. A fetch costs its tokens and nothing else; finding tools costs nothing.
_CALLS = {
    "web_search_requests": "web_searches",
    "web_fetch_requests": None,
    "tool_search_requests": None,
    "code_execution_requests": "code_executions",
}
_NO_REGION = ("global", "not_available")


def read(document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
    """What a message, or an event of its stream, tells."""
    message = part(document, "message") or document
    reported = message.get("usage")
    model = text(message.get("model")) or before.model
    if not isinstance(reported, dict):
        return before if model == before.model else _with_model(before, model)
    raw = _merged(before.raw, reported)
    own, elsewhere = _usage(raw, model)
    geo = text(raw.get("inference_geo"))
    return Reading(
        usage=own,
        service_tier="fast" if raw.get("speed") == "fast" else tier(raw.get("service_tier")),
        model=model,
        region=None if geo in _NO_REGION else geo,
        elsewhere=elsewhere,
        raw=raw,
    )


def _with_model(before: Reading, model: str | None) -> Reading:
    return Reading(
        before.usage, before.service_tier, model, before.region, before.elsewhere, None, raw=before.raw
    )


def _merged(raw: Mapping[str, Any], reported: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**raw, **{name: value for name, value in reported.items() if value is not None}}
    if "cache_creation" not in reported and "cache_creation_input_tokens" in reported:
        # The earlier division no longer belongs to this sum.
        parts = part(raw, "cache_creation")
        if sum(map(count, parts.values())) != count(reported["cache_creation_input_tokens"]):
            merged.pop("cache_creation", None)
    return merged


def _usage(raw: Mapping[str, Any], model: str | None) -> tuple[Usage | None, tuple[tuple[str, Usage], ...]]:
    """(what the answering model used, what others used on its behalf)."""
    if raw.get("input_tokens") is None and raw.get("output_tokens") is None:
        return None, ()
    own = _tokens(raw, extra=_calls(part(raw, "server_tool_use")))
    iterations = raw.get("iterations")
    if not iterations:
        return own, ()
    elsewhere: dict[str, Usage] = {}
    for call in _beside(objects(iterations), own):
        used = _tokens(call, requests=0)
        name = text(call.get("model"))
        if name is None or name == model:
            own += used
        else:
            elsewhere[name] = elsewhere[name] + used if name in elsewhere else used
    return own, tuple(elsewhere.items())


def _calls(reported: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    named = ((_CALLS.get(name, name), count(value)) for name, value in reported.items())
    return tuple((unit, quantity) for unit, quantity in named if unit is not None and quantity)


def _beside(iterations: list[Mapping[str, Any]], own: Usage) -> list[Mapping[str, Any]]:
    """The calls that the totals leave out: none where all calls together are the totals."""
    others = [call for call in iterations if call.get("type") != "message"]
    if not others:
        return []
    every = [_tokens(call) for call in iterations]
    inside = (
        sum(each.input_tokens for each in every) == own.input_tokens
        and sum(each.output_tokens for each in every) == own.output_tokens
    )
    return [] if inside else others


def _tokens(reported: Mapping[str, Any], requests: int = 1, extra: tuple[tuple[str, int], ...] = ()) -> Usage:
    read_tokens = count(reported.get("cache_read_input_tokens"))
    lives = part(reported, "cache_creation")
    hour = count(lives.get("ephemeral_1h_input_tokens"))
    written = reported.get("cache_creation_input_tokens")
    minutes = count(lives.get("ephemeral_5m_input_tokens"))
    if written is not None:
        # The sum is what was written; what it does not divide lives five minutes.
        hour = min(hour, count(written))
        minutes = count(written) - hour
    return Usage(
        input_tokens=count(reported.get("input_tokens")) + read_tokens + minutes + hour,
        cache_read_input_tokens=read_tokens,
        cache_write_5m_input_tokens=minutes,
        cache_write_1h_input_tokens=hour,
        output_tokens=count(reported.get("output_tokens")),
        reasoning_output_tokens=count(part(reported, "output_tokens_details").get("thinking_tokens")),
        requests=requests,
        extra=extra,
    )
