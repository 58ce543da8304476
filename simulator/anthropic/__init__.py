"""Anthropic's dialect: messages, token counts and models, at Anthropic and at Google (Vertex AI).

Reading order: `dialect` (ids, headers, credentials, errors) -> `models` (what is served, at what price) ->
`messages` (what is asked) -> `prompt` (what is said and how much it is) -> `cache` (what of it was seen
before) -> `answer` (what is answered) -> `events` (how that looks as a stream) -> `lists` (models) -> `rows`.

Paths
    POST   /v1/messages, /v1/messages/count_tokens
    GET    /v1/models, /v1/models/{model}      in Anthropic's shape when `anthropic-version` is sent
    POST   /v1/projects/{project}/locations/{location}/publishers/anthropic/models/{model}:rawPredict and
           :streamRawPredict, .../models/count-tokens:rawPredict

`x-api-key` or a bearer token, and `anthropic-version`; at Vertex AI a bearer token, and `anthropic_version`
in the body. The id on the bill is `request-id`. Counting tokens costs nothing but has its line on the bill.

How it counts
    Input: 3 for the answer to begin, 4 a message, 346 or 313 for the instructions that come with tools, the
    pieces of every text, and of other blocks as JSON; an image 1,600, a page of a document 1,500.
    `input_tokens` are without what the cache read and wrote. Marked prompts of 1,024 tokens or more (4,096
    for Haiku 4.5) are cached for five minutes or an hour; see `cache`.
    Thinking is output, within `max_tokens`: 256 tokens or, by `output_config.effort`, 64 (low), 128, 256
    (high), 512, 1,024 (max), at most the budget. Models of the fifth generation think although nobody asks
    and show nothing; then pings pass in the stream, each for 16 tokens. What is shown is a summary. A
    signature that was changed is refused.
    A web search (`tools` with `web_search_...`; one, or `searches=N`) costs a cent, its call as output and
    500 tokens of input, which `message_start` does not yet know.
    Prompts above the threshold cost more as a whole (Sonnet 4.5 with the beta `context-1m`: 200,000, Haiku
    5.5: 100,000); `inference_geo: us` costs 1.1 times, `speed: fast` what Opus 4.8 costs in a hurry,
    `tier=batch` half.

What it does not do: run code, fetch pages, MCP, containers, citations; `stop_sequences`, `temperature` and
`context_management` are read and change nothing. Unknown fields are refused, as Anthropic refuses them, but
for `metadata.simulate`.
"""
