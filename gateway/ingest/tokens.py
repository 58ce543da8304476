"""The token counts of a reported event: totals that include their parts, and the parts. Pure."""

from __future__ import annotations

from typing import Any

from gateway.ingest.fields import Reader, Refused, count_field
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
TOKEN_READERS: dict[str, tuple[str, Reader]] = {
    name: (unit, count_field) for name, unit in TOKEN_FIELDS.items()
}


def take_usage(said: dict[str, Any]) -> dict[str, int]:
    """Take the counts out of what was said, zeros too; empty where there are none. Raises Refused for a part
    that exceeds its whole: then one of the two is wrong, and so would be the cost."""
    found = {unit: said.pop(unit) for unit in _UNITS if unit in said}
    if not _TOTALS.issuperset(found):
        contradiction = Usage(**found).contradiction()
        if contradiction is not None:
            raise Refused(
                f"{contradiction}; totals include their parts, so inputTokens counts cached tokens, too",
                code="usage_contradiction",
                field="outputTokens" if "output_tokens" in contradiction else "inputTokens",
            )
    return found


_UNITS = tuple(TOKEN_FIELDS.values())
_TOTALS = frozenset({"input_tokens", "output_tokens"})
