"""A short question in each dialect that can be asked for a word: what a probe sends. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gateway.dialects import SURFACES, Exchange, Surface, anthropic_vertex

MAXIMUM_TOKENS = 64
"""Enough for a word, and for the little that reasoning models think before it."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What one probe asks. `field`: where the provider obeys a maximum, in OpenAI's older formats."""

    model: str
    prompt: str
    field: str
    stream: bool

    @property
    def messages(self) -> list[Body]:
        """One message of a user, in the shape that most have."""
        return [{"role": "user", "content": self.prompt}]


def _chat(asked: Asked) -> Body:
    return {"model": asked.model, "messages": asked.messages, asked.field: MAXIMUM_TOKENS}


def _messages(asked: Asked) -> Body:
    return {"model": asked.model, "messages": asked.messages, "max_tokens": MAXIMUM_TOKENS}


def _raw_predict(asked: Asked) -> Body:
    body = {"anthropic_version": anthropic_vertex.VERSION, "messages": asked.messages}
    return {**body, "max_tokens": MAXIMUM_TOKENS, "stream": asked.stream}


def _contents(asked: Asked) -> Body:
    contents = [{"role": "user", "parts": [{"text": asked.prompt}]}]
    return {"contents": contents, "generationConfig": {"maxOutputTokens": MAXIMUM_TOKENS}}


def _converse(asked: Asked) -> Body:
    messages = [{"role": "user", "content": [{"text": asked.prompt}]}]
    return {"messages": messages, "inferenceConfig": {"maxTokens": MAXIMUM_TOKENS}}


def _responses(asked: Asked) -> Body:
    return {"model": asked.model, "input": asked.prompt, "max_output_tokens": MAXIMUM_TOKENS, "store": False}


def _completions(asked: Asked) -> Body:
    return {"model": asked.model, "prompt": asked.prompt, "max_tokens": MAXIMUM_TOKENS}


_QUESTIONS: Mapping[str, Callable[[Asked], Body]] = MappingProxyType(
    {
        "chat.completions": _chat,
        "messages": _messages,
        "generateContent": _contents,
        "cohere.chat": _messages,
        "bedrock.converse": _converse,
        "rawPredict": _raw_predict,
        "responses": _responses,
        "completions": _completions,
    }
)
"""Surface -> its body; of several that a provider speaks the first one is asked."""
ASKABLE = tuple(_QUESTIONS)


def askable(operations: Collection[str]) -> list[Surface]:
    """The surfaces where a provider can be asked for a word, plain and streamed, by what it has paths for."""
    surfaces = (SURFACES[name] for name in _QUESTIONS)
    return [each for each in surfaces if all(needed in operations for needed in each.operations)]


def question(surface: Surface, asked: Asked) -> Exchange:
    """The request, as if a client had made it."""
    body = _QUESTIONS[surface.name](asked)
    if not any("{model}" in path for path in surface.paths):
        call = surface.call({**body, "stream": True} if asked.stream else body)
    elif asked.stream:
        more = {"alt": "sse"} if "alt" in surface.query else {}
        call = surface.call(body, model=asked.model, stream=True, **more)
    else:
        call = surface.call(body, model=asked.model)
    call.passed = surface.dialect.passed([])
    return call
