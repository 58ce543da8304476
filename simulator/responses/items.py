"""The items of a conversation: messages, calls of functions and their outputs, thoughts, searches.

Tokens are counted as for chats: 3 for the answer to begin, 4 a message, and the pieces of every text; a call
is its name and arguments. Thoughts and searches of earlier turns cost nothing to bring back.
"""

from __future__ import annotations

from typing import Any

import orjson

from simulator.errors import Refusal, missing, unknown_value, wrong_type
from simulator.models import Model
from simulator.prompt import PER_MESSAGE, Prompt

ROLES = ("user", "assistant", "system", "developer")
TEXTS = ("input_text", "output_text", "text", "summary_text")
SILENT = ("reasoning", "web_search_call")


def read_input(given: Any, suffix: str) -> list[dict[str, Any]]:
    """The items of a request's `input` as they are kept: with ids that end in `suffix`, texts as parts.

    Raises Refusal on what is neither a text nor a list of objects.
    """
    if given is None:
        return []
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise wrong_type("input", "a string or an array of input items", given)
    for number, item in enumerate(given):
        if not isinstance(item, dict):
            raise wrong_type(f"input[{number}]", "an input item", item)
    return [_shown(item, f"{suffix}{number:04x}") for number, item in enumerate(given)]


def _shown(item: dict[str, Any], suffix: str) -> dict[str, Any]:
    kind = item.get("type") or "message"
    prefix = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}.get(kind, "item")
    known = {"id": f"{prefix}_{suffix}", **item, "type": kind}
    if kind == "message":
        known.setdefault("status", "completed")
        if isinstance(item.get("content"), str):
            part = "output_text" if item.get("role") == "assistant" else "input_text"
            known["content"] = [{"type": part, "text": item["content"]}]
    return known


def add_items(prompt: Prompt, items: list[dict[str, Any]], model: Model) -> None:
    """Add a conversation to the prompt. Raises Refusal on what OpenAI would refuse."""
    for number, item in enumerate(items):
        _add(prompt, item, model, f"input[{number}]")
    prompt.ends_with_tool = bool(items) and items[-1].get("type") == "function_call_output"


def _add(prompt: Prompt, item: dict[str, Any], model: Model, where: str) -> None:
    kind = item.get("type") or "message"
    if kind == "message":
        _add_message(prompt, item, model, where)
    elif kind == "function_call":
        prompt.add(0, "call", f"{item.get('name', '')}{item.get('arguments', '')}")
    elif kind == "function_call_output":
        if not item.get("call_id"):
            raise missing(f"{where}.call_id")
        output = item.get("output")
        prompt.add(PER_MESSAGE, "tool", output if isinstance(output, str) else _compact(output))
    elif kind not in SILENT:
        raise Refusal(
            400,
            f"Invalid value: '{kind}'. Supported values are: 'message', 'function_call', "
            f"'function_call_output', {', '.join(repr(name) for name in SILENT)}.",
            code="invalid_value",
            param=f"{where}.type",
        )


def _add_message(prompt: Prompt, item: dict[str, Any], model: Model, where: str) -> None:
    role = item.get("role")
    if role not in ROLES:
        raise unknown_value(f"{where}.role", role, ROLES)
    content = item.get("content")
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    if not isinstance(content, list):
        raise wrong_type(f"{where}.content", "a string or an array of objects", content)
    prompt.add(PER_MESSAGE, role)
    said = [
        _add_part(prompt, part, role, model, f"{where}.content[{number}]")
        for number, part in enumerate(content)
    ]
    if role == "user":
        prompt.last_user = "\n".join(said)


def _add_part(prompt: Prompt, part: Any, role: str, model: Model, where: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in TEXTS and isinstance(part.get("text"), str):
        prompt.add(0, role, part["text"])
        return str(part["text"])
    if kind == "refusal":
        prompt.add(0, role, str(part.get("refusal", "")))
        return ""
    if kind == "input_image":
        size = model.image_low if part.get("detail") == "low" else model.image_high
        prompt.add(size, f"image {part.get('image_url') or part.get('file_id')}")
        return ""
    raise Refusal(
        400,
        f"Invalid value: '{kind}'. Supported values are: 'input_text', 'input_image', 'output_text' and "
        "'refusal'.",
        code="invalid_value",
        param=f"{where}.type",
    )


def _compact(value: Any) -> str:
    return orjson.dumps(value).decode()
