"""Exchange: one client's request as it was understood, and the body that goes to a provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import BadRequest

INT_MAX = 2**63
MAXIMUM_TOKENS = 10_000_000
"""No model is near this; a larger maximum is a mistake, and would only overflow the ceiling."""
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


@dataclass(slots=True)
class Exchange:
    """What the gateway understood of one request's body.

    `body` is the parsed JSON object. What is forwarded is its serialisation, never the bytes received, so
    that admission and the provider cannot read two different requests out of one (duplicate keys, say).
    """

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
    unbounded: str | None = None

    def forwarded(self, model: str, *, maximum: tuple[str, int] | None, ask_usage: bool) -> bytes:
        """The body for one target: its model name, and what the gateway must add to it.

        `maximum` is the field and value to write when the gateway bounds the output itself.
        """
        body = self.body
        if model != self.model or maximum or ask_usage:
            body = dict(body)
            body["model"] = model
            if maximum:
                body[maximum[0]] = maximum[1]
            if ask_usage:
                options = body.get("stream_options")
                body["stream_options"] = {**(options or {}), "include_usage": True}
        return orjson.dumps(body)

    def prompt_text(self) -> str:
        """Every text the model reads, joined: what a tokenizer counts. Schemas count as their JSON."""
        found: list[str] = []
        _collect_text(self.body.get("messages"), found)
        _collect_text(self.body.get("input"), found)
        schemas = (self.body.get(name) for name in ("tools", "functions", "response_format"))
        found += [orjson.dumps(schema).decode() for schema in schemas if schema is not None]
        return "\n".join(found)


def _collect_text(value: Any, found: list[str]) -> None:
    if isinstance(value, str):
        if not value.startswith("data:"):
            found.append(value)
    elif isinstance(value, list):
        for item in value:
            _collect_text(item, found)
    elif isinstance(value, dict):
        for item in value.values():
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


def read_count(body: dict[str, Any], name: str, *, most: int) -> int | None:
    """A whole number from 1 to `most`, None when absent or null."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, value, "an integer")
    if not 1 <= value <= most:
        raise BadRequest(
            f"Invalid value for '{name}': expected 1 to {most}, but got {value} instead.",
            param=name,
            code="invalid_value",
        )
    return value
