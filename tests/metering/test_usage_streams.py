"""How usage in streams has been misread elsewhere: told twice, in parts, in odd places, or not at all.

Each trap has the thread that reported it: `litellm #n` and others are issues or pull requests of the project
named. Amounts are counts; what they cost is tested with the prices.
"""

from __future__ import annotations

from metering.usage import Usage
from tests.metering.answers import START, chat, delta, gemini, read, usage


def test_usage_on_start_and_delta_is_one_usage() -> None:
    """bifrost #2438, #3451; envoy #2290; Langfuse #8808: the later figure replaces, it is not added."""
    expected = Usage(
        input_tokens=200,
        cache_read_input_tokens=40,
        cache_write_5m_input_tokens=20,
        cache_write_1h_input_tokens=40,
        output_tokens=145,
    )
    assert usage("anthropic.messages", START, delta(output_tokens=70), delta(output_tokens=145)) == expected
    whole = {name: START["message"]["usage"][name] for name in ("cache_read_input_tokens",)}  # type: ignore[index]
    assert usage("anthropic.messages", START, delta(input_tokens=100, **whole, output_tokens=145)) == expected
    assert usage("bedrock.invoke", START, delta(output_tokens=145)) == expected


def test_a_stream_cut_after_its_start_still_has_its_input() -> None:
    """portkey #1180: what was read was billed."""
    assert usage("anthropic.messages", START).input_tokens == 200


def test_a_null_in_a_delta_changes_nothing() -> None:
    """litellm #37992."""
    found = usage("anthropic.messages", START, delta(cache_read_input_tokens=None, output_tokens=9))
    assert found.cache_read_input_tokens == 40


def test_cumulative_usage_in_every_chunk_is_not_summed() -> None:
    """Langfuse #8808 (10 times too much); bifrost #2438; helicone #733."""
    chunks = [chat(prompt_tokens=10, completion_tokens=n, total_tokens=10 + n) for n in (1, 2, 3)]
    assert usage("openai.chat", *chunks) == Usage(input_tokens=10, output_tokens=3)
    parts = [gemini(promptTokenCount=10, candidatesTokenCount=n) for n in (1, 2, 3)]
    assert usage("gemini.generate", *parts) == Usage(input_tokens=10, output_tokens=3)


def test_geminis_last_chunk_may_leave_out_what_earlier_ones_said() -> None:
    """Langfuse #8625: a stream that costs nothing."""
    found = usage(
        "gemini.generate",
        gemini(promptTokenCount=10, thoughtsTokenCount=20, trafficType="ON_DEMAND_FLEX"),
        gemini(promptTokenCount=10, candidatesTokenCount=5),
    )
    assert found == Usage(input_tokens=10, output_tokens=25, reasoning_output_tokens=20)
    assert read("gemini.generate", gemini(trafficType="ON_DEMAND")).usage is None


def test_usage_comes_with_choices_too() -> None:
    """litellm #36168 (cached tokens lost, 4 times too much); agentgateway #1089."""
    chunk = chat(prompt_tokens=10, completion_tokens=5, prompt_tokens_details={"cached_tokens": 4})
    chunk["choices"] = [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]
    assert usage("openai.chat", chunk).cache_read_input_tokens == 4


def test_usage_comes_with_an_empty_id() -> None:
    """litellm #6633: only the first such answer was kept."""
    assert usage("openai.chat", {"id": "", **chat(prompt_tokens=1, completion_tokens=1)}).input_tokens == 1


def test_later_chunks_without_usage_do_not_forget_it() -> None:
    """portkey #1259; litellm #35290."""
    last = {"choices": [{"delta": {"content": ""}}], "usage": None}
    assert usage("openai.chat", chat(prompt_tokens=3, completion_tokens=4), last) == Usage(
        input_tokens=3, output_tokens=4
    )


def test_usage_is_nested_under_response_in_a_stream() -> None:
    """bifrost #2438; litellm #35363, #36426 (no usage at all)."""
    created = {
        "type": "response.created",
        "response": {"model": "gpt-5", "usage": None, "service_tier": "auto"},
    }
    completed = {
        "type": "response.completed",
        "response": {
            "model": "gpt-5-2025-08-07",
            "service_tier": "flex",
            "usage": {
                "input_tokens": 20,
                "output_tokens": 30,
                "output_tokens_details": {"reasoning_tokens": 10},
            },
        },
    }
    assert read("openai.responses", created).usage is None
    found = read("openai.responses", created, completed)
    assert found.usage == Usage(input_tokens=20, output_tokens=30, reasoning_output_tokens=10)
    assert (found.model, found.service_tier) == ("gpt-5-2025-08-07", "flex")


def test_a_failure_after_created_has_no_usage() -> None:
    """peers: an error event after response.created."""
    failed = {"type": "response.failed", "response": {"model": "m", "usage": None, "error": {"code": "x"}}}
    assert read("openai.responses", {"type": "error", "message": "x"}, failed).usage is None


def test_groqs_usage_under_x_groq_is_found_and_not_added_to_the_usual_one() -> None:
    """The first chunk names only an id there; the last has the figures, in either place or both."""
    figures = {"prompt_tokens": 343, "completion_tokens": 180}
    assert usage("openai.chat", {"x_groq": {"id": "r"}}, {"x_groq": {"usage": figures}}) == Usage(
        input_tokens=343, output_tokens=180
    )
    assert usage("openai.chat", {"usage": figures, "x_groq": {"usage": figures}}).input_tokens == 343


def test_bedrocks_own_metrics_have_the_last_word_on_a_stream() -> None:
    first = {"generation": "a", "prompt_token_count": 12, "generation_token_count": 1}
    last = {
        "generation": "",
        "prompt_token_count": None,
        "generation_token_count": 9,
        "amazon-bedrock-invocationMetrics": {"inputTokenCount": 12, "outputTokenCount": 9},
    }
    assert usage("bedrock.invoke", first, last) == Usage(input_tokens=12, output_tokens=9)
    stop = {
        "type": "message_stop",
        "amazon-bedrock-invocationMetrics": {
            "inputTokenCount": 100,
            "cacheReadInputTokenCount": 40,
            "cacheWriteInputTokenCount": 60,
            "outputTokenCount": 145,
        },
    }
    found = usage("bedrock.invoke", START, delta(output_tokens=145), stop)
    assert (found.input_tokens, found.cache_write_1h_input_tokens) == (200, 40)
