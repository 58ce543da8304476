"""Anthropic's dialect: messages, token counts and models.

Reading order: `dialect` (ids, headers, credentials, errors) -> `models` (what is served, at what price) ->
`messages` (what is asked) -> `prompt` (what is said and how much it is) -> `cache` (what of it was seen
before) -> `answer` (what is answered) -> `events` (how that looks as a stream) -> `lists` (models).
"""
