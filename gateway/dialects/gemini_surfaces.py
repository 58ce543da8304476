"""Google's surfaces: where clients find them, and what reads them."""

from __future__ import annotations

from gateway.dialects import gemini_embeddings, gemini_generate
from gateway.dialects.gemini import GEMINI
from gateway.dialects.gemini_array import GEMINI_ARRAY
from gateway.dialects.surface import Surface
from metering.usage.readers import READERS

_MODELS = (
    "/v1beta/models/{model}",
    "/v1/models/{model}",
    "/v1beta1/projects/{project}/locations/{location}/publishers/google/models/{model}",
    "/v1/projects/{project}/locations/{location}/publishers/google/models/{model}",
    "/v1beta1/publishers/google/models/{model}",
    "/v1/publishers/google/models/{model}",
)
"""Where Google's models stand: at the Gemini API, and at Vertex AI with a project or (with a key) without."""


def _paths(verb: str) -> tuple[str, ...]:
    return tuple(f"{model}:{verb}" for model in _MODELS)


GEMINI_SURFACES = (
    Surface(
        "generateContent",
        GEMINI,
        _paths("generateContent"),
        gemini_generate.read_call,
        READERS["gemini.generate"],
        stream_operation="generateContent.stream",
        stream_paths=_paths("streamGenerateContent"),
        query=("alt", "$alt"),
        key_in_query=True,
    ),
    # Streams of the surface above whose client does not ask for events.
    Surface("generateContent.array", GEMINI_ARRAY, (), gemini_generate.read_call, READERS["gemini.generate"]),
    Surface(
        "countTokens",
        GEMINI,
        _paths("countTokens"),
        gemini_generate.read_count_call,
        READERS["gemini.generate"],
        key_in_query=True,
    ),
    Surface(
        "embedContent",
        GEMINI,
        _paths("embedContent"),
        gemini_embeddings.read_embed,
        READERS["gemini.embed"],
        key_in_query=True,
    ),
    Surface(
        "batchEmbedContents",
        GEMINI,
        _paths("batchEmbedContents"),
        gemini_embeddings.read_batch,
        READERS["gemini.embed"],
        key_in_query=True,
    ),
    Surface(
        "predict",
        GEMINI,
        _paths("predict"),
        gemini_embeddings.read_predict,
        READERS["gemini.embed"],
        key_in_query=True,
    ),
)
