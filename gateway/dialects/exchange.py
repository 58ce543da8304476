"""Exchange: one client's request as it was understood, and the body that goes to a provider."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from gateway.errors import BadRequest

RawHeaders = list[tuple[bytes, bytes]]
INT_MAX = 2**63
MAXIMUM_TOKENS = 10_000_000
"""No model is near this; a larger maximum is a mistake, and would only overflow the ceiling."""
ONE_A_CHUNK = 4
"""Chunks are about as many as tokens when the difference is at most one in so many."""
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


@dataclass(slots=True)
class Exchange:
    """What the gateway understood of one request's body.

    `body` is the parsed JSON object. What is forwarded is its serialisation, never the bytes received, so
    that admission and the provider cannot read two different requests out of one (duplicate keys, say).
    """

    prompt_fields: ClassVar[tuple[str, ...]] = ("messages", "input")
    """Where the texts are that the model reads."""
    usual_maximum: ClassVar[int | None] = None
    """The output that the format itself says applies where the client names no maximum."""
    only_maximum_field: ClassVar[str | None] = None
    """The one field that bounds the output, where the format leaves no choice to the provider."""
    frame_tokens: ClassVar[tuple[int, int]] = (3, 4)
    """What is likely to stand around a prompt's texts: once, and for each message. OpenAI's chat figures."""
    stream_type: ClassVar[bytes] = b"text/event-stream"
    """What a streamed answer is asked for as."""
    schema_fields: ClassVar[tuple[str, ...]] = ("tools", "functions", "response_format")
    """What the model reads as its JSON."""
    image_tokens: ClassVar[int] = 50_000
    """The most that an image can be. Above gpt-4o-mini's dearest: 2,833 + 8 tiles x 5,667 = 48,169 tokens,
    the most OpenAI publishes."""
    asks_usage: ClassVar[bool] = True
    """Usage in a stream must be asked for (`stream_options.include_usage`)."""
    has_habits: ClassVar[bool] = True
    """Providers differ in which fields they take and obey (`Habits`): so it is with OpenAI's older formats,
    which many have copied."""

    surface: str
    body: dict[str, Any]
    model: str
    stream: bool = False
    include_usage: bool = False
    choices: int = 1
    maximum: int | None = None
    maximum_field: str | None = None
    wants_json: bool = False
    produces_tokens: bool = True
    messages: int = 0
    tools: int = 0
    images: int = 0
    has_media: bool = False
    has_audio: bool = False
    media_bytes: int = 0
    predicted_bytes: int = 0
    repeated_bytes: int = 0
    added_tokens: int = 0
    """What its provider adds to the prompt for it, beyond what it adds for every tool."""
    unbounded: str | None = None
    units: tuple[tuple[str, int], ...] = ()
    """(unit, the most of it) that is billed instead of tokens, where the model's price knows that unit."""
    fills_context: bool = False
    """Its input has no better bound than the model's context: pages of a document, say."""
    uncounted: bool = False
    """The model reads what a count of its texts misses: encrypted thoughts."""
    free: bool = False
    """Providers charge nothing for it: tokens that are only counted."""
    kept: bool = False
    """The provider keeps its answer, to be looked at or gone on from."""
    background: bool = False
    """The provider works on it whoever waits."""
    continues: str | None = None
    """The answer, kept by its provider, that it goes on from."""
    service_tier: str | None = None
    """The tier that it asks for, in the words of the price lists."""
    passed: Sequence[tuple[bytes, bytes]] = ()
    """The client's own headers that go to the provider."""

    def context(self, window: int) -> int:
        """The most that a model whose list says this can read for it."""
        return window

    @property
    def operation(self) -> str:
        """What it is sent to, among the paths of a provider: its surface, unless its streams have a path
        of their own."""
        return self.surface

    def fitted(self, operations: Collection[str]) -> Exchange | None:
        """This request as a provider takes it that can be asked these operations; None where it cannot."""
        return self if self.operation in operations else None

    def forwarded(
        self,
        model: str,
        *,
        maximum: tuple[str, int] | None,
        ask_usage: bool,
        changes: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The body for one target: its model name, and what the gateway must add to it.

        `maximum` is the field and value to write when the gateway bounds the output itself. `changes`: fields
        that the target's provider wants otherwise, None for those it must not see (`Habits.changes`).
        """
        body = self.body
        if model != self.model or maximum or ask_usage or changes:
            body = dict(body)
            if changes:
                for name, value in changes.items():
                    if value is None:
                        del body[name]
                    else:
                        body[name] = value
            self._write_model(body, model)
            if maximum:
                self._write_maximum(body, *maximum)
            if ask_usage:
                options = body.get("stream_options")
                body["stream_options"] = {**(options or {}), "include_usage": True}
        return orjson.dumps(body)

    def _write_model(self, body: dict[str, Any], model: str) -> None:
        """Name the target's model in a body that is to be changed; nothing where the path names it."""
        body["model"] = model

    def _write_maximum(self, body: dict[str, Any], name: str, maximum: int) -> None:
        """Bound the output in a body that is to be changed: a copy, whose inner objects are the client's."""
        body[name] = maximum

    def prompt_text(self) -> str:
        """Every text the model reads, joined: what a tokenizer counts. Schemas count as their JSON."""
        found: list[str] = []
        for name in self.prompt_fields:
            _collect_text(self.body.get(name), found)
        schemas = (self.body.get(name) for name in self.schema_fields)
        found += [orjson.dumps(schema).decode() for schema in schemas if schema is not None]
        return "\n".join(found)

    def counted_prompt(self, counted: int) -> int:
        """Tokens of the prompt, of which `counted` are those of its texts."""
        return counted

    def likely_input(self, counted: int) -> int:
        """Input tokens to expect on the bill, by a count of the prompt's texts."""
        once, each = self.frame_tokens
        return self.counted_prompt(counted) + once + each * self.messages

    def likely_output(self, counted: int, _prompt: int, chunks: int = 0) -> int:
        """Output tokens to expect on the bill, by counts of the text that came and of the prompt's texts.

        `chunks`: in how many chunks of a stream the text came. Where they are about as many as the tokens,
        each carried one, and their number is the count of the provider's own tokenizer, whichever that is.
        """
        return chunks if abs(chunks - counted) * ONE_A_CHUNK <= counted else counted


@dataclass(slots=True)
class TokenExchange(Exchange):
    """A request whose prompt may come as token numbers, so many of them, and goes without a frame."""

    frame_tokens: ClassVar[tuple[int, int]] = (0, 0)

    given_tokens: int = 0

    def counted_prompt(self, counted: int) -> int:
        """Texts and numbers together."""
        return counted + self.given_tokens


_NOT_TEXT = frozenset(
    (
        *("role", "type", "data", "bytes", "signature", "thoughtSignature", "thought_signature"),
        *("encrypted_content", "cache_control"),
    )
)
"""What names a message or a part (it stands in the frame around it, which is counted for itself), and what
is encoded: media, and signatures of thoughts."""


def _collect_text(value: Any, found: list[str]) -> None:
    if isinstance(value, str):
        if not value.startswith("data:"):
            found.append(value)
    elif isinstance(value, list):
        for item in value:
            _collect_text(item, found)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _NOT_TEXT:
                _collect_text(item, found)


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in a request's body.

    Refused with BadRequest: invalid JSON, invalid UTF-8, NaN and Infinity, lone surrogates (the parser
    knows none of these), anything but an object, and integers beyond 64 bit, which would silently become
    floats on the way.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise BadRequest(f"The body must be a JSON object, not {type_name(body)}.", code="invalid_type")
    if b"0000000000000000000" in raw.translate(_DIGITS):
        _refuse_wide_integers(body, "")
    return body


def _refuse_wide_integers(value: Any, path: str) -> None:
    """Integers beyond 64 bit arrive from the parser as floats at or above 2**63."""
    if isinstance(value, float) and (value >= INT_MAX or value <= -INT_MAX):
        raise BadRequest(
            f"{path}: an integer beyond 64 bit cannot be forwarded exactly.", param=path, code="invalid_value"
        )
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_wide_integers(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            _refuse_wide_integers(item, f"{path}[{n}]")


_JSON_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def type_name(value: Any) -> str:
    """The JSON name of a value's type, with its article."""
    return _JSON_TYPES.get(type(value), type(value).__name__)


def wrong_type(param: str, value: Any, expected: str) -> BadRequest:
    """The complaint about a field of the wrong type, in the words OpenAI uses."""
    return BadRequest(
        f"Invalid type for '{param}': expected {expected}, but got {type_name(value)} instead.",
        param=param,
        code="invalid_type",
    )


def read_model(body: dict[str, Any]) -> str:
    """The model the client asks for."""
    model = body.get("model")
    if model is None:
        raise BadRequest(
            "You must provide a model parameter.", param="model", code="missing_required_parameter"
        )
    if not isinstance(model, str):
        raise wrong_type("model", model, "a string")
    if not 0 < len(model) <= 256 or not model.isprintable():
        raise BadRequest(
            "'model' must have 1 to 256 printable characters.", param="model", code="invalid_value"
        )
    return model


def read_bool(body: dict[str, Any], name: str) -> bool:
    """A flag that may be absent or null (then false)."""
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise wrong_type(name, value, "a boolean")
    return value


def read_count(body: dict[str, Any], name: str, *, most: int, least: int = 1) -> int | None:
    """A whole number from `least` to `most`, None when absent or null."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, value, "an integer")
    if not least <= value <= most:
        raise BadRequest(
            f"Invalid value for '{name}': expected {least} to {most}, but got {value} instead.",
            param=name,
            code="invalid_value",
        )
    return value


def read_stream_options(body: dict[str, Any], call: Exchange) -> None:
    """Whether the client asked for usage at the end of its stream."""
    options = body.get("stream_options")
    if options is None:
        return
    if not isinstance(options, dict):
        raise wrong_type("stream_options", options, "an object")
    if not call.stream:
        raise BadRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
            code="invalid_value",
        )
    call.include_usage = options.get("include_usage") is True


def is_token(value: Any) -> bool:
    """True for a token number: a whole number that is no boolean."""
    return isinstance(value, int) and not isinstance(value, bool)
