"""The content of messages in Anthropic's format, block by block: what each costs beyond its own bytes."""

from __future__ import annotations

from typing import Any

from gateway.dialects.exchange import Exchange
from gateway.errors import BadRequest

DEPTH_MAX = 8
"""How deep content may stand in content: a document in what a tool fetched, in a result, in a message."""
_PLAIN = frozenset((
    "text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "mcp_tool_use", "compaction",
    "tool_removal", "fallback", "web_search_result", "code_execution_output", "bash_code_execution_output",
    "browser_state", "mcp_tool_listing",
))  # fmt: skip
"""Blocks whose tokens are bounded by their bytes: texts, structures, and what is encrypted."""


def read_blocks(content: Any, path: str, call: Exchange, depth: int = 0) -> int:
    """Understand a list of blocks; how many of them name a tool whose definition then stands there too.

    Images are noted by number, documents as filling the context, and what is unknown as without a bound.
    """
    if not isinstance(content, list):
        raise wrong(path, "a valid string or list")
    if depth > DEPTH_MAX:
        call.unbounded = call.unbounded or path
        return 0
    references = 0
    for number, block in enumerate(content):
        if not isinstance(block, dict):
            raise wrong(f"{path}.{number}", "a valid dictionary or object")
        kind = block.get("type")
        if not isinstance(kind, str):
            raise wrong(f"{path}.{number}.type", "a valid string")
        if kind not in _PLAIN:
            references += _read_block(kind, block, f"{path}.{number}", call, depth)
    return references


def _read_block(kind: str, block: dict[str, Any], path: str, call: Exchange, depth: int) -> int:
    """One block that is more than its text."""
    if kind == "image":
        _read_image(block.get("source"), f"{path}.source", call)
    elif kind == "document":
        return _read_document(block.get("source"), f"{path}.source", call, depth)
    elif kind in ("tool_reference", "tool_addition"):
        return 1
    elif kind == "tool_search_tool_search_result":
        found = block.get("tool_references")
        return len(found) if isinstance(found, list) else 0
    elif kind.endswith("_result"):  # of a tool, whoever ran it, or of a search
        inner = block.get("content")
        if isinstance(inner, dict):
            inner = [inner]
        if inner is not None and not isinstance(inner, str):
            return read_blocks(inner, f"{path}.content", call, depth + 1)
    elif not kind.endswith("_error"):
        call.unbounded = call.unbounded or path
    return 0


def _read_image(source: Any, path: str, call: Exchange) -> None:
    if not isinstance(source, dict):
        raise wrong(path, "a valid dictionary or object")
    call.images += 1
    call.has_media = True
    for name in ("data", "url", "file_id"):
        value = source.get(name)
        if value is not None and not isinstance(value, str):
            raise wrong(f"{path}.{name}", "a valid string")
    data = source.get("data")
    # Base64 is cheap to measure, and what is no ASCII is no base64: then its bytes stay in the bound.
    call.media_bytes += len(data) if isinstance(data, str) and data.isascii() else 0


def _read_document(source: Any, path: str, call: Exchange, depth: int) -> int:
    """Text bounds itself; pages are read as text and as images, and there may be as many as fit."""
    if not isinstance(source, dict):
        raise wrong(path, "a valid dictionary or object")
    kind = source.get("type")
    if kind == "content":
        content = source.get("content")
        return 0 if isinstance(content, str) else read_blocks(content, f"{path}.content", call, depth + 1)
    if kind != "text":
        call.has_media = call.fills_context = True
    return 0


def wrong(path: str, expected: str) -> BadRequest:
    """The complaint about a field of the wrong type, in Anthropic's words."""
    return BadRequest(f"{path}: Input should be {expected}", param=path, code="invalid_type")
