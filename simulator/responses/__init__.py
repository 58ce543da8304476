"""OpenAI's Responses: answers made of items, kept by the provider, made while nobody listens if so wished.

Reading order: `items` (what a conversation is made of, and how much it is) -> `request` (what is asked) ->
`answer` (what is answered, and its document at every stage) -> `events` (how that looks as a stream) ->
`store` (what is kept, and jobs that run by themselves) -> `paths` (create, retrieve, cancel, delete, list)
-> `rows`. Ids, keys, errors and models are OpenAI's; the models are those of its chats.

How it counts
    As chats do. All earlier turns count as input, without their instructions and their thoughts. A search of
    the web costs a fee and 500 input tokens for what it found; there is one before an answer in words where
    the request has the tool, `searches=N` sets their number.
    A background response waits for `first_ms` in its queue, costs its prompt from when it leaves it, and then
    what it makes at `pace_ms` a token, whoever listens; a cancelled one costs what was made until then. The
    10,000 newest responses are kept, each for the key that asked for it, until the bill is deleted.

What it refuses: tools other than functions and `web_search`, references to items and to conversations, an
effort where the model does not reason, a turn after a response that did not end.

Directives, where they differ
    no_usage leaves usage null, usage_twice repeats the last event, no_done leaves it out. error_in_stream
    ends with `response.failed` (status "failed" where it is not streamed), and with no_done by a bare
    `error` event instead; code=NAME is the error's code. What is wrong with a connection does not harm a
    response in the background.
"""
