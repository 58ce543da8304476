"""Anthropic's paths, at Anthropic and at Google (Vertex AI)."""

from __future__ import annotations

from typing import Any

from simulator.anthropic.answer import say_count, say_messages
from simulator.anthropic.dialect import ANTHROPIC, VERTEX_ANTHROPIC
from simulator.anthropic.lists import read_models, say_models
from simulator.anthropic.messages import read_count, read_messages
from simulator.dialect import Row

_VERSION = b"anthropic-version"
_VERTEX = "/v1/projects/{project}/locations/{location}/publishers/anthropic/models"

ROWS: tuple[Row[Any], ...] = (
    Row("POST", "/v1/messages", ANTHROPIC, read_messages, say_messages),
    Row("POST", "/v1/messages/count_tokens", ANTHROPIC, read_count, say_count),
    Row("GET", "/v1/models", ANTHROPIC, read_models, say_models, header=_VERSION, billed=False),
    Row("GET", "/v1/models/{model}", ANTHROPIC, read_models, say_models, header=_VERSION, billed=False),
    Row("POST", f"{_VERTEX}/count-tokens:rawPredict", VERTEX_ANTHROPIC, read_count, say_count),
    Row("POST", f"{_VERTEX}/{{model}}:rawPredict", VERTEX_ANTHROPIC, read_messages, say_messages),
    Row("POST", f"{_VERTEX}/{{model}}:streamRawPredict", VERTEX_ANTHROPIC, read_messages, say_messages),
)
