"""A simulated provider: a real server on a real socket that speaks several dialects and keeps its own bill.

It exists so that a gateway can be tried, measured and proved right without an account anywhere: it answers
`/v1/chat/completions` and `/v1/completions` (streamed and not), `/v1/embeddings`, `/v1/moderations` and
`/v1/models` in OpenAI's shapes, and charges for the token pieces that it really sent, at prices typed by hand
as fractions in `models.py`. It shares no code with what it checks: no import of ours, no price data, no
tokenizer of anybody else.

What is said here of OpenAI's dialect holds for the others too, with what their packages say: `anthropic`,
`gemini`, `cohere`, `bedrock` and so on (`python -c "import simulator.anthropic as d; help(d)"`). `table` has
every path.

Reading order: `provider` (the server) -> `connection` (one socket; `wire` is HTTP as bytes) -> `service`
(which answer) -> `table` (every path and what answers it) -> `dialect` (the nouns: what is asked, how a
family of APIs looks) -> `openai` (OpenAI's ids, errors and models) -> `chat`, `completions`, `embeddings` and
`moderations` (what is asked) -> `prompt`, `tokens`, `pieces`, `answer`, `schema`, `cache` (what is said and
how much it is) -> `events`, `chat_events` (how it looks as a stream) -> `delivery`, `outlet` (how it leaves,
or fails to) -> `bill`. `process` runs it beside tests or as a child.

Its own paths (no key needed)
    GET    /_simulator/bill       {total_nano, total_exact, requests: [{id, model, attempts, prompt_tokens,
                                  cached, written_5m, written_1h, completion_tokens, reasoning, searches,
                                  nano, exact, status, complete, each}], forgotten}; `?id=...` shows one
                                  request only, `?summary=1` only the totals (`forgotten` counts requests
                                  too old to be listed, which the totals still hold). `nano` is
                                  nano-dollars, rounded half-even per attempt and then added; `exact` is
                                  dollars as a fraction ("3/20000"). `each` lists the attempts of one id.
    DELETE /_simulator/bill       forgets the bill, the prompt cache, received requests and `times` counts.
    GET    /_simulator/open       {connections, requests, streams}, not counting the connection that asks.
    GET    /_simulator/received   the last 64 requests as they arrived: {method, path, headers, body}.

The id of a request on the bill is its `x-client-request-id` header, else the `x-request-id` it was given (or
what the dialect has in its place).
Several calls with one id are attempts of one request. Any bearer key is accepted, except those that begin
with `obs_` (a client's key that leaked through a gateway) or `sk-invalid`: 401 `invalid_api_key`.

How it counts
    Input: 3 for the answer to begin, 4 a message, 1 a name, and the pieces of every text, tool definition
    and schema (see `tokens`); pieces never outnumber the UTF-8 bytes of a text. Images cost OpenAI's figure
    for a 1024 x 1024 picture. A prefix of 1,024 tokens or more that was seen before (same key, same model)
    is cached in steps of 128. Reasoning models (gpt-5*, o*) first produce hidden tokens, by
    `reasoning_effort`: none or minimal 0, low 64, medium 128 (the default), high 256. They count as
    completion and within the maximum.
    A stream that the client leaves is billed for its prompt and what was generated until that was noticed;
    with `bill_full_on_hangup` for what it would have become. An answer that is not streamed is generated
    before it is sent, so a connection lost while sending changes nothing. A call that hangs is billed for
    its prompt; refusals cost nothing. A text completion is billed for each prompt once and for every answer
    made: `best_of` for each prompt, of which `n` are shown. Moderations cost nothing.

What it refuses, as OpenAI does: a maximum above the model's, `max_tokens` for reasoning models, prompts
beyond the context. In chats `n` is ignored; `stop` everywhere. A service tier that a model is not sold at is
served, billed and echoed as `default`.

Directives
    `[[simulate: NAME=VALUE NAME ...]]` in the last user message (or the last input or prompt), or the same
    without brackets in the body's `metadata.simulate` (chats and text completions). Values with spaces go in
    quotes. A name or value that is not known is a 400, so that a misspelt test cannot pass.

    tokens=N              visible output tokens, before the maximum is applied
    pace_ms=X             time for each token, hidden ones too; 0 sends at once
    first_ms=X            time before the first byte of the answer
    reasoning=N           hidden tokens (reasoning models only)
    cached=N              cached input tokens, whatever the cache knows
    searches=N            searches of the web, where the request has a tool for them
    tier=NAME             the service tier really served; served=MODEL the model that really answers
    bill_full             as the setting bill_full_on_hangup, for this call
    status=N              answer with this error; retry_after=TEXT and retry_after_ms=TEXT add headers,
                          code=NAME replaces the error's code, html makes its body a web page, tell_key
                          repeats the caller's credential in its message
    redirect[=URL]        307 to URL (by default a cloud's metadata address)
    hang=before_headers   take the request and never answer; hang=after_headers: nothing after the headers
    reset_after_bytes=K   TCP reset after K bytes of the answer, headers included
    close_after_chunks=N  the stream's connection is closed after N content events, unannounced
    dribble[=MS]          one byte at a time, MS (default 1) apart
    chunk_split=K         HTTP chunks of K bytes, wherever that cuts events and characters
    wrong_length[=D]      a Content-Length that is D (default 10; negative: too short) off, then closed
    malformed=json|sse    an answer cut in two under a right Content-Length | an event that is no JSON
    no_usage              no usage in the answer; usage_twice: the usage event comes twice
    no_done               the stream ends well-formed but without its [DONE], or what stands for it
    error_in_stream[=N]   an error event after N content events (default half), then the end; in an answer
                          that is not streamed, an error document with status 200, charged as the answer
                          it replaces
    ignore_max            the maximum is not honoured
    close_idle            the connection is closed after the answer, unannounced
    stale_next            the next request on this connection is dropped without a byte
    times=N [id=NAME]     only the first N calls with this id (default: the directive's own text) misbehave
"""
