"""The token counts of a reported event: totals that include their parts, and the parts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.ingest.fields import Refused, count_field
from metering.usage import Usage

TOKEN_FIELDS = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheReadInputTokens": "cache_read_input_tokens",
    "cacheWrite5mInputTokens": "cache_write_5m_input_tokens",
    "cacheWrite1hInputTokens": "cache_write_1h_input_tokens",
    "inputAudioTokens": "input_audio_tokens",
    "inputImageTokens": "input_image_tokens",
    "cacheReadAudioTokens": "cache_read_audio_tokens",
    "reasoningOutputTokens": "reasoning_output_tokens",
    "outputAudioTokens": "output_audio_tokens",
    "outputImageTokens": "output_image_tokens",
}
"""Fields of reports -> counts of metering.usage. Every total includes its parts: cached tokens are input."""


def read_usage(item: Mapping[str, Any]) -> dict[str, int]:
    """The counts that were reported, zeros too; empty where none was. Raises Refused, also for a part that
    exceeds its whole: then one of the two is wrong, and so would be the cost."""
    found: dict[str, int] = {}
    for name, unit in TOKEN_FIELDS.items():
        if name in item:
            count = count_field(item, name)
            if count is not None:
                found[unit] = count
    if len(found) > 1 or (found and not found.keys() & _TOTALS):
        contradiction = Usage.from_document(found).contradiction()
        if contradiction is not None:
            raise Refused(
                f"{contradiction}; totals include their parts, so inputTokens counts cached tokens, too",
                code="usage_contradiction",
                field="outputTokens" if "output_tokens" in contradiction else "inputTokens",
            )
    return found


_TOTALS = {"input_tokens", "output_tokens"}
