"""Google's generateContent format: requests, and requests to count their tokens.

Shapes: https://ai.google.dev/api/generate-content; Vertex AI has the same. The model and whether it is a
stream stand in the path. `maxOutputTokens` bounds thoughts and answer together (googleapis/python-genai#2062
measured it), so it is a bound of all that is billed as output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gateway.dialects.exchange import Exchange
from gateway.dialects.gemini_fields import read, read_count, read_object, read_objects, read_text, read_words
from gateway.dialects.gemini_parts import read_content, read_contents
from gateway.errors import BadRequest
from metering.usage.reading import tier

CHOICES_MAX = 128
MODEL_LONGEST = 256
_CONFIG, _CONFIG_SNAKE = "generationConfig", "generation_config"
_MAXIMUM, _MAXIMUM_SNAKE = "maxOutputTokens", "max_output_tokens"
_DECLARED = frozenset({"functionDeclarations", "function_declarations"})
_MODEL_FOLDER = "models/"


@dataclass(slots=True)
class GeminiExchange(Exchange):
    """One request whose model stands in its path; where its body names a model too, that is changed alike."""

    prompt_fields: ClassVar[tuple[str, ...]] = ("contents", "systemInstruction", "system_instruction")
    only_maximum_field: ClassVar[str | None] = _MAXIMUM
    frame_tokens: ClassVar[tuple[int, int]] = (0, 0)
    schema_fields: ClassVar[tuple[str, ...]] = ("tools",)
    asks_usage: ClassVar[bool] = False
    has_habits: ClassVar[bool] = False

    @property
    def operation(self) -> str:
        """Streams have a path of their own."""
        return "generateContent.stream" if self.stream else self.surface

    def _write_model(self, body: dict[str, Any], model: str) -> None:
        renamed(body, model)

    def _write_maximum(self, body: dict[str, Any], name: str, maximum: int) -> None:
        where = _CONFIG_SNAKE if body.get(_CONFIG_SNAKE) is not None else _CONFIG
        config = dict(body.get(where) or {})
        config.pop(_MAXIMUM_SNAKE, None)
        config[name] = maximum
        body[where] = config


@dataclass(slots=True)
class GeminiArrayExchange(GeminiExchange):
    """One whose stream is a JSON array: its surface is a path of providers', not of clients'."""

    stream_type: ClassVar[bytes] = b"application/json"

    @property
    def operation(self) -> str:
        """Its surface's."""
        return self.surface


@dataclass(slots=True)
class CountExchange(GeminiExchange):
    """A request to count tokens: the prompt stands in it, or a whole request does."""

    prompt_fields: ClassVar[tuple[str, ...]] = ("contents", "generateContentRequest")

    def _write_model(self, body: dict[str, Any], model: str) -> None:
        renamed(body, model)
        for name in ("generateContentRequest", "generate_content_request"):
            if isinstance(inner := body.get(name), dict):
                body[name] = inner = dict(inner)
                renamed(inner, model)


def renamed(found: dict[str, Any], model: str) -> None:
    """Name the target's model in an object that names one, in the words it had: `models/...`, or a path."""
    named = found.get("model")
    if isinstance(named, str):
        before, folder, _ = named.rpartition(_MODEL_FOLDER)
        found["model"] = f"{before}{folder}{model}"


def read_model(model: str) -> str:
    """The model that a path names."""
    if len(model) > MODEL_LONGEST or not model.isprintable():
        raise BadRequest(
            f"The model's name must have 1 to {MODEL_LONGEST} printable characters.",
            param="model",
            code="invalid_value",
        )
    return model


def read_call(body: dict[str, Any], *, model: str, stream: bool = False, **place: str) -> Exchange:
    """Understand one request; BadRequest names the field that is wrong.

    `alt` or `$alt` says how the client wants a stream: `sse`, or else as an array. What else its path says (a
    project and a location at Vertex AI) is the client's idea: the provider's settings have their own.
    """
    call: GeminiExchange
    if stream and (place.get("alt") or place.get("$alt")) != "sse":
        call = GeminiArrayExchange("generateContent.array", body, read_model(model), stream=True)
    else:
        call = GeminiExchange("generateContent", body, read_model(model), stream=stream)
    read_prompt(body, "", call)
    config = read_object(body, _CONFIG)
    if config is not None:
        _read_config(config, "generation_config.", call)
    call.service_tier = tier(read_text(body, "serviceTier"))
    if call.service_tier == "priority":
        # Dearer than the list, and the list does not say how dear.
        call.unbounded = call.unbounded or "service_tier"
    return call


def read_count_call(body: dict[str, Any], *, model: str, **_: str) -> Exchange:
    """Understand one request to count tokens, which costs nothing."""
    call = CountExchange("countTokens", body, read_model(model), produces_tokens=False, free=True)
    read_prompt(body, "", call)
    whole = read_object(body, "generateContentRequest")
    if whole is not None:
        read_prompt(whole, "generate_content_request.", call)
    return call


def read_prompt(body: dict[str, Any], path: str, call: Exchange) -> None:
    """Everything that the model reads."""
    read_contents(body, "contents", path, call)
    read_content(body, "systemInstruction", path, call)
    if read_text(body, "cachedContent", path) is not None:
        call.fills_context = call.has_media = True
    for number, tool in enumerate(read_objects(body, "tools", path)):
        call.tools += 1 + len(read_objects(tool, "functionDeclarations", f"{path}tools[{number}]."))
        strange = sorted(name for name in tool.keys() - _DECLARED if tool[name] is not None)
        if strange:
            # A tool that runs at the provider reads and searches as much as it likes.
            call.unbounded = call.unbounded or f"{path}tools[{number}].{strange[0]}"


def _read_config(config: dict[str, Any], path: str, call: Exchange) -> None:
    call.choices = read_count(config, "candidateCount", path, most=CHOICES_MAX) or 1
    call.maximum = read_count(config, _MAXIMUM, path)
    call.maximum_field = None if call.maximum is None else _MAXIMUM
    mime = read_text(config, "responseMimeType", path)
    call.wants_json = mime is not None and mime.lower() == "application/json"
    if any(word != "TEXT" for word in read_words(config, "responseModalities", path)):
        call.has_media = True
    if read(config, "speechConfig", path) is not None:
        call.has_media = True
