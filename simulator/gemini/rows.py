"""Gemini's paths: at its own API, and at Vertex AI with a project or, in express mode, without one."""

from __future__ import annotations

from typing import Any

from simulator.dialect import Row
from simulator.gemini.answer import say_count, say_generate, say_stream
from simulator.gemini.dialect import GOOGLE, GOOGLE_ARRAY, VERTEX, VERTEX_ARRAY, Google
from simulator.gemini.embeddings import read_batch, read_embed, read_predict, say_embed, say_predict
from simulator.gemini.generate import read_count, read_generate
from simulator.gemini.lists import read_models, say_models

_KEY = b"x-goog-api-key"
_VERTEX = "publishers/google/models/{model}"
_MODELS: tuple[tuple[str, Google, Google], ...] = (
    ("/{version}/projects/{project}/locations/{location}/" + _VERTEX, VERTEX, VERTEX_ARRAY),
    ("/{version}/" + _VERTEX, VERTEX, VERTEX_ARRAY),
    ("/v1beta/models/{model}", GOOGLE, GOOGLE_ARRAY),
    ("/v1/models/{model}", GOOGLE, GOOGLE_ARRAY),
)


def _rows(path: str, dialect: Google, array: Google) -> tuple[Row[Any], ...]:
    streaming = f"{path}:streamGenerateContent"
    return (
        Row("POST", f"{path}:generateContent", dialect, read_generate, say_generate),
        Row("POST", streaming, dialect, read_generate, say_stream, query="alt=sse"),
        Row("POST", streaming, array, read_generate, say_stream),
        Row("POST", f"{path}:countTokens", dialect, read_count, say_count),
        Row("POST", f"{path}:embedContent", dialect, read_embed, say_embed),
        Row("POST", f"{path}:batchEmbedContents", dialect, read_batch, say_embed),
    )


ROWS: tuple[Row[Any], ...] = (
    *(row for path, dialect, array in _MODELS for row in _rows(path, dialect, array)),
    *(
        Row("POST", f"{path}:predict", dialect, read_predict, say_predict)
        for path, dialect, _ in _MODELS
        if dialect.vertex
    ),
    Row("GET", "/v1beta/models", GOOGLE, read_models, say_models, billed=False),
    Row("GET", "/v1beta/models/{model}", GOOGLE, read_models, say_models, billed=False),
    # The stable version of the API shares these two with OpenAI's; a key of Google's tells them apart.
    Row("GET", "/v1/models", GOOGLE, read_models, say_models, header=_KEY, billed=False),
    Row("GET", "/v1/models/{model}", GOOGLE, read_models, say_models, header=_KEY, billed=False),
)
