"""Bedrock's dialect: Converse, and InvokeModel for Anthropic's bodies, each as a document or as a stream.

Reading order: `signature` (who asks, verified) -> `dialect` (ids, errors) -> `models` (what is served, at
what price) -> `prompt` (what is said, and where it is to be cached) -> `cache` (what of it was seen before)
-> `converse` (what is answered) -> `events` and `frames` (how that looks as a stream) -> `invoke`
(Anthropic's answers, framed) -> `rows` (its paths).

Credentials
    The access key and the secret of `signature` (AKIDSIMULATOR), for the service `bedrock` in any region: the
    signature is computed again, and is good for five minutes either way. Or any bearer key but leaked ones.

Models
    global. and us.anthropic.claude-sonnet-4-5-20250929-v1:0, global. and
    us.anthropic.claude-haiku-4-5-20251001-v1:0, amazon.nova-micro-v1:0 (also us.), global. and
    us.amazon.nova-2-lite-v1:0, openai.gpt-oss-120b-1:0; or the ARN of such a profile. InvokeModel answers for
    Anthropic's only.

How it counts
    As OpenAI's chats. `inputTokens` are without what the cache read and wrote; `totalTokens` with it. Cached
    is what lies before a `cachePoint`, from 1,024 tokens on (Claude Haiku: 4,096). A model thinks when its
    maker's field asks for it: Claude 64 tokens, shown and signed; Nova 2 as many as its effort says, not
    shown; the open weights always, by `reasoning_effort`. Thoughts are output, `reasoning=N` sets their
    number. Guardrails, stop sequences, videos and prompt management are not simulated.

Directives, where they differ
    error_in_stream sends `modelStreamErrorException`, or the exception that code=NAME names; malformed=sse
    cuts a frame; usage_twice repeats `metadata`, no_usage leaves it out (with InvokeModel: the counts);
    no_done and tier do nothing.
"""
