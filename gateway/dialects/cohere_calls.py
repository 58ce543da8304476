"""Cohere's formats: chat, embed, and rerank, which others have copied.

https://docs.cohere.com/reference/chat, /embed, /rerank. Rerank is billed by searches where Cohere's models
answer, and by tokens elsewhere; a request is bound either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gateway.dialects.exchange import (
    MAXIMUM_TOKENS,
    Exchange,
    read_bool,
    read_count,
    read_model,
    wrong_type,
)
from gateway.dialects.openai_fields import add_image, blocks, missing, objects, read_image

IMAGE_TOKENS = 5_000
"""Above an embedded picture's: it is scaled to 1,568 x 1,568 pixels at most, 1 token for 28 x 28 of them,
3,136. (docs.cohere.com/docs/multimodal-embeddings)"""
PREAMBLE_TOKENS = 8_192
"""Above the preamble of Cohere's own with tools and documents, which no bill has had so far."""
DOCUMENTS_PER_SEARCH = 100
TOKENS_PER_PART = 500
"""A search is a query with up to 100 documents; a longer one is split, the query counted with each part.
(cohere.com/pricing)"""
TOKENS_PER_DOCUMENT = 4_096
"""What is read of a document where a request does not say. (docs.cohere.com/reference/rerank)"""


@dataclass(slots=True)
class CohereCall(Exchange):
    """One request of Cohere's chat."""

    prompt_fields: ClassVar[tuple[str, ...]] = ("messages", "documents")
    only_maximum_field: ClassVar[str | None] = "max_tokens"
    asks_usage: ClassVar[bool] = False
    has_habits: ClassVar[bool] = False


@dataclass(slots=True)
class CohereTexts(Exchange):
    """One request that reads texts and makes none."""

    prompt_fields: ClassVar[tuple[str, ...]] = ("texts", "inputs", "query", "documents")
    image_tokens: ClassVar[int] = IMAGE_TOKENS
    asks_usage: ClassVar[bool] = False
    has_habits: ClassVar[bool] = False
    frame_tokens: ClassVar[tuple[int, int]] = (0, 0)


def read_chat(body: dict[str, Any]) -> CohereCall:
    """Understand one chat request; BadRequest names the field that is wrong."""
    call = CohereCall("cohere.chat", body, read_model(body))
    call.stream = read_bool(body, "stream")
    call.maximum = read_count(body, "max_tokens", most=MAXIMUM_TOKENS)
    call.maximum_field = None if call.maximum is None else "max_tokens"
    messages = body.get("messages")
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong_type("messages", messages, "a filled array of objects")
    call.messages = len(messages)
    call.added_tokens = PREAMBLE_TOKENS
    for number, message in objects(messages, "messages"):
        _read_content(message.get("content"), f"messages[{number}].content", call)
    documents = body.get("documents")
    if documents is not None:
        if not isinstance(documents, list):
            raise wrong_type("documents", documents, "an array")
        call.messages += len(documents)
    tools = body.get("tools")
    if tools is not None:
        if not isinstance(tools, list):
            raise wrong_type("tools", tools, "an array of objects")
        call.tools = len(tools)
    wanted = body.get("response_format")
    if wanted is not None:
        if not isinstance(wanted, dict):
            raise wrong_type("response_format", wanted, "an object")
        call.wants_json = wanted.get("type") == "json_object"
    return call


def _read_content(content: Any, path: str, call: Exchange) -> None:
    for number, block in blocks(content, path, "a string or an array of blocks"):
        kind = block.get("type", "text")
        if kind == "image_url":
            read_image(block, f"{path}[{number}]", call)
        elif kind not in ("text", "thinking", "document"):
            call.fills_context = True


def read_embed(body: dict[str, Any]) -> CohereTexts:
    """Understand one embed request; BadRequest names the field that is wrong."""
    call = CohereTexts("cohere.embed", body, read_model(body), produces_tokens=False)
    given = 0
    for name in ("texts", "images", "inputs"):
        values = body.get(name)
        if values is None:
            continue
        if not isinstance(values, list):
            raise wrong_type(name, values, "an array")
        given += len(values)
        for number, value in enumerate(values):
            _read_embedded(name, value, f"{name}[{number}]", call)
    if not given:
        raise missing("texts")
    call.messages = given
    return call


def _read_embedded(name: str, value: Any, path: str, call: Exchange) -> None:
    if name == "inputs":
        if not isinstance(value, dict):
            raise wrong_type(path, value, "an object")
        _read_content(value.get("content"), f"{path}.content", call)
        return
    if not isinstance(value, str):
        raise wrong_type(path, value, "a string")
    if name == "images":
        add_image(call, len(value))


def read_rerank(body: dict[str, Any]) -> CohereTexts:
    """Understand one rerank request; BadRequest names the field that is wrong."""
    call = CohereTexts("rerank", body, read_model(body), produces_tokens=False)
    query, documents = body.get("query"), body.get("documents")
    if query is None:
        raise missing("query")
    if not isinstance(query, str):
        raise wrong_type("query", query, "a string")
    if documents is None:
        raise missing("documents")
    if not isinstance(documents, list) or not documents:
        raise wrong_type("documents", documents, "a filled array")
    longest = read_count(body, "max_tokens_per_doc", most=MAXIMUM_TOKENS) or TOKENS_PER_DOCUMENT
    query_bytes = len(query.encode())
    room = max(1, TOKENS_PER_PART - query_bytes)
    parts = 0
    for number, document in enumerate(documents):
        if not isinstance(document, (str, dict)):
            raise wrong_type(f"documents[{number}]", document, "a string or an object")
        size = _bytes_of(document)
        parts += max(1, -(-min(size, max(longest, TOKENS_PER_DOCUMENT)) // room))
    call.messages = len(documents)
    call.repeated_bytes = (len(documents) - 1) * query_bytes  # it is read with every document
    call.units = (("rerank_searches", -(-parts // DOCUMENTS_PER_SEARCH)),)
    return call


def _bytes_of(document: str | dict[str, Any]) -> int:
    if isinstance(document, str):
        return len(document.encode())
    return sum(len(value.encode()) for value in document.values() if isinstance(value, str))
