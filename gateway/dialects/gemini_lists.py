"""Lists of models in Google's shape: pages, each with a token for the next one.

https://ai.google.dev/api/models. What is said of a model is what is known of every one: its name, and what
its providers can be asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gateway.errors import BadRequest

PAGE, PAGE_MAX = 50, 1_000
_METHODS = {
    "generateContent": ("generateContent", "generateContent.stream"),
    "countTokens": ("countTokens",),
    "embedContent": ("embedContent", "batchEmbedContents"),
}
"""What Google calls a method -> the operations that it takes."""

Model = tuple[str, Collection[str]]
"""A name, and the operations that its providers have."""


def one_model(model: Model) -> dict[str, Any]:
    """One model by name."""
    name, operations = model
    methods = [method for method, needed in _METHODS.items() if all(each in operations for each in needed)]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def page(models: Sequence[Model], query: Mapping[str, str]) -> dict[str, Any]:
    """The page of models that `pageSize` and `pageToken` ask for."""
    size = _number(query, "pageSize") or PAGE
    begin = _number(query, "pageToken")
    end = begin + min(size, PAGE_MAX)
    found: dict[str, Any] = {"models": [one_model(each) for each in models[begin:end]]}
    if end < len(models):
        found["nextPageToken"] = str(end)
    return found


def _number(query: Mapping[str, str], name: str) -> int:
    asked = query.get(name) or "0"
    if not asked.isdecimal() or len(asked) > 9:
        raise BadRequest(f"Invalid value at '{name}': {asked[:40]!r}", param=name, code="invalid_value")
    return int(asked)
