"""How kinds of tokens have been misread elsewhere: thoughts, media, what tools put into a prompt, nothing.

Each trap has the thread that reported it: `litellm #n` and others are issues or pull requests of the project
named. Amounts are counts; what they cost is tested with the prices.
"""

from __future__ import annotations

from typing import Any

import pytest

from metering.usage import Usage
from metering.usage.readers import READERS
from metering.usage.reading import COUNT_MAX
from tests.metering.answers import chat, gemini, message, read, usage


@pytest.mark.parametrize(
    "reader", ["openai.chat", "openai.responses", "anthropic.messages", "gemini.generate", "bedrock.converse"]
)
def test_an_answer_that_reports_nothing_is_not_one_that_used_nothing(reader: str) -> None:
    """litellm #37992, #34887; swe-agent #577: missing is None, and an explicit 0 is 0."""
    for empty in ({}, {"usage": None}, {"usage": {}}, {"usageMetadata": {}}, {"usage": "none"}):
        assert read(reader, empty).usage is None
    zeros: dict[str, dict[str, Any]] = {
        "openai.chat": chat(prompt_tokens=0, completion_tokens=0, total_tokens=0),
        "openai.responses": {"usage": {"input_tokens": 0, "output_tokens": 0}},
        "anthropic.messages": message(input_tokens=0, output_tokens=0),
        "gemini.generate": gemini(promptTokenCount=0, candidatesTokenCount=0),
        "bedrock.converse": {"usage": {"inputTokens": 0, "outputTokens": 0}},
    }
    assert usage(reader, zeros[reader]) == Usage()


THINKING = Usage(input_tokens=10, output_tokens=50, reasoning_output_tokens=30)


@pytest.mark.parametrize(
    ("reader", "answer"),
    [
        (
            "openai.chat",
            chat(
                prompt_tokens=10,
                completion_tokens=50,
                total_tokens=60,
                completion_tokens_details={"reasoning_tokens": 30},
            ),
        ),
        (  # xAI: beside, as its total shows
            "openai.chat",
            chat(
                prompt_tokens=10,
                completion_tokens=20,
                total_tokens=60,
                completion_tokens_details={"reasoning_tokens": 30},
            ),
        ),
        (  # beside, as no part can exceed its whole
            "openai.chat",
            chat(prompt_tokens=10, completion_tokens=20, reasoning_tokens=30),
        ),
        (  # Perplexity: beside, and its total does not show it
            "openai.chat",
            chat(
                prompt_tokens=10,
                completion_tokens=20,
                total_tokens=30,
                reasoning_tokens=30,
                num_search_queries=0,
            ),
        ),
        (
            "gemini.generate",
            gemini(promptTokenCount=10, candidatesTokenCount=20, thoughtsTokenCount=30, totalTokenCount=60),
        ),
        (  # inside, as the total shows
            "gemini.generate",
            gemini(promptTokenCount=10, candidatesTokenCount=50, thoughtsTokenCount=30, totalTokenCount=60),
        ),
        (
            "anthropic.messages",
            message(input_tokens=10, output_tokens=50, output_tokens_details={"thinking_tokens": 30}),
        ),
    ],
)
def test_thoughts_are_inside_the_output_once(reader: str, answer: dict[str, Any]) -> None:
    """litellm #10567, #35925, #38424, #39850: uncounted, at the wrong tier, or twice."""
    assert usage(reader, answer) == THINKING


def test_what_geminis_tools_put_into_the_prompt_is_input() -> None:
    answer = gemini(
        promptTokenCount=257,
        toolUsePromptTokenCount=1_732,
        candidatesTokenCount=170,
        thoughtsTokenCount=773,
        totalTokenCount=2_932,
    )
    assert usage("gemini.generate", answer) == Usage(
        input_tokens=1_989, output_tokens=943, reasoning_output_tokens=773
    )


def test_kinds_of_media_are_told_apart_and_inside_their_totals() -> None:
    """litellm #19764, #17410, #19500: audio and images at the rate of text."""
    answer = gemini(
        promptTokenCount=100,
        promptTokensDetails=[
            {"modality": "TEXT", "tokenCount": 10},
            {"modality": "AUDIO", "tokenCount": 20},
            {"modality": "IMAGE", "tokenCount": 30},
            {"modality": "DOCUMENT", "tokenCount": 5},
            {"modality": "VIDEO", "tokenCount": 35},
        ],
        cachedContentTokenCount=25,
        cacheTokensDetails=[{"modality": "AUDIO", "tokenCount": 15}, {"modality": "IMAGE", "tokenCount": 10}],
        candidatesTokenCount=8,
        candidatesTokensDetails=[
            {"modality": "AUDIO", "tokenCount": 6},
            {"modality": "IMAGE", "tokenCount": 2},
        ],
    )
    assert usage("gemini.generate", answer) == Usage(
        input_tokens=100,
        cache_read_input_tokens=25,
        input_audio_tokens=20,
        input_image_tokens=35,
        cache_read_audio_tokens=15,
        output_tokens=8,
        output_audio_tokens=6,
        output_image_tokens=2,
        extra=(("cache_read_image_tokens", 10), ("input_video_tokens", 35)),
    )
    spoken = chat(
        prompt_tokens=20,
        completion_tokens=592,
        prompt_tokens_details={"audio_tokens": 14},
        completion_tokens_details={"audio_tokens": 482},
    )
    found = usage("openai.chat", spoken)
    assert (found.input_audio_tokens, found.output_audio_tokens) == (14, 482)


@pytest.mark.parametrize("reader", sorted(READERS))
@pytest.mark.parametrize(
    "value", [None, -5, 1e400, float("nan"), "12", [1], {"a": 1}, True, 10**30], ids=repr
)
def test_no_figure_breaks_a_reader_or_counts_absurdly(reader: str, value: Any) -> None:
    """new-api #3259, #5005 (negative counts); llmgateway #3546 ($17 for an invented count)."""
    names = (
        "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "inputTokens",
        "outputTokens", "totalTokens", "cacheReadInputTokens", "cache_read_input_tokens", "cached_tokens",
        "cache_creation_input_tokens", "promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount",
        "totalTokenCount", "cost", "billed_units", "tokens", "iterations", "server_tool_use",
        "prompt_tokens_details", "completion_tokens_details", "cache_creation", "promptTokensDetails",
    )  # fmt: skip
    figures = dict.fromkeys(names, value)
    for answer in (
        {"usage": figures, "usageMetadata": figures, "meta": figures, "delta": figures},
        {"usage": value, "usageMetadata": value, "message": value, "response": value, "candidates": value},
        {"response": {"usage": figures, "output": value}, "message": {"usage": figures}, "metadata": value},
        {"type": value, "model": value, "service_tier": value, "x_groq": value, "predictions": value},
    ):
        found = read(reader, answer).usage
        if found is not None:
            counted = found.document()
            assert all(type(count) is int and 0 <= count <= 4 * COUNT_MAX for count in counted.values())
