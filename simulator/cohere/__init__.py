"""Cohere's dialect, version 2: chat, embed and rerank (and rerank's first version).

Reading order: `dialect` (ids, credentials, errors) -> `models` (what is served, at what price, and what a
search unit is) -> `prompt` (what is said and how much of it is billed) -> `chat` -> `events` (how a chat
looks as a stream) -> `embed` -> `rerank`.
"""
