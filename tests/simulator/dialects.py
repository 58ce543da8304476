"""Two dialects told apart only by what each looks like on the wire, for tests of what both must do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.simulator.recordings import streamed


@dataclass(frozen=True)
class Speaker:
    """How a dialect is asked and read. `step` tokens are in one event of a stream."""

    name: str
    body: Callable[[str], dict[str, Any]]
    whole: str
    stream: str
    more: dict[str, Any]
    headers: dict[str, str]
    text: Callable[[dict[str, Any]], str]
    said: Callable[[dict[str, Any]], int]
    fault: str
    end: Callable[[list[dict[str, Any]]], bool]
    usages: str
    price: tuple[int, int]
    step: int = 1
    short: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def asked(self, words: str, *, stream: bool = False, **more: Any) -> tuple[str, dict[str, Any]]:
        """The path and body that ask with a directive."""
        body = {**self.body(f"Hi [[simulate: {words}]]"), **more}
        return (self.stream, {**body, **self.more}) if stream else (self.whole, body)

    def texts(self, stream: str) -> list[str]:
        """The pieces of text in a stream, in order; empty ones left out."""
        return [text for event in streamed(stream) if (text := self.text(event))]


def _claude_text(event: dict[str, Any]) -> str:
    return str((event.get("delta") or {}).get("text") or "")


def _gemini_text(event: dict[str, Any]) -> str:
    candidates = event.get("candidates") or [{}]
    parts = (candidates[0].get("content") or {}).get("parts") or []
    return "".join(part.get("text", "") for part in parts)


CLAUDE = Speaker(
    name="anthropic",
    body=lambda text: {
        "model": "claude-opus-4-8", "max_tokens": 2_000, "messages": [{"role": "user", "content": text}],
    },
    whole="/v1/messages",
    stream="/v1/messages",
    more={"stream": True},
    headers={"anthropic-version": "2023-06-01"},
    text=_claude_text,
    said=lambda answer: int(answer["usage"]["output_tokens"]),
    fault="overloaded_error",
    end=lambda events: events[-1]["type"] == "message_stop",
    usages='"output_tokens":',
    price=(5_000, 25_000),
    short={"max_tokens": 5},
)  # fmt: skip
GEMINI = Speaker(
    name="gemini",
    body=lambda text: {
        "contents": [{"role": "user", "parts": [{"text": text}]}],
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}},
    },
    whole="/v1beta/models/gemini-2.5-flash:generateContent",
    stream="/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    more={},
    headers={},
    text=_gemini_text,
    said=lambda answer: int(answer["usageMetadata"]["candidatesTokenCount"]),
    fault="UNAVAILABLE",
    end=lambda events: "finishReason" in events[-1]["candidates"][0],
    usages='"usageMetadata":',
    price=(300, 2_500),
    step=4,
    short={"generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"thinkingBudget": 0}}},
)  # fmt: skip


def broken(stream: str) -> int:
    """How many events of a stream are no JSON."""
    number = 0
    for line in stream.splitlines():
        if line.startswith("data: "):
            try:
                json.loads(line.removeprefix("data: "))
            except json.JSONDecodeError:
                number += 1
    return number
