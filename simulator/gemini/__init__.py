"""Google's dialect: Gemini at its own API and at Vertex AI.

Reading order: `dialect` (ids, headers, credentials, errors) -> `models` (what is served, at what price) ->
`prompt` (what is said and how much it is) -> `generate` (what is asked) -> `answer` (what is answered) ->
`events` (how that looks as a stream) -> `embeddings`, `lists` (vectors; models) -> `rows`.

Paths, of `v1beta` and `v1`
    POST   /v1beta/models/{model}:generateContent, :streamGenerateContent, :countTokens, :embedContent,
           :batchEmbedContents
    GET    /v1beta/models, /v1beta/models/{model}    (of `v1` when `x-goog-api-key` is sent)
    POST   /{version}/projects/{project}/locations/{location}/publishers/google/models/{model}:... and, for
           express mode, /{version}/publishers/google/models/{model}:..., with :predict for embeddings

`x-goog-api-key`, `?key=` or a bearer token; at Vertex AI a bearer token, or the key in the header. The id on
the bill is `responseId` when the client sends none. Streams are events with `?alt=sse`, else one JSON array,
and then their errors are in one too.

How it counts
    Only the pieces of texts, and of functions as JSON; an image or a page of a document counts 258. Prefixes
    of 1,024 tokens or more are cached without being asked, in steps of 128: `cachedContentTokenCount` is
    inside the prompt. Thoughts are outside of the candidate, cost what it costs and are within
    `maxOutputTokens`: 128 tokens, by `thinkingLevel` 0, 64, 128, 256, at most the `thinkingBudget`; 2.5 Pro
    and 3.1 Pro cannot do without. They pass unseen before the first byte of a stream's text. Every document
    of a stream has the usage until then; each carries 4 tokens, the last none.
    A request that searches (`googleSearch`; one query, or `searches=N`) costs $0.035 up to Gemini 2.5, $0.014
    for each query from Gemini 3 on. Prompts of Pro models above 200,000 tokens cost more as a whole.
    Embeddings report no usage, but for `predict`. Counting tokens costs nothing but has its line on the bill.

What it does not do: audio, video, files, explicit caches (`cachedContent` is refused), code execution,
several candidates; `stopSequences` and safety settings are read and change nothing. From Gemini 3 on a
function call of the turn that still runs must come back with its signature. `no_done` leaves out the document
that says why the answer ends.
"""
