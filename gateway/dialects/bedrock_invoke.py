"""Amazon Bedrock's InvokeModel: requests in the format of the model's maker, with the model in the path.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html. Anthropic's are understood as on
its own surface; of the others it is known where their maximum stands, and everything they hold is bounded by
its bytes, or by the model's context.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from gateway.dialects import anthropic_messages
from gateway.dialects.anthropic_messages import MessagesCall
from gateway.dialects.bedrock_converse import read_path_model
from gateway.dialects.exchange import MAXIMUM_TOKENS, Exchange, read_count

_MAXIMA: tuple[tuple[str, ...], ...] = (
    ("max_tokens",),
    ("max_gen_len",),
    ("max_completion_tokens",),
    ("maxTokens",),
    ("max_tokens_to_sample",),
    ("inferenceConfig", "maxTokens"),
    ("inferenceConfig", "max_new_tokens"),
    ("textGenerationConfig", "maxTokenCount"),
)
"""Where makers have their maximum: Mistral, Cohere, Meta, the open weights, AI21, Nova, Titan."""
_MAKERS = {
    "meta.": ("max_gen_len",),
    "mistral.": ("max_tokens",),
    "cohere.": ("max_tokens",),
    "openai.": ("max_completion_tokens",),
    "amazon.nova": ("inferenceConfig", "maxTokens"),
    "amazon.titan-text": ("textGenerationConfig", "maxTokenCount"),
}
"""Where a maximum is written for a model whose name holds this, where the request has none."""
_READS_ONLY = ("embed", "rerank")


@dataclass(slots=True)
class InvokedMessages(MessagesCall):
    """Anthropic's format, its model and stream in the path."""

    stream_type: ClassVar[bytes] = b"application/vnd.amazon.eventstream"

    @property
    def operation(self) -> str:
        """Streams have a path of their own."""
        return _operation(self)

    def fitted(self, operations: Collection[str]) -> Exchange | None:
        """As it is alone: elsewhere the same body is answered in other frames."""
        return Exchange.fitted(self, operations)

    def _write_model(self, body: dict[str, Any], model: str) -> None:
        pass


@dataclass(slots=True)
class Invoked(Exchange):
    """Another maker's format. `place`: where its maximum stands, outermost name first."""

    only_maximum_field: ClassVar[str | None] = "max_tokens"
    asks_usage: ClassVar[bool] = False
    has_habits: ClassVar[bool] = False
    stream_type: ClassVar[bytes] = b"application/vnd.amazon.eventstream"

    place: tuple[str, ...] = field(default=("max_tokens",))

    @property
    def operation(self) -> str:
        """Streams have a path of their own."""
        return _operation(self)

    def _write_model(self, body: dict[str, Any], model: str) -> None:
        pass

    def _write_maximum(self, body: dict[str, Any], name: str, maximum: int) -> None:
        if len(self.place) == 1:
            body[self.place[0]] = maximum
            return
        outer, inner = self.place
        body[outer] = {**(body.get(outer) or {}), inner: maximum}


def _operation(call: Exchange) -> str:
    return "bedrock.invoke.stream" if call.stream else call.surface


def read_call(body: dict[str, Any], *, model: str, stream: bool = False) -> Exchange:
    """Understand one request; BadRequest names the field that is wrong."""
    name = read_path_model(model)
    if "anthropic." in name or "anthropic_version" in body:
        return _read_messages(body, name, stream)
    call = Invoked("bedrock.invoke", body, name, stream=stream)
    if any(word in name for word in _READS_ONLY):
        call.produces_tokens = False
        call.messages = 1
        call.has_media = True
        call.fills_context = any(
            isinstance(body.get(part), (dict, list)) for part in ("inputImage", "images")
        )
        return call
    call.messages = len(body["messages"]) if isinstance(body.get("messages"), list) else 1
    call.place = next((place for part, place in _MAKERS.items() if part in name), call.place)
    for place in _MAXIMA:
        holder = body if len(place) == 1 else body.get(place[0])
        maximum = read_count(holder, place[-1], most=MAXIMUM_TOKENS) if isinstance(holder, dict) else None
        if maximum is not None and (call.maximum is None or maximum > call.maximum):
            call.maximum, call.maximum_field, call.place = maximum, place[-1], place
    if _holds_media(body):
        call.has_media = call.fills_context = True
    return call


def _read_messages(body: dict[str, Any], model: str, stream: bool) -> InvokedMessages:
    read = anthropic_messages.read_call({**body, "model": model})
    known = {each.name: getattr(read, each.name) for each in fields(MessagesCall)}
    return InvokedMessages(**{**known, "surface": "bedrock.invoke", "body": body, "stream": stream})


def _holds_media(value: Any) -> bool:
    """Whether pictures, films or documents stand anywhere in it."""
    if isinstance(value, dict):
        if value.keys() & {"image", "image_url", "video", "document", "images"}:
            return True
        return any(map(_holds_media, value.values()))
    return isinstance(value, list) and any(map(_holds_media, value))
