"""OpenAI's Responses: answers made of items, kept by the provider, made while nobody listens if so wished.

Reading order: `items` (what a conversation is made of, and how much it is) -> `request` (what is asked) ->
`answer` (what is answered, and its document at every stage) -> `events` (how that looks as a stream) ->
`store` (what is kept, and jobs that run by themselves) -> `paths` (create, retrieve, cancel, delete, list).
"""
