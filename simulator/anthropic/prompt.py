"""What a message request says, block by block, and how many input tokens that is.

4 tokens for each message, 3 for the answer to begin, the instructions that Anthropic adds where there are
tools, and the pieces of every text; tools, calls and other structures count as the compact JSON they are.
Anthropic drops what a model thought in earlier turns: thinking counts only in the turn that still runs.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

from simulator.anthropic.dialect import checked, wrong
from simulator.prompt import Prompt

PER_MESSAGE = 4
PER_ANSWER = 3
TOOLS = {"auto": 346, "none": 346, "any": 313, "tool": 313}
"""Tokens of the instructions for tools, by the kind of choice: Anthropic's page on tool use."""
IMAGE = 1_600
"""An image at the largest size that is not scaled down: width times height / 750."""
PAGE = 1_500
BYTES_PER_PAGE = 3_000
"""A document is taken to have a page for every so many bytes."""
MARKS_MAX = 4
_SEAL = b"simulated thinking"


def signature(thinking: str) -> str:
    """What proves that a thinking block came from here unchanged."""
    digest = blake2b(thinking.encode(), digest_size=48, key=_SEAL).digest()
    return base64.b64encode(digest).decode()


@dataclass(frozen=True, slots=True)
class Mark:
    """A `cache_control`: the prompt up to and including block number `block` is to be cached."""

    block: int
    hour: bool


@dataclass(slots=True)
class Blocks:
    """A prompt in blocks. `ends` has, for each block, the segments and tokens of the prompt up to its end."""

    prompt: Prompt = field(default_factory=Prompt)
    ends: list[tuple[int, int]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def end(self, block: Any, where: str) -> None:
        """The block is complete; it may carry a mark."""
        self.ends.append((len(self.prompt.segments), self.prompt.total))
        control = block.get("cache_control") if isinstance(block, dict) else None
        if control is not None:
            self.mark(control, where)

    def mark(self, control: Any, where: str) -> None:
        """Cache up to here. Raises Refusal as Anthropic does."""
        where = f"{where}.cache_control"
        checked(control, where, dict, "a valid dictionary or object to extract fields from")
        if control.get("type") != "ephemeral":
            raise wrong(f"{where}.type: Input should be 'ephemeral'")
        ttl = control.get("ttl") or "5m"
        if ttl not in ("5m", "1h"):
            raise wrong(f"{where}.ttl: Input should be '5m' or '1h'")
        if ttl == "1h" and any(not mark.hour for mark in self.marks):
            raise wrong(
                f"{where}.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control "
                "block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."
            )
        if self.ends:
            self.marks.append(Mark(len(self.ends) - 1, ttl == "1h"))


def read_blocks(body: dict[str, Any]) -> Blocks:
    """Read tools, system and messages of a request. Raises Refusal on what Anthropic would refuse."""
    blocks = Blocks()
    prompt = blocks.prompt
    tools = body.get("tools") or ()
    for number, tool in enumerate(tools):
        prompt.add(0, "tool", _compact(tool))
        blocks.end(tool, f"tools.{number}")
    system = body.get("system")
    if isinstance(system, str):
        prompt.add(0, "system", system)
        blocks.end(None, "system")
    elif system is not None:
        checked(system, "system", list, "a valid list")
        for number, block in enumerate(system):
            checked(block, f"system.{number}", dict, "a valid dictionary or object to extract fields from")
            if block.get("type") != "text" or not isinstance(block.get("text"), str):
                raise wrong(f"system.{number}.text: Field required")
            prompt.add(0, "system", block["text"])
            blocks.end(block, f"system.{number}")
    if tools:
        choice = (body.get("tool_choice") or {}).get("type", "auto")
        prompt.add(TOOLS.get(choice, 0), f"tools {choice}")
    _read_messages(blocks, body["messages"])
    if body.get("cache_control") is not None:
        blocks.mark(body["cache_control"], "")
    if len(blocks.marks) > MARKS_MAX:
        raise wrong(
            f"A maximum of {MARKS_MAX} blocks with cache_control may be provided. Found {len(blocks.marks)}."
        )
    prompt.add(PER_ANSWER, "answer")
    return blocks


def _read_messages(blocks: Blocks, messages: list[Any]) -> None:
    running = _running_turn(messages)
    asked: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        role = message["role"]
        blocks.prompt.add(PER_MESSAGE, role)
        content = message.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        checked(content, f"{where}.content", list, "a valid list")
        parts = _of_type(content, "tool_result") if role == "user" else []
        answered = {str(part.get("tool_use_id")) for part in parts}
        if unknown := sorted(answered - asked):
            raise wrong(
                f"{where}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(unknown)}. Each `tool_result` block must have a corresponding `tool_use` block "
                "in the previous message."
            )
        if left := sorted(asked - answered):
            raise wrong(
                f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(left)}. Each `tool_use` block must have a corresponding `tool_result` block in "
                "the next message."
            )
        asked = {str(part.get("id")) for part in _of_type(content, "tool_use")} if role != "user" else set()
        said: list[str] = []
        for place, block in enumerate(content):
            said += _read_block(blocks.prompt, block, f"{where}.content.{place}", number > running)
            blocks.end(block, f"{where}.content.{place}")
        if role == "user" and said:
            blocks.prompt.last_user = "\n".join(said)
        blocks.prompt.ends_with_tool = bool(parts)


def _running_turn(messages: list[Any]) -> int:
    """The number of the last message in which the user said something, rather than a tool."""
    for number in range(len(messages) - 1, -1, -1):
        content = messages[number].get("content")
        if messages[number].get("role") == "user" and not (
            isinstance(content, list) and _of_type(content, "tool_result")
        ):
            return number
    return -1


def _of_type(content: list[Any], kind: str) -> list[dict[str, Any]]:
    return [block for block in content if isinstance(block, dict) and block.get("type") == kind]


def _read_block(prompt: Prompt, block: Any, where: str, running: bool) -> list[str]:
    """Count one block; the texts that it says."""
    checked(block, where, dict, "a valid dictionary or object to extract fields from")
    kind = block.get("type")
    if kind == "text":
        text = block.get("text")
        checked(text, f"{where}.text.text", str, "a valid string")
        prompt.add(0, "text", text)
        return [text]
    if kind in ("image", "document"):
        _read_source(prompt, kind, block.get("source"), where)
        return []
    if kind == "tool_result":
        given = block.get("content") or []
        for place, part in enumerate([{"type": "text", "text": given}] if isinstance(given, str) else given):
            _read_block(prompt, part, f"{where}.tool_result.content.{place}", running)
        return []
    if kind in ("thinking", "redacted_thinking"):
        if kind == "thinking" and block.get("signature") != signature(str(block.get("thinking"))):
            raise wrong(f"{where}: Invalid `signature` in `thinking` block")
        if running:
            prompt.add(0, kind, str(block.get("thinking") or ""))
        return []
    if kind is None:
        raise wrong(f"{where}.type: Field required")
    if kind == "tool_use":
        prompt.add(0, "call", f"{block.get('name', '')}{_compact(block.get('input') or {})}")
    else:
        prompt.add(0, kind, _compact(block))
    return []


def _read_source(prompt: Prompt, kind: str, source: Any, where: str) -> None:
    checked(source, f"{where}.{kind}.source", dict, "a valid dictionary or object to extract fields from")
    data = str(source.get("data") or source.get("url") or source.get("file_id") or "")
    if source.get("type") == "text":
        prompt.add(0, kind, data)
    elif source.get("type") == "content":
        given = source.get("content") or []
        for part in [{"type": "text", "text": given}] if isinstance(given, str) else given:
            _read_block(prompt, part, where, running=True)
    elif kind == "image":
        prompt.add(IMAGE, f"image {data}")
    else:
        prompt.add(PAGE * max(1, len(data) * 3 // 4 // BYTES_PER_PAGE), f"document {data}")


def _compact(value: Any) -> str:
    """The JSON of a value without its cache mark."""
    if isinstance(value, dict) and "cache_control" in value:
        value = {name: part for name, part in value.items() if name != "cache_control"}
    return orjson.dumps(value).decode()
