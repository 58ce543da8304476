"""Answers of providers as their usage is written, and what a reader makes of them."""

from __future__ import annotations

from typing import Any

from metering.usage import Usage
from metering.usage.readers import READERS
from metering.usage.reading import NOTHING, Reading


def read(reader: str, *events: dict[str, Any]) -> Reading:
    reading = NOTHING
    for event in events:
        reading = READERS[reader](event, reading)
    return reading


def usage(reader: str, *events: dict[str, Any]) -> Usage:
    found = read(reader, *events).usage
    assert found is not None
    return found


def chat(**figures: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [], "usage": figures}


def message(**figures: Any) -> dict[str, Any]:
    return {"model": "claude", "usage": figures}


def gemini(**figures: Any) -> dict[str, Any]:
    return {"modelVersion": "gemini", "usageMetadata": figures}


START = {
    "type": "message_start",
    "message": {
        "model": "claude-sonnet-5",
        "usage": {
            "input_tokens": 100,
            "cache_read_input_tokens": 40,
            "cache_creation_input_tokens": 60,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 40},
            "output_tokens": 2,
            "service_tier": "standard",
        },
    },
}


def delta(**figures: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": figures}
