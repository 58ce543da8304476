"""Amazon Bedrock's Converse format: requests.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html. The model and whether it is
a stream stand in the path. What a maker's own fields (`additionalModelRequestFields`) ask for is not known
here, except that they may not bring a maximum of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gateway.dialects.exchange import MAXIMUM_TOKENS, Exchange, read_count, wrong_type
from gateway.dialects.openai_fields import add_image, missing, objects
from gateway.errors import BadRequest
from metering.usage.reading import tier

MODEL_CHARACTERS_MAX = 2_048
IMAGE_TOKENS = 5_000
"""Above a picture's at any maker's model there: Anthropic's are the largest, 4,784."""
_CONFIG, _MAXIMUM = "inferenceConfig", "maxTokens"
_MAKERS_MAXIMA = frozenset(
    ("max_tokens", "maxTokens", "max_new_tokens", "max_gen_len", "max_completion_tokens", "inferenceConfig")
)
_PLAIN = frozenset(("text", "toolUse", "cachePoint", "reasoningContent", "guardContent", "citationsContent"))


@dataclass(slots=True)
class ConverseCall(Exchange):
    """One request whose model stands in its path."""

    prompt_fields: ClassVar[tuple[str, ...]] = ("system", "messages")
    schema_fields: ClassVar[tuple[str, ...]] = ("toolConfig", "outputConfig")
    only_maximum_field: ClassVar[str | None] = _MAXIMUM
    asks_usage: ClassVar[bool] = False
    has_habits: ClassVar[bool] = False
    stream_type: ClassVar[bytes] = b"application/vnd.amazon.eventstream"
    image_tokens: ClassVar[int] = IMAGE_TOKENS

    @property
    def operation(self) -> str:
        """Streams have a path of their own."""
        return "bedrock.converse.stream" if self.stream else self.surface

    def _write_model(self, body: dict[str, Any], model: str) -> None:
        pass

    def _write_maximum(self, body: dict[str, Any], name: str, maximum: int) -> None:
        body[_CONFIG] = {**(body.get(_CONFIG) or {}), name: maximum}


def read_call(body: dict[str, Any], *, model: str, stream: bool = False) -> ConverseCall:
    """Understand one request; BadRequest names the field that is wrong."""
    call = ConverseCall("bedrock.converse", body, read_path_model(model), stream=stream)
    _read_config(body, call)
    _read_prompt(body, call)
    _read_tools(body.get("toolConfig"), call)
    for name in ("guardrailConfig", "promptVariables"):
        if body.get(name):
            call.unbounded = call.unbounded or name
    own = body.get("additionalModelRequestFields")
    if isinstance(own, dict) and (found := sorted(_MAKERS_MAXIMA & own.keys())):
        raise BadRequest(
            f"additionalModelRequestFields.{found[0]}: the maximum goes into inferenceConfig.maxTokens.",
            param=f"additionalModelRequestFields.{found[0]}",
            code="invalid_value",
        )
    return call


def read_path_model(model: str) -> str:
    """The model that a path names: an id, a profile's id, or an ARN."""
    if not 0 < len(model) <= MODEL_CHARACTERS_MAX or not model.isprintable():
        raise BadRequest("The provided model identifier is invalid.", param="modelId", code="invalid_value")
    return model


def _read_config(body: dict[str, Any], call: ConverseCall) -> None:
    config = body.get(_CONFIG)
    if config is not None:
        if not isinstance(config, dict):
            raise wrong_type(_CONFIG, config, "an object")
        call.maximum = read_count(config, _MAXIMUM, most=MAXIMUM_TOKENS)
        call.maximum_field = None if call.maximum is None else _MAXIMUM
    served, speed = body.get("serviceTier"), body.get("performanceConfig")
    if isinstance(served, dict):
        call.service_tier = tier(served.get("type"))
    if isinstance(speed, dict) and speed.get("latency") == "optimized":
        call.service_tier = "optimized"


def _read_prompt(body: dict[str, Any], call: ConverseCall) -> None:
    messages = body.get("messages")
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list):
        raise wrong_type("messages", messages, "an array of objects")
    call.messages = len(messages)
    for number, message in objects(messages, "messages"):
        _read_blocks(message.get("content"), f"messages[{number}].content", call)
    system = body.get("system")
    if system is not None:
        _read_blocks(system, "system", call)


def _read_blocks(content: Any, path: str, call: ConverseCall) -> None:
    if not isinstance(content, list):
        raise wrong_type(path, content, "an array of objects")
    for number, block in objects(content, path):
        if isinstance(result := block.get("toolResult"), dict):
            _read_blocks(result.get("content"), f"{path}[{number}].toolResult.content", call)
        elif isinstance(image := block.get("image"), dict):
            _read_image(image, call)
        elif not _PLAIN & block.keys() and "json" not in block:
            # Documents, films, and what is not known.
            call.has_media = call.fills_context = True


def _read_image(image: dict[str, Any], call: ConverseCall) -> None:
    source = image.get("source")
    encoded = source.get("bytes") if isinstance(source, dict) else None
    add_image(call, len(encoded) if isinstance(encoded, str) else 0)


def _read_tools(config: Any, call: ConverseCall) -> None:
    if config is None:
        return
    if not isinstance(config, dict):
        raise wrong_type("toolConfig", config, "an object")
    tools = config.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        raise wrong_type("toolConfig.tools", tools, "an array of objects")
    for number, tool in objects(tools, "toolConfig.tools"):
        if "toolSpec" not in tool and "cachePoint" not in tool:
            # A tool that runs at the provider works as much as it likes.
            call.unbounded = call.unbounded or f"toolConfig.tools[{number}]"
    call.tools = len(tools)
