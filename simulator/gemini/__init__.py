"""Google's dialect: Gemini at its own API and at Vertex AI.

Reading order: `dialect` (ids, headers, credentials, errors) -> `models` (what is served, at what price) ->
`prompt` (what is said and how much it is) -> `generate` (what is asked) -> `answer` (what is answered) ->
`events` (how that looks as a stream) -> `embeddings`, `lists` (vectors; token counts and models) -> `rows`.
"""
