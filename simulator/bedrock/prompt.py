"""What a Converse request says, in the order in which it is cached: tools, system, messages.

Tokens are counted as for chats of OpenAI's: 3 for the answer to begin, 4 a message, and the pieces of every
text; documents count as the text they are, images as the model's figure.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from simulator.bedrock.cache import TTLS
from simulator.bedrock.models import nature_of
from simulator.errors import Refusal
from simulator.models import Model
from simulator.prompt import PER_ANSWER, PER_MESSAGE, Prompt

POINTS_MAX = 4


@dataclass(slots=True)
class Conversation:
    """The texts of a request, and after how many of them its cache points are."""

    prompt: Prompt = field(default_factory=Prompt)
    points: list[tuple[int, str]] = field(default_factory=list)


class _Reader:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.found = Conversation()

    def tools(self, config: Any) -> None:
        for number, tool in enumerate(config.get("tools") or ()):
            if "cachePoint" in tool:
                self.point(tool["cachePoint"])
            elif isinstance(tool.get("toolSpec"), dict):
                self.found.prompt.add(0, "tool", _compact(tool["toolSpec"]))
            else:
                raise Refusal(400, f"The toolConfig.tools.{number} must set one of: toolSpec, cachePoint.")

    def system(self, blocks: Any) -> None:
        if blocks:
            self.found.prompt.add(PER_MESSAGE, "system")
        for number, block in enumerate(blocks):
            self.block(block, "system", f"system.{number}")

    def message(self, message: Any, where: str) -> None:
        role = message.get("role")
        if role not in ("user", "assistant"):
            raise Refusal(
                400,
                f"1 validation error detected: Value '{role}' at '{where}.role' failed to satisfy "
                "constraint: Member must satisfy enum value set: [user, assistant]",
            )
        content = message.get("content")
        if not isinstance(content, list) or not content:
            raise Refusal(400, f"The content field in the Message object at {where} is empty.")
        prompt = self.found.prompt
        prompt.add(PER_MESSAGE, role)
        said = [self.block(block, role, f"{where}.content.{number}") for number, block in enumerate(content)]
        prompt.ends_with_tool = any("toolResult" in block for block in content)
        if role == "user" and any(said):
            prompt.last_user = "\n".join(filter(None, said))

    def block(self, block: Any, role: str, where: str) -> str:
        """Add one block; what it says, where it is text."""
        kind: str
        value: Any
        kind, value = next(iter(block.items()), ("", None))
        prompt = self.found.prompt
        if kind == "text":
            prompt.add(0, role, value)
            return str(value)
        if kind == "cachePoint":
            self.point(value)
        elif kind == "image":
            if not self.model.image_high:
                raise self.unsupported("image")
            prompt.add(self.model.image_high, f"image {value['source']}")
        elif kind == "document":
            prompt.add(0, "document", f"{value.get('name', '')}{_document(value['source'], where)}")
        elif kind == "toolUse":
            prompt.add(0, "call", f"{value['name']}{_compact(value.get('input'))}")
        elif kind == "toolResult":
            prompt.add(PER_MESSAGE, "result", _compact(value.get("content")))
        elif kind == "reasoningContent":
            prompt.add(0, "thought", str((value.get("reasoningText") or {}).get("text", "")))
        else:
            raise Refusal(400, f"The content block at {where} has no member that is supported: {kind!r}.")
        return ""

    def point(self, point: Any) -> None:
        if not nature_of(self.model).caches_from:
            raise self.unsupported("cachePoint")
        ttl = point.get("ttl") or TTLS[0]
        if point.get("type") != "default" or ttl not in TTLS:
            raise Refusal(400, "The cachePoint must have the type 'default' and a ttl of '5m' or '1h'.")
        if ttl == "1h" and any(before == "5m" for _, before in self.found.points):
            raise Refusal(400, "A cachePoint with a ttl of '1h' must not come after one with a ttl of '5m'.")
        if len(self.found.points) == POINTS_MAX:
            raise Refusal(400, f"A maximum of {POINTS_MAX} cachePoint blocks may be provided.")
        self.found.points.append((len(self.found.prompt.segments), ttl))

    def unsupported(self, name: str) -> Refusal:
        return Refusal(400, f"This model doesn't support the {name} field. Remove {name} and try again.")


def read_conversation(body: dict[str, Any], model: Model) -> Conversation:
    """Read tools, system texts and messages. Raises Refusal on what Bedrock would refuse."""
    reader = _Reader(model)
    reader.tools(body.get("toolConfig") or {})
    reader.system(body.get("system") or ())
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "A conversation must start with a user message. Try again with one.")
    for number, message in enumerate(messages):
        reader.message(message, f"messages.{number}")
    shape = ((body.get("outputConfig") or {}).get("textFormat") or {}).get("structure")
    prompt = reader.found.prompt
    if shape is not None:
        prompt.add(0, "schema", _compact(shape))
    prompt.add(PER_ANSWER, "answer")
    if prompt.total > model.context:
        raise Refusal(400, f"Input is too long for requested model: {prompt.total} > {model.context} tokens.")
    return reader.found


def _document(source: Any, where: str) -> str:
    if isinstance(source.get("text"), str):
        return str(source["text"])
    try:
        return base64.b64decode(source["bytes"], validate=True).decode("latin-1")
    except (binascii.Error, KeyError):
        raise Refusal(400, f"The document at {where} must have a text or bytes in base64.") from None


def _compact(value: Any) -> str:
    return orjson.dumps(value).decode()
