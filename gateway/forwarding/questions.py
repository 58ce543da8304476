"""A short question in each dialect that can be asked for a word: what a probe sends, and what is imagined
where a route is explained. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gateway.dialects import SURFACES, Exchange, Surface, anthropic_vertex

REQUIRED_MAXIMUM = 4_096
"""The maximum of a question that names none, in a dialect that demands one."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked. `field`: where a provider obeys a maximum, in OpenAI's chat format."""

    model: str
    prompt: str
    maximum: int | None = None
    stream: bool = False
    field: str = "max_tokens"

    @property
    def messages(self) -> list[Body]:
        """One message of a user, in the shape that most have."""
        return [{"role": "user", "content": self.prompt}]

    def bound(self, name: str) -> Body:
        """The maximum under that name, if there is one."""
        return {} if self.maximum is None else {name: self.maximum}


def _chat(asked: Asked) -> Body:
    return {"model": asked.model, "messages": asked.messages, **asked.bound(asked.field)}


def _messages(asked: Asked) -> Body:
    maximum = REQUIRED_MAXIMUM if asked.maximum is None else asked.maximum
    return {"model": asked.model, "messages": asked.messages, "max_tokens": maximum}


def _contents(asked: Asked) -> Body:
    contents = [{"role": "user", "parts": [{"text": asked.prompt}]}]
    return {"contents": contents, "generationConfig": asked.bound("maxOutputTokens")}


def _cohere(asked: Asked) -> Body:
    return {"model": asked.model, "messages": asked.messages, **asked.bound("max_tokens")}


def _converse(asked: Asked) -> Body:
    messages = [{"role": "user", "content": [{"text": asked.prompt}]}]
    return {"messages": messages, "inferenceConfig": asked.bound("maxTokens")}


def _raw_predict(asked: Asked) -> Body:
    body = {**_messages(asked), "anthropic_version": anthropic_vertex.VERSION, "stream": asked.stream}
    del body["model"]  # it stands in the path
    return body


def _responses(asked: Asked) -> Body:
    return {"model": asked.model, "input": asked.prompt, "store": False, **asked.bound("max_output_tokens")}


def _completions(asked: Asked) -> Body:
    return {"model": asked.model, "prompt": asked.prompt, **asked.bound("max_tokens")}


_QUESTIONS: Mapping[str, Callable[[Asked], Body]] = MappingProxyType(
    {
        "chat.completions": _chat,
        "messages": _messages,
        "generateContent": _contents,
        "cohere.chat": _cohere,
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
