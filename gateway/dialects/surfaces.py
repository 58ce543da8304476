"""The proxied surfaces: every path where clients may speak to a model, and what is spoken there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.dialects import (
    anthropic_messages,
    anthropic_vertex,
    bedrock_converse,
    bedrock_invoke,
    cohere_calls,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_moderations,
    openai_responses,
)
from gateway.dialects.anthropic import ANTHROPIC
from gateway.dialects.bedrock import CONVERSE, INVOKE
from gateway.dialects.cohere import COHERE
from gateway.dialects.gemini_surfaces import GEMINI_SURFACES
from gateway.dialects.openai import OPENAI
from gateway.dialects.responses import RESPONSES
from gateway.dialects.surface import Surface
from metering.usage.readers import READERS

_VERTEX = "/v1/projects/{project}/locations/{location}/publishers/anthropic/models"
_ALL = (
    Surface(
        "chat.completions",
        OPENAI,
        ("/v1/chat/completions",),
        openai_chat.read_call,
        READERS["openai.chat"],
    ),
    Surface(
        "completions",
        OPENAI,
        ("/v1/completions",),
        openai_completions.read_call,
        READERS["openai.completions"],
    ),
    Surface(
        "embeddings",
        OPENAI,
        ("/v1/embeddings",),
        openai_embeddings.read_call,
        READERS["openai.embeddings"],
    ),
    Surface(
        "moderations",
        OPENAI,
        ("/v1/moderations",),
        openai_moderations.read_call,
        READERS["openai.embeddings"],
    ),
    Surface(
        "messages",
        ANTHROPIC,
        ("/v1/messages",),
        anthropic_messages.read_call,
        READERS["anthropic.messages"],
    ),
    Surface(
        "messages.count_tokens",
        ANTHROPIC,
        ("/v1/messages/count_tokens",),
        anthropic_messages.read_count,
        READERS["anthropic.messages"],
    ),
    Surface(
        "rawPredict.count_tokens",
        ANTHROPIC,
        (f"{_VERTEX}/count-tokens:rawPredict",),
        anthropic_vertex.read_count,
        READERS["anthropic.messages"],
    ),
    Surface(
        "rawPredict",
        ANTHROPIC,
        (f"{_VERTEX}/{{model}}:rawPredict",),
        anthropic_vertex.read_call,
        READERS["anthropic.messages"],
        stream_operation="rawPredict.stream",
        stream_paths=(f"{_VERTEX}/{{model}}:streamRawPredict",),
    ),
    Surface(
        "bedrock.converse",
        CONVERSE,
        ("/model/{model}/converse",),
        bedrock_converse.read_call,
        READERS["bedrock.converse"],
        stream_operation="bedrock.converse.stream",
        stream_paths=("/model/{model}/converse-stream",),
    ),
    Surface(
        "bedrock.invoke",
        INVOKE,
        ("/model/{model}/invoke",),
        bedrock_invoke.read_call,
        READERS["bedrock.invoke"],
        stream_operation="bedrock.invoke.stream",
        stream_paths=("/model/{model}/invoke-with-response-stream",),
    ),
    Surface("cohere.chat", COHERE, ("/v2/chat",), cohere_calls.read_chat, READERS["cohere.chat"]),
    Surface("cohere.embed", COHERE, ("/v2/embed",), cohere_calls.read_embed, READERS["cohere.embed"]),
    Surface(
        "rerank",
        COHERE,
        ("/v1/rerank", "/v2/rerank", "/rerank"),
        cohere_calls.read_rerank,
        READERS["rerank"],
    ),
    Surface(
        "responses",
        RESPONSES,
        ("/v1/responses",),
        openai_responses.read_call,
        READERS["openai.responses"],
    ),
    *GEMINI_SURFACES,
)
SURFACES: Mapping[str, Surface] = MappingProxyType({surface.name: surface for surface in _ALL})
"""Every surface by its name."""

_EXACT = {(each.method, path): each for each in _ALL for path in each.paths if "{" not in path}
_NO_PLACE: Mapping[str, Any] = MappingProxyType({})
_STREAMS: Mapping[str, Any] = MappingProxyType({"stream": True})


def _pattern(path: str) -> re.Pattern[str]:
    """A path with places as an expression; only a model's name may have slashes."""
    parts = re.split(r"\{(\w+)\}", path)
    found = ""
    for number, part in enumerate(parts):
        inside = ".+" if part == "model" else "[^/]+"
        found += rf"(?P<{part}>{inside})" if number % 2 else re.escape(part)
    return re.compile(found)


def _end(path: str) -> str:
    """What stands behind the last slash or colon: a template's own word, unless it is a place."""
    return path[max(path.rfind("/"), path.rfind(":")) + 1 :]


_WITH_PLACES: dict[tuple[str, str], list[tuple[Surface, re.Pattern[str], Mapping[str, Any]]]] = {}
"""The paths with places, by method and end; those that end in a place, by method and an empty end."""
for _each in _ALL:
    for _paths, _more in ((_each.paths, _NO_PLACE), (_each.stream_paths, _STREAMS)):
        for _path in _paths:
            if "{" in _path:
                _word = "" if _path.endswith("}") else _end(_path)
                _WITH_PLACES.setdefault((_each.method, _word), []).append((_each, _pattern(_path), _more))


def find_surface(method: str, path: str) -> tuple[Surface, Mapping[str, Any]] | None:
    """The surface at a path, and what stands there for its places; None where none is."""
    surface = _EXACT.get((method, path))
    if surface is not None:
        return surface, _NO_PLACE
    for word in (_end(path), ""):
        for each, pattern, more in _WITH_PLACES.get((method, word), ()):
            if (match := pattern.fullmatch(path)) is not None:
                return each, {**match.groupdict(), **more}
    return None


def operations() -> list[str]:
    """Everything that a provider may have a path for."""
    return [operation for each in _ALL for operation in each.operations]


def paths() -> list[tuple[str, str, str]]:
    """(method, path, scope) of every surface, in the order of the table."""
    return [(each.method, path, each.scope) for each in _ALL for path in (*each.paths, *each.stream_paths)]
