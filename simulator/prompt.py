"""What a chat request says, and how many input tokens that is.

The figures follow OpenAI's published recipe: 3 tokens for the answer to begin, 4 for each message (three
marks and the role), 1 for a name; the rest are pieces of text. Tool definitions and schemas are counted as
the compact JSON they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from simulator import tokens
from simulator.errors import Refusal, missing, unknown_value, wrong_type
from simulator.models import Model

PER_MESSAGE = 4
PER_NAME = 1
PER_ANSWER = 3
ROLES = ("developer", "system", "user", "assistant", "tool", "function")


@dataclass(slots=True)
class Prompt:
    """The texts of a request in order. A segment is fixed tokens with a label, then a text's pieces."""

    segments: list[tuple[int, str, str]] = field(default_factory=list)
    total: int = 0
    last_user: str = ""
    ends_with_tool: bool = False

    def add(self, fixed: int, label: str, text: str = "") -> None:
        """Append `fixed` tokens that stand for `label`, and the pieces of `text`."""
        self.segments.append((fixed, label, text))
        self.total += fixed + (tokens.count(text) if text else 0)

    def sequence(self) -> Iterator[str]:
        """One string for each input token, for comparing prefixes."""
        for fixed, label, text in self.segments:
            for _ in range(fixed):
                yield f"\x00{label}"
            yield from tokens.split(text)


def read_prompt(body: dict[str, Any], model: Model) -> Prompt:
    """Read tools, schema and messages of a chat request. Raises Refusal on what OpenAI would refuse."""
    prompt = Prompt()
    for tool in body.get("tools") or ():
        prompt.add(0, "tool", _compact(tool.get("function", tool)))
    schema = (body.get("response_format") or {}).get("json_schema")
    if schema is not None:
        prompt.add(0, "schema", _compact(schema))
    messages = body.get("messages")
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise Refusal(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty "
            "array instead.",
            code="empty_array",
            param="messages",
        )
    for number, message in enumerate(messages):
        _read_message(prompt, message, model, f"messages[{number}]")
    prompt.ends_with_tool = messages[-1]["role"] == "tool"
    prompt.add(PER_ANSWER, "answer")
    return prompt


def _read_message(prompt: Prompt, message: Any, model: Model, where: str) -> None:
    if not isinstance(message, dict):
        raise wrong_type(where, "an object", message)
    role = message.get("role")
    if role is None:
        raise missing(f"{where}.role")
    if role not in ROLES:
        raise unknown_value(f"{where}.role", role, ROLES)
    content = message.get("content")
    if content is None and role != "assistant":
        raise wrong_type(f"{where}.content", "a string or an array of objects", None)
    said: list[str] = []
    if isinstance(content, str):
        said.append(content)
        prompt.add(PER_MESSAGE, role, content)
    elif isinstance(content, list):
        prompt.add(PER_MESSAGE, role)
        for number, part in enumerate(content):
            said.append(_read_part(prompt, part, model, f"{where}.content[{number}]"))
    elif content is None:
        prompt.add(PER_MESSAGE, role)
    else:
        raise wrong_type(f"{where}.content", "a string or an array of objects", content)
    if role == "user":
        prompt.last_user = "\n".join(said)
    if name := message.get("name"):
        prompt.add(PER_NAME, "name", str(name))
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        prompt.add(0, "call", f"{function.get('name', '')}{function.get('arguments', '')}")


def _read_part(prompt: Prompt, part: Any, model: Model, where: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        prompt.add(0, "text", part["text"])
        return str(part["text"])
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        prompt.add(0, "refusal", part["refusal"])
        return ""
    if kind == "image_url" and isinstance(part.get("image_url"), dict):
        image = part["image_url"]
        size = model.image_low if image.get("detail") == "low" else model.image_high
        prompt.add(size, f"image {image.get('url')}")
        return ""
    raise Refusal(
        400,
        f"Invalid value: '{kind}'. Supported values are: 'text', 'image_url' and 'refusal'.",
        code="invalid_value",
        param=f"{where}.type",
    )


def _compact(value: Any) -> str:
    return orjson.dumps(value).decode()
