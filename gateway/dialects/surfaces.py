"""The proxied surfaces: every path where clients may speak to a model, and what is spoken there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from gateway.dialects import openai_chat, openai_completions, openai_embeddings, openai_moderations
from gateway.dialects.openai import OPENAI
from gateway.dialects.surface import Surface
from metering.usage.readers import READERS

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
)
SURFACES: Mapping[str, Surface] = MappingProxyType({surface.name: surface for surface in _ALL})
"""Every surface by its name."""

_EXACT = {(each.method, path): each for each in _ALL for path in each.paths if "{" not in path}
_NO_PLACE: Mapping[str, str] = MappingProxyType({})


def _pattern(path: str) -> re.Pattern[str]:
    """A path with places as an expression; only a model's name may have slashes."""
    parts = re.split(r"\{(\w+)\}", path)
    found = ""
    for number, part in enumerate(parts):
        inside = ".+" if part == "model" else "[^/]+"
        found += rf"(?P<{part}>{inside})" if number % 2 else re.escape(part)
    return re.compile(found)


_WITH_PLACES = [(each, _pattern(path)) for each in _ALL for path in each.paths if "{" in path]


def find_surface(method: str, path: str) -> tuple[Surface, Mapping[str, str]] | None:
    """The surface at a path, and what stands there for its places; None where none is."""
    surface = _EXACT.get((method, path))
    if surface is not None:
        return surface, _NO_PLACE
    for each, pattern in _WITH_PLACES:
        if each.method == method and (match := pattern.fullmatch(path)) is not None:
            return each, match.groupdict()
    return None


def operations() -> list[str]:
    """Everything that a provider may have a path for."""
    return [operation for each in _ALL for operation in each.operations]


def paths() -> list[tuple[str, str, str]]:
    """(method, path, scope) of every surface, in the order of the table."""
    return [(each.method, path, each.scope) for each in _ALL for path in each.paths]
