"""Cohere's dialect, version 2: chat, embed and rerank (and rerank's first version).

Reading order: `dialect` (ids, credentials, errors) -> `models` (what is served, at what price, and what a
search unit is) -> `prompt` (what is said and how much of it is billed) -> `chat` -> `events` (how a chat
looks as a stream) -> `embed` -> `rerank` -> `rows` (its paths).

Models
    command-a-03-2025, command-r-08-2024, command-r-plus-08-2024, command-r7b-12-2024 (also without their
    dates); embed-v4.0; rerank-v3.5, rerank-english-v3.0, rerank-multilingual-v3.0.

How it counts
    A chat is billed for the pieces of its texts, tools and documents, without anything for a message; that is
    `billed_units`. `tokens` has 495 more for Cohere's preamble and 2 more in the answer, which are free.
    What is cached is reported (`cached_tokens`) and costs the same. A tool is planned first, and the plan is
    output. Embeddings cost the pieces of their texts, images 1,610 tokens each at a price of their own.
    Rerank costs search units: a query with up to 100 documents, each part of 500 tokens (the query's
    included) being one; version 2 reads `max_tokens_per_doc` (4,096) tokens of a document, version 1 has
    `max_chunks_per_doc` (10) parts of it. `stop_sequences`, `thinking` and citations are ignored.

Directives, where they differ
    error_in_stream ends a chat with `message-end`, its reason "ERROR"; usage_twice repeats `message-end`;
    code=NAME goes before the error's message, for Cohere's errors have no codes; `reasoning` and `tier` do
    nothing.
"""
