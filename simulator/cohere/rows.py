"""Cohere's paths."""

from __future__ import annotations

from typing import Any

from simulator.cohere.chat import read_chat, say_chat
from simulator.cohere.dialect import COHERE
from simulator.cohere.embed import read_embed, say_embed
from simulator.cohere.rerank import read_rerank, say_rerank
from simulator.dialect import Row

ROWS: tuple[Row[Any], ...] = (
    Row("POST", "/v2/chat", COHERE, read_chat, say_chat),
    Row("POST", "/v2/embed", COHERE, read_embed, say_embed),
    Row("POST", "/v2/rerank", COHERE, read_rerank, say_rerank),
    Row("POST", "/v1/rerank", COHERE, read_rerank, say_rerank),
)
