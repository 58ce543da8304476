"""The readers by name: one for each wire format that providers answer in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from metering.usage import anthropic, bedrock, cohere, gemini, openai, responses
from metering.usage.reading import Reader

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "openai.chat": openai.read,
        "openai.completions": openai.read,
        "openai.embeddings": openai.read_embeddings,
        "openai.responses": responses.read,
        "anthropic.messages": anthropic.read,
        "gemini.generate": gemini.read,
        "gemini.embed": gemini.read_embeddings,
        "bedrock.converse": bedrock.read_converse,
        "bedrock.invoke": bedrock.read_invoke,
        "cohere.chat": cohere.read,
        "cohere.embed": cohere.read,
        "rerank": cohere.read_rerank,
    }
)
"""Wire format -> its reader. InvokeModel's counts may also come as headers: `bedrock.read_invoke_headers`."""
