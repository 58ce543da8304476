"""Recorded provider traffic: which reader reads an exchange, and what its answer is."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson

FOLDER = Path(os.environ.get("TOLLKEEPER_RECORDINGS") or Path(__file__).parents[3] / "shared" / "recordings")
# Provider of the recordings -> provider in the price book. Vertex sells by the same list as the Gemini API.
PROVIDERS = {"bedrock": "aws", "vertex": "google"}
# How a path ends -> the reader's name.
READERS = {
    "/chat/completions": "openai.chat",
    "/v1/embeddings": "openai.embeddings",
    "/responses": "openai.responses",
    "/v1/messages": "anthropic.messages",
    ":generateContent": "gemini.generate",
    ":streamGenerateContent": "gemini.generate",
    ":batchEmbedContents": "gemini.embed",
    "/converse": "bedrock.converse",
    "/invoke": "bedrock.invoke",
    "/v2/chat": "cohere.chat",
    "/v2/embed": "cohere.embed",
}


@dataclass(frozen=True)
class Exchange:
    """One recorded exchange. `events`: the decoded objects of its answer; one where it came whole."""

    id: str
    source: str
    provider: str
    reader: str
    model: str
    status: int
    events: tuple[dict[str, Any], ...]


def exchanges() -> list[Exchange]:
    """All recorded exchanges; none where the folder is absent."""
    found: dict[str, Exchange] = {}
    for path in sorted(FOLDER.glob("*.jsonl")) if FOLDER.is_dir() else []:
        for line in path.read_bytes().splitlines():
            exchange = _exchange(path.stem, orjson.loads(line))
            while exchange.id in found:  # a few were recorded twice
                exchange = replace(exchange, id=f"{exchange.id}+")
            found[exchange.id] = exchange
    return list(found.values())


def _exchange(source: str, raw: dict[str, Any]) -> Exchange:
    path = raw["path"].split("?")[0]
    provider = PROVIDERS.get(source, source)
    if source == "huggingface":
        provider = f"huggingface_{path.split('/')[1]}"
    return Exchange(
        id=f"{source}/{raw['id']}",
        source=source,
        provider=provider,
        reader=next(name for end, name in READERS.items() if path.endswith(end)),
        model=_model(path, raw["request"]),
        status=raw["status"],
        events=tuple(events_of(raw)),
    )


def _model(path: str, request: Any) -> str:
    """The model that was asked for: in the body, or in the path."""
    if isinstance(request, dict) and "model" in request:
        return str(request["model"])
    if "/models/" in path:
        return path.rpartition("/models/")[2].partition(":")[0]
    return unquote(path.split("/")[2])


def events_of(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """The decoded objects of an exchange's answer, as it stands in the file; one where it came whole."""
    if "stream" in raw:
        lines = [line[5:].strip() for line in raw["stream"].splitlines() if line.startswith("data:")]
        return [orjson.loads(line) for line in lines if line and line != "[DONE]"]
    answer = raw["response"] if "response" in raw else orjson.loads(raw["text"])
    return [answer] if isinstance(answer, dict) else []
