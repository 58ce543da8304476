"""What a Cohere chat request says, and how many input tokens are billed for it.

Billed are the pieces of every text, of tools and of documents. Cohere puts a preamble of its own around
them, which counts as tokens and is not billed (https://docs.cohere.com/docs/how-does-cohere-pricing-work).
"""

from __future__ import annotations

from typing import Any

import orjson

from simulator.cohere.dialect import ROLES
from simulator.errors import Refusal
from simulator.models import Model
from simulator.prompt import Prompt

PREAMBLE = 495
"""Tokens around a prompt, as Command R7B reports them."""


def read_prompt(body: dict[str, Any], model: Model) -> Prompt:
    """Read tools, documents, schema and messages. Raises Refusal on what Cohere would refuse."""
    prompt = Prompt()
    for tool in body.get("tools") or ():
        prompt.add(0, "tool", _compact(tool.get("function", tool)))
    shape = body.get("response_format") or {}
    if (wanted := shape.get("json_schema") or shape.get("schema")) is not None:
        prompt.add(0, "schema", _compact(wanted))
    for document in body.get("documents") or ():
        prompt.add(0, "document", document if isinstance(document, str) else _compact(document.get("data")))
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "invalid request: messages must contain at least one message")
    for number, message in enumerate(messages):
        _read_message(prompt, message, f"messages[{number}]")
    prompt.ends_with_tool = messages[-1]["role"] == "tool"
    if PREAMBLE + prompt.total > model.context:
        raise Refusal(
            400,
            f"too many tokens: total number of tokens in the prompt cannot exceed {model.context} - received "
            f"{PREAMBLE + prompt.total}. Try using a shorter prompt.",
        )
    return prompt


def _read_message(prompt: Prompt, message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise Refusal(400, f"invalid request: {where} must be an object")
    role = message.get("role")
    if role not in ROLES:
        raise Refusal(400, f"invalid request: {where}: role must be one of {', '.join(ROLES)}")
    content = message.get("content")
    parts = [] if content is None else [content] if isinstance(content, str) else content
    if not isinstance(parts, list) or (not parts and role != "assistant"):
        raise Refusal(400, f"invalid request: {where}: content must be a string or a list of objects")
    said = [_read_part(prompt, part, role, where) for part in parts]
    if role == "user":
        prompt.last_user = "\n".join(said)
    if plan := message.get("tool_plan"):
        prompt.add(0, "plan", str(plan))
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        prompt.add(0, "call", f"{function.get('name', '')}{function.get('arguments', '')}")


def _read_part(prompt: Prompt, part: Any, role: str, where: str) -> str:
    if isinstance(part, str):
        prompt.add(0, role, part)
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "thinking") and isinstance(part.get(kind), str):
        prompt.add(0, role, part[kind])
        return str(part[kind])
    if kind == "document" and isinstance(part.get("document"), dict):
        prompt.add(0, role, _compact(part["document"].get("data")))
        return ""
    raise Refusal(400, f"invalid request: {where}: content of type {kind!r} is not supported by this model")


def _compact(value: Any) -> str:
    return orjson.dumps(value).decode()
