"""What the tests of Anthropic's dialect ask."""

from __future__ import annotations

from typing import Any

import anthropic

HELLO: Any = {"role": "user", "content": "Hello"}
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def ask(claude: anthropic.Anthropic, **more: Any) -> Any:
    return claude.messages.create(
        **{"model": "claude-opus-4-8", "max_tokens": 1000, "messages": [HELLO], **more}
    )


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]
