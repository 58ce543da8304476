"""Bedrock's dialect: Converse, and InvokeModel for Anthropic's bodies, each as a document or as a stream.

Reading order: `signature` (who asks, verified) -> `dialect` (ids, errors) -> `models` (what is served, at
what price) -> `prompt` (what is said, and where it is to be cached) -> `cache` (what of it was seen before)
-> `converse` (what is answered) -> `events` and `frames` (how that looks as a stream) -> `invoke`
(Anthropic's answers, framed).
"""
