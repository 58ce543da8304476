"""How counts of cached tokens have been misread elsewhere, on every reader.

Each trap has the thread that reported it: `litellm #n` and others are issues or pull requests of the project
named. Amounts are counts; what they cost is tested with the prices.
"""

from __future__ import annotations

from typing import Any

import pytest

from metering.usage import Usage
from tests.metering.answers import START, chat, delta, gemini, message, usage

CACHED = Usage(input_tokens=1_000, cache_read_input_tokens=800, output_tokens=50)


@pytest.mark.parametrize(
    ("reader", "answer"),
    [
        # Inside the input: OpenAI, Responses, Gemini.
        (
            "openai.chat",
            chat(prompt_tokens=1_000, completion_tokens=50, prompt_tokens_details={"cached_tokens": 800}),
        ),
        (
            "openai.responses",
            {
                "usage": {
                    "input_tokens": 1_000,
                    "input_tokens_details": {"cached_tokens": 800},
                    "output_tokens": 50,
                }
            },
        ),
        (
            "gemini.generate",
            gemini(
                promptTokenCount=1_000,
                cachedContentTokenCount=800,
                candidatesTokenCount=50,
                totalTokenCount=1_050,
            ),
        ),
        # Beside it: Anthropic, Bedrock.
        (
            "anthropic.messages",
            message(input_tokens=200, cache_read_input_tokens=800, output_tokens=50),
        ),
        (
            "bedrock.converse",
            {
                "usage": {
                    "inputTokens": 200,
                    "cacheReadInputTokens": 800,
                    "outputTokens": 50,
                    "totalTokens": 1_050,
                }
            },
        ),
        ("bedrock.invoke", message(input_tokens=200, cache_read_input_tokens=800, output_tokens=50)),
        # DeepSeek's own names for it.
        (
            "openai.chat",
            chat(
                prompt_tokens=1_000,
                completion_tokens=50,
                prompt_cache_hit_tokens=800,
                prompt_cache_miss_tokens=200,
            ),
        ),
    ],
)
def test_cached_tokens_are_inside_the_input_whoever_counts_them(reader: str, answer: dict[str, Any]) -> None:
    """litellm #6215, #11364, #29145; Langfuse #10592; new-api #6459; bifrost #904."""
    assert usage(reader, answer) == CACHED


def test_a_cloud_that_counts_the_cache_inside_is_seen_by_its_total() -> None:
    """litellm #25846, #27745: an inconsistent cache count must neither be added twice nor go negative."""
    inside = {"inputTokens": 1_000, "cacheReadInputTokens": 800, "outputTokens": 50, "totalTokens": 1_050}
    assert usage("bedrock.converse", {"usage": inside}) == CACHED


@pytest.mark.parametrize("hit", [None, 0, 7])
def test_deepseeks_hit_tokens_stand_in_only_where_the_details_say_nothing(hit: int | None) -> None:
    """litellm #37992 and the oracle's own fault: an explicit 0 is an answer, a missing field is none."""
    details = {} if hit is None else {"cached_tokens": hit}
    answer = chat(
        prompt_tokens=100, completion_tokens=1, prompt_tokens_details=details, prompt_cache_hit_tokens=64
    )
    assert usage("openai.chat", answer).cache_read_input_tokens == (64 if hit is None else hit)


def test_cached_tokens_survive_translation_by_others() -> None:
    """new-api #6144, #6883; litellm-proxied vercel #39088: the top-level spelling."""
    assert usage("openai.chat", chat(prompt_tokens=9, completion_tokens=1, cached_tokens=8)) == Usage(
        input_tokens=9, cache_read_input_tokens=8, output_tokens=1
    )


def test_cache_writes_are_inside_the_input_and_not_on_top() -> None:
    """litellm #5443, #6575, #33772, #34801; bifrost #3451."""
    answer = chat(
        prompt_tokens=12_317, completion_tokens=5, prompt_tokens_details={"cache_write_tokens": 12_314}
    )
    assert usage("openai.chat", answer) == Usage(
        input_tokens=12_317, cache_write_5m_input_tokens=12_314, output_tokens=5
    )
    response = {
        "usage": {
            "input_tokens": 4_020,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 4_012},
            "output_tokens": 5,
        }
    }
    assert usage("openai.responses", response).cache_write_5m_input_tokens == 4_012


def test_mistrals_count_of_its_engines_cache_is_no_discount() -> None:
    """Only cached_tokens is billed less: docs.mistral.ai/studio-api/conversations/advanced/prompt-caching."""
    answer = chat(prompt_tokens=64, completion_tokens=6, num_cached_tokens=48)
    assert usage("openai.chat", answer).cache_read_input_tokens == 0


def test_a_later_zero_replaces_cache_writes_and_their_division() -> None:
    """sub2api #6125; litellm `zero_creation_tokens_and_ephemeral_details`; peers: zero must overwrite."""
    found = usage("anthropic.messages", START, delta(cache_creation_input_tokens=0, output_tokens=9))
    assert found == Usage(input_tokens=140, cache_read_input_tokens=40, output_tokens=9)
    kept = usage("anthropic.messages", START, delta(cache_creation_input_tokens=60, output_tokens=9))
    assert kept.cache_write_1h_input_tokens == 40


def test_cache_writes_of_both_lives_are_counted_once() -> None:
    """sub2api #6125: the sum is not a third kind. Where the division is short, the rest lives 5 minutes."""
    both = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}
    answer = message(input_tokens=1, cache_creation_input_tokens=300, cache_creation=both, output_tokens=1)
    found = usage("anthropic.messages", answer)
    assert (found.input_tokens, found.cache_write_5m_input_tokens, found.cache_write_1h_input_tokens) == (
        301,
        100,
        200,
    )
    answer = message(input_tokens=1, cache_creation_input_tokens=350, cache_creation=both, output_tokens=1)
    assert usage("anthropic.messages", answer).cache_write_5m_input_tokens == 150
    answer = message(input_tokens=1, cache_creation=both, output_tokens=1)
    assert usage("anthropic.messages", answer).input_tokens == 301
    converse = {
        "inputTokens": 3,
        "cacheWriteInputTokens": 300,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 200}, {"ttl": "5m", "inputTokens": 100}],
        "outputTokens": 7,
        "totalTokens": 310,
    }
    assert usage("bedrock.converse", {"usage": converse}) == Usage(
        input_tokens=303, cache_write_5m_input_tokens=100, cache_write_1h_input_tokens=200, output_tokens=7
    )
