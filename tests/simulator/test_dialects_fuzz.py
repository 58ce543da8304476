"""A body with anything anywhere is answered or refused in the dialect; nothing is left unanswered."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import httpx2
import pytest

from simulator.process import Simulator
from tests.simulator.claude import WEATHER as CLAUDE_WEATHER
from tests.simulator.dialects import CLAUDE, GEMINI, Speaker

ROUNDS = 150
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    "",
    "x",
    "\ud800",
    [],
    {},
    [[]],
    [None],
    {"type": "x"},
    ["x"],
    [1],
]
BODIES: dict[str, dict[str, Any]] = {
    "anthropic": {
        "model": "claude-opus-4-8",
        "max_tokens": 2_000,
        "system": [{"type": "text", "text": "Be", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [CLAUDE_WEATHER, {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "me", "simulate": "tokens=3"},
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "AAAA"}}]},
            {"role": "assistant", "content": "Well"},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        ],
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "Be"}]},
        "contents": [
            {"parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "text/csv", "data": "YQ=="}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "maxOutputTokens": 500,
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]},
            "thinkingConfig": {"thinkingBudget": 50, "includeThoughts": True},
        },
    },
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every member and element of a document."""
    found = [path] if path else []
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        found += places(part, (*path, name))
    return found


def spoiled(body: dict[str, Any], choose: random.Random) -> dict[str, Any]:
    """The body with one or two of its parts replaced or gone."""
    body = copy.deepcopy(body)
    for _ in range(choose.randint(1, 2)):
        path = choose.choice(places(body))
        holder = body
        for name in path[:-1]:
            holder = holder[name]
        if choose.random() < 0.2:
            del holder[path[-1]]
        else:
            holder[path[-1]] = copy.deepcopy(choose.choice(ODD))
    return body


@pytest.mark.parametrize("dialect", [CLAUDE, GEMINI], ids=str)
def test_anything_is_answered_or_refused(running_simulator: Simulator, dialect: Speaker) -> None:
    choose = random.Random(7)
    seen: dict[int, int] = {}
    headers = {"authorization": "Bearer sk-test", **dialect.headers}
    with httpx2.Client(base_url=running_simulator.root, headers=headers, timeout=10) as client:
        for _ in range(ROUNDS):
            body = spoiled(BODIES[dialect.name], choose)
            stream = choose.random() < 0.5
            path = dialect.stream if stream else dialect.whole
            if stream:
                body |= dialect.more
            content = _json(body)
            answer = client.post(path, content=content, headers={"content-type": "application/json"})
            assert answer.status_code in (200, 400, 404), body
            if answer.status_code != 200:
                assert answer.json()["error"]["message"], body
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
    # Both happen, or nothing was tried.
    assert min(seen[200], seen[400]) > ROUNDS // 10


def _json(body: dict[str, Any]) -> bytes:
    """JSON with lone surrogates as escapes, which is how they come."""
    return json.dumps(body).encode()
