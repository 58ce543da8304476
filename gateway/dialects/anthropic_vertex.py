"""Anthropic's models at Google's Vertex AI: the Messages format, with the model and the stream in the path.

https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude. The body names the
version of the format beside that, and answers are Anthropic's own. A request that came in at `/v1/messages`
fits a provider of this kind too, once it is put so.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from gateway.dialects import anthropic_messages
from gateway.dialects.anthropic_messages import MessagesCall

VERSION = "vertex-2023-10-16"
_VERSION_FIELD = "anthropic_version"


@dataclass(slots=True)
class VertexMessages(MessagesCall):
    """One request whose model stands in its path."""

    @property
    def operation(self) -> str:
        """Streams have a path of their own."""
        return "rawPredict.stream" if self.stream else "rawPredict"

    def _write_model(self, body: dict[str, Any], model: str) -> None:
        body.pop("model", None)


def read_call(body: dict[str, Any], *, model: str, stream: bool = False, **_place: str) -> VertexMessages:
    """Understand one request for a message; the project and location are what the provider's settings say."""
    whole = {**body, "model": model, "stream": stream}
    return _placed(anthropic_messages.read_call(whole), "rawPredict", body)


def at_vertex(call: MessagesCall) -> MessagesCall:
    """A request of `/v1/messages`, or of its token counts, as Vertex AI takes it."""
    if call.free:
        return replace(call, surface="rawPredict.count_tokens", body={_VERSION_FIELD: VERSION, **call.body})
    body = {name: value for name, value in call.body.items() if name != "model"}
    return _placed(call, call.surface, {_VERSION_FIELD: VERSION, **body})


def read_count(body: dict[str, Any], **_place: str) -> MessagesCall:
    """Understand one request for the number of a prompt's tokens: its body names the model."""
    call = anthropic_messages.read_count(body)
    call.surface = "rawPredict.count_tokens"
    return call


def _placed(call: MessagesCall, surface: str, body: dict[str, Any]) -> VertexMessages:
    known = {each.name: getattr(call, each.name) for each in fields(MessagesCall)}
    return VertexMessages(**{**known, "surface": surface, "body": body})
