"""Whatever stands in the place of a part of a body, an answer or a refusal comes, in the dialect's shape."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from simulator.process import Simulator

pytestmark = pytest.mark.wide
CLAUDE = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"
TRIED = 150
JUNK: list[Any] = [
    None, True, 0, -1, 1.5, 2**63, "", "x", [], {}, [[]], [None], [{}], {"type": None}, {"type": "text"},
    {"a": {"b": 1}}, ["x", 1], "[[simulate: tokens=1]]",
]  # fmt: skip
OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/responses": {
        "model": "gpt-5-nano",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_image"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "o"},
        ],
        "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "f", "parameters": OBJECT}, {"type": "web_search"}],
        "tool_choice": "auto",
        "text": {"format": {"type": "json_schema", "name": "n", "schema": OBJECT}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "metadata": {"simulate": "tokens=2"},
        "stream_options": {"include_obfuscation": False},
        "max_output_tokens": 100,
        "max_tool_calls": 3,
        "stream": True,
    },
    "/v2/chat": {
        "model": "command-a",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": ""}}]},
            {"role": "tool", "content": [{"type": "document", "document": {"data": {"a": 1}}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": OBJECT}}],
        "tool_choice": "REQUIRED",
        "documents": ["d", {"data": {"x": "y"}}],
        "max_tokens": 50,
        "stream": True,
    },
    "/v2/embed": {
        "model": "embed-v4.0",
        "input_type": "search_query",
        "inputs": [
            {"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]}
        ],
        "embedding_types": ["float", "base64"],
        "output_dimension": 256,
    },
    "/v1/rerank": {"model": "rerank-v3.5", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1},
    f"{CLAUDE}/converse-stream": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": "Hi"},
                    {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                    {"document": {"name": "d", "format": "txt", "source": {"bytes": "SGk="}}},
                    {"cachePoint": {"type": "default", "ttl": "1h"}},
                ],
            },
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "x"}]}}]},
        ],
        "system": [{"text": "Be brief."}],
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": OBJECT}}}]},
        "inferenceConfig": {"maxTokens": 50},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    },
    f"{CLAUDE}/invoke-with-response-stream": {
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["x"],
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    },
}  # fmt: skip


def spots(document: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in members:
        yield (*before, name)
        if isinstance(value, dict | list):
            yield from spots(value, (*before, name))


def changed(document: Any, spot: tuple[Any, ...], value: Any) -> Any:
    """The document with another value there; without that part when the value is the document itself."""
    made = copy.deepcopy(document)
    inner = made
    for name in spot[:-1]:
        inner = inner[name]
    if value is document:
        del inner[spot[-1]]
    else:
        inner[spot[-1]] = value
    return made


@pytest.mark.parametrize("path", BODIES)
def test_any_part_may_be_anything(simulator: Simulator, path: str) -> None:
    body = BODIES[path]
    cases = [(spot, value) for spot in spots(body) for value in [*JUNK, body]]
    seen = set()
    with httpx2.Client(base_url=simulator.root, headers={"authorization": "Bearer k"}, timeout=10) as http:
        assert http.post(path, json=body).status_code == 200
        for spot, value in random.Random(path).sample(cases, min(TRIED, len(cases))):
            answer = http.post(path, json=changed(body, spot, value))
            assert answer.status_code in (200, 400, 404), (spot, value, answer.text)
            seen.add(answer.status_code)
            if answer.status_code != 200:
                told = json.loads(answer.content)
                assert (told["error"] if path == "/v1/responses" else told)["message"]
    assert {200, 400} <= seen
    assert simulator.open()["requests"] == 0
