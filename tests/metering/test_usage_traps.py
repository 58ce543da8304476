"""The ways in which usage has been misread elsewhere, each with the thread that reported it, on every reader.

Thread numbers: `litellm #n` and others are issues or pull requests of the project named. Amounts are counts;
what they cost is tested with the prices.
"""

from __future__ import annotations

from typing import Any

import pytest

from metering.usage import Usage
from metering.usage.bedrock import read_invoke_headers
from metering.usage.readers import READERS
from metering.usage.reading import COUNT_MAX, NOTHING, Reading


def read(reader: str, *events: dict[str, Any]) -> Reading:
    reading = NOTHING
    for event in events:
        reading = READERS[reader](event, reading)
    return reading


def usage(reader: str, *events: dict[str, Any]) -> Usage:
    found = read(reader, *events).usage
    assert found is not None
    return found


def chat(**figures: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [], "usage": figures}


def message(**figures: Any) -> dict[str, Any]:
    return {"model": "claude", "usage": figures}


def gemini(**figures: Any) -> dict[str, Any]:
    return {"modelVersion": "gemini", "usageMetadata": figures}


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


START = {
    "type": "message_start",
    "message": {
        "model": "claude-sonnet-5",
        "usage": {
            "input_tokens": 100,
            "cache_read_input_tokens": 40,
            "cache_creation_input_tokens": 60,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 40},
            "output_tokens": 2,
            "service_tier": "standard",
        },
    },
}


def delta(**figures: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": figures}


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


def test_a_later_zero_replaces_cache_writes_and_their_division() -> None:
    """sub2api #6125; litellm `zero_creation_tokens_and_ephemeral_details`; peers: zero must overwrite."""
    found = usage("anthropic.messages", START, delta(cache_creation_input_tokens=0, output_tokens=9))
    assert found == Usage(input_tokens=140, cache_read_input_tokens=40, output_tokens=9)
    kept = usage("anthropic.messages", START, delta(cache_creation_input_tokens=60, output_tokens=9))
    assert kept.cache_write_1h_input_tokens == 40


def test_a_null_in_a_delta_changes_nothing() -> None:
    """litellm #37992."""
    found = usage("anthropic.messages", START, delta(cache_read_input_tokens=None, output_tokens=9))
    assert found.cache_read_input_tokens == 40


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


def test_groqs_usage_under_x_groq_is_found_and_not_added_to_the_usual_one() -> None:
    """The first chunk names only an id there; the last has the figures, in either place or both."""
    figures = {"prompt_tokens": 343, "completion_tokens": 180}
    assert usage("openai.chat", {"x_groq": {"id": "r"}}, {"x_groq": {"usage": figures}}) == Usage(
        input_tokens=343, output_tokens=180
    )
    assert usage("openai.chat", {"usage": figures, "x_groq": {"usage": figures}}).input_tokens == 343


@pytest.mark.parametrize(
    ("figures", "nano"),
    [
        # `cost` is charged; cost_details are its parts.
        ({"cost": 0.00183, "cost_details": {"upstream_inference_cost": 0.00183}}, 1_830_000),
        ({"cost": 0.0004970133333333333, "is_byok": False}, 497_013),
        # Above its upstream's bill: it includes more than inference.
        (
            {"cost": 0.0160614, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.0001764}},
            16_061_400,
        ),
        # The caller's own key pays the upstream.
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.0003253}}, 325_300),
        ({"cost": 0.00001, "cost_details": {"upstream_inference_cost": 0.0002}}, 210_000),
        ({"cost": 0.0001, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.0002}}, 100_000),
        ({"cost": 0, "cost_details": None}, 0),
        # Others' names for it.
        ({"cost": {"total_cost": 0.006, "request_cost": 0.005}}, 6_000_000),
        ({"cost_in_usd_ticks": 37_756_000}, 3_775_600),
        ({"estimated_cost": 8.775e-06}, 8_775),
        # Nothing, or nothing that is an amount.
        ({}, None),
        ({"cost": "0.1"}, None),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost_in_usd_ticks": 1.5}, None),
    ],
)
def test_a_reported_cost_is_the_bill_and_its_parts_are_not_added(
    figures: dict[str, Any], nano: int | None
) -> None:
    """preloop #224 (`cost` and its details both counted); opencode #454, #20937; litellm #16021, #38802."""
    answer = chat(prompt_tokens=1, completion_tokens=1, **figures)
    assert read("openai.chat", answer).reported_nano == nano
    response = {"usage": {"input_tokens": 1, "output_tokens": 1, **figures}}
    assert read("openai.responses", response).reported_nano == nano


@pytest.mark.parametrize(
    ("reader", "answer", "served"),
    [
        ("openai.chat", {**chat(prompt_tokens=1), "service_tier": "default"}, "default"),
        ("openai.chat", {**chat(prompt_tokens=1), "service_tier": "on_demand"}, "default"),
        ("openai.chat", {**chat(prompt_tokens=1), "service_tier": None}, None),
        ("openai.responses", {"usage": None, "service_tier": "priority"}, "priority"),
        ("anthropic.messages", message(input_tokens=1, service_tier="batch"), "batch"),
        ("anthropic.messages", message(input_tokens=1, service_tier="standard"), "default"),
        ("anthropic.messages", message(input_tokens=1, service_tier="standard", speed="fast"), "fast"),
        ("gemini.generate", gemini(promptTokenCount=1, serviceTier="standard"), "default"),
        ("gemini.generate", gemini(promptTokenCount=1, trafficType="ON_DEMAND_PRIORITY"), "priority"),
        ("gemini.generate", gemini(promptTokenCount=1, trafficType="PROVISIONED_THROUGHPUT"), "provisioned"),
        ("gemini.generate", gemini(promptTokenCount=1, trafficType="TRAFFIC_TYPE_UNSPECIFIED"), None),
        ("bedrock.converse", {"usage": {"inputTokens": 1}, "serviceTier": {"type": "flex"}}, "flex"),
        ("bedrock.converse", {"usage": None, "performanceConfig": {"latency": "optimized"}}, "optimized"),
    ],
)
def test_the_tier_is_the_one_that_served(reader: str, answer: dict[str, Any], served: str | None) -> None:
    """litellm #13810, #31837, #37046, #38802: billed at the tier that was asked for."""
    assert read(reader, answer).service_tier == served


def test_the_last_word_on_the_tier_counts() -> None:
    chunks = [
        {"service_tier": "auto", "choices": []},
        {"service_tier": "flex", "choices": []},
        {"choices": []},
    ]
    assert read("openai.chat", *chunks).service_tier == "flex"


def test_the_served_model_is_the_answers() -> None:
    """litellm #41344, #39294: a fallback at the provider was billed as the model that was asked for."""
    found = read("openai.chat", {"model": "a", "choices": []}, {"model": "b", "choices": []})
    assert found.model == "b"
    assert read("gemini.generate", {"modelVersion": "models/gemini-2.5-pro"}).model == "gemini-2.5-pro"
    assert read("anthropic.messages", START, delta(output_tokens=1)).model == "claude-sonnet-5"


def test_calls_of_server_tools_are_counted_where_each_format_has_them() -> None:
    """litellm #15740 and peers: searches are billed beside tokens."""
    search = {"type": "web_search_call", "action": {"type": "search", "query": "x"}}
    response = {
        "output": [
            search,
            search,
            {"type": "web_search_call", "action": {"type": "open_page"}},
            {"type": "file_search_call"},
            {"type": "code_interpreter_call", "container_id": "c1"},
            {"type": "code_interpreter_call", "container_id": "c1"},
            {"type": "code_interpreter_call", "container_id": "c2"},
            {"type": "function_call"},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    expected = {"web_searches": 2, "storage_searches": 1, "code_sessions": 2}
    assert dict(usage("openai.responses", response).extra) == expected
    counted = {**response, "tool_usage": {"web_search": {"num_requests": 5}}}
    assert dict(usage("openai.responses", counted).extra) == expected | {"web_searches": 5}
    answer = message(
        input_tokens=1,
        output_tokens=1,
        server_tool_use={"web_search_requests": 3, "web_fetch_requests": 2, "code_execution_requests": 1},
    )
    assert dict(usage("anthropic.messages", answer).extra) == {"web_searches": 3, "code_executions": 1}
    openrouter = chat(
        prompt_tokens=1, completion_tokens=1, server_tool_use_details={"web_search_requests": 1}
    )
    assert dict(usage("openai.chat", openrouter).extra) == {"web_searches": 1}
    perplexity = chat(prompt_tokens=1, completion_tokens=1, citation_tokens=9, num_search_queries=4)
    found = usage("openai.chat", perplexity)
    assert (found.output_tokens, dict(found.extra)) == (10, {"citation_output_tokens": 9, "web_searches": 4})


def test_a_tool_nobody_knows_keeps_its_name_and_makes_the_cost_unknown() -> None:
    """litellm #24770: what is unknown is not free."""
    answer = message(input_tokens=1, output_tokens=1, server_tool_use={"telepathy_requests": 2})
    assert dict(usage("anthropic.messages", answer).extra) == {"telepathy_requests": 2}
    converse = {"inputTokens": 1, "outputTokens": 1, "serverToolUsage": {"webSearchRequests": 1, "other": 2}}
    assert dict(usage("bedrock.converse", {"usage": converse}).extra) == {"web_searches": 1, "other": 2}


def test_geminis_queries_are_counted_once_over_a_stream() -> None:
    def grounded(*queries: str) -> dict[str, Any]:
        grounding = {"webSearchQueries": list(queries)}
        return {"candidates": [{"groundingMetadata": grounding}], **gemini(promptTokenCount=5)}

    assert dict(usage("gemini.generate", grounded("a", "b"), grounded("a", "b")).extra) == {"web_searches": 2}
    assert dict(usage("gemini.generate", grounded("a"), grounded("", "c"), gemini()).extra) == {
        "web_searches": 2
    }


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


def test_an_advisers_tokens_are_billed_at_its_own_model() -> None:
    """Anthropic's advisor: the totals hold the answering model's calls; the adviser's stand beside them."""
    calls = [
        {"type": "message", "input_tokens": 1_128, "output_tokens": 121},
        {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2_529, "output_tokens": 38},
        {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 1, "output_tokens": 1},
        {"type": "message", "input_tokens": 1_289, "output_tokens": 12},
    ]
    found = read("anthropic.messages", message(input_tokens=2_417, output_tokens=133, iterations=calls))
    assert found.usage == Usage(input_tokens=2_417, output_tokens=133)
    assert found.elsewhere == (("claude-opus-4-8", Usage(input_tokens=2_530, output_tokens=39, requests=0)),)


def test_a_compaction_is_billed_beside_the_totals_and_not_if_they_include_it() -> None:
    calls = [
        {"type": "compaction", "input_tokens": 900, "output_tokens": 90},
        {"type": "message", "input_tokens": 100, "output_tokens": 10},
    ]
    beside = message(input_tokens=100, output_tokens=10, iterations=calls)
    inside = message(input_tokens=1_000, output_tokens=100, iterations=calls)
    for answer in (beside, inside):
        found = read("anthropic.messages", answer)
        assert (found.usage, found.elsewhere) == (Usage(input_tokens=1_000, output_tokens=100), ())


def test_an_image_model_called_as_a_tool_stands_apart() -> None:
    response = {
        "model": "gpt-5",
        "tools": [{"type": "function"}, {"type": "image_generation", "model": "gpt-image-1"}],
        "tool_usage": {"image_gen": {"input_tokens": 40, "output_tokens": 1_056}},
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
    assert read("openai.responses", response).elsewhere == (
        (
            "gpt-image-1",
            Usage(input_tokens=40, output_tokens=1_056, output_image_tokens=1_056, requests=0),
        ),
    )


def test_where_it_was_served_is_said_where_it_has_a_price() -> None:
    regions = [
        read("anthropic.messages", message(input_tokens=1, inference_geo=geo)).region
        for geo in ("us", "global", "not_available", None)
    ]
    assert regions == ["us", None, None, None]


def test_cohere_charges_what_it_bills_and_not_what_it_counts() -> None:
    """Its own preamble is counted (542) and not billed (13)."""
    figures = {
        "billed_units": {"input_tokens": 13, "output_tokens": 61},
        "tokens": {"input_tokens": 542, "output_tokens": 63},
        "cached_tokens": 512,
    }
    expected = Usage(input_tokens=13, output_tokens=61)
    assert usage("cohere.chat", {"usage": figures}) == expected
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": figures}}
    assert usage("cohere.chat", {"type": "content-delta", "delta": {}}, end) == expected
    assert usage("cohere.chat", {"usage": {"tokens": figures["tokens"], "cached_tokens": 512}}) == Usage(
        input_tokens=542, cache_read_input_tokens=512, output_tokens=63
    )
    images = {"meta": {"billed_units": {"input_tokens": 4, "image_tokens": 300}}}
    assert usage("cohere.embed", images) == Usage(input_tokens=304, input_image_tokens=300)


def test_rerank_is_billed_in_searches_or_in_tokens() -> None:
    """litellm-style rerank bridges: Cohere bills search units, Voyage and Jina tokens."""
    searches = {"meta": {"billed_units": {"search_units": 2}}}
    assert dict(usage("rerank", searches).extra) == {"rerank_searches": 2}
    assert usage("rerank", {"model": "rerank-2", "usage": {"total_tokens": 77}}).input_tokens == 77
    assert read("rerank", {"results": []}).usage is None


def test_embeddings_that_count_only_a_total_have_an_input() -> None:
    assert usage("openai.embeddings", {"usage": {"total_tokens": 12}}) == Usage(input_tokens=12)
    assert usage("openai.embeddings", {"usage": {"prompt_tokens": 5, "total_tokens": 5}}).input_tokens == 5
    vertex = {
        "predictions": [{"embeddings": {"statistics": {"token_count": 4}}}] * 2,
        "metadata": {"billableCharacterCount": 21},
    }
    assert usage("gemini.embed", vertex) == Usage(input_tokens=8, extra=(("input_characters", 21),))


def test_invoke_model_reads_each_makers_own_shape() -> None:
    """litellm #33736, #13245: Bedrock without usage."""
    nova = {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}}
    titan = {"inputTextTokenCount": 3, "results": [{"tokenCount": 4}]}
    llama = {"generation": "x", "prompt_token_count": 3, "generation_token_count": 4}
    jamba = {"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
    for answer in (nova, titan, llama, jamba, message(input_tokens=3, output_tokens=4)):
        assert usage("bedrock.invoke", answer) == Usage(input_tokens=3, output_tokens=4)
    embedding = {"embedding": [0.1], "inputTextTokenCount": 5}
    assert usage("bedrock.invoke", embedding) == Usage(input_tokens=5)


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


def test_bedrocks_headers_count_where_its_body_does_not() -> None:
    headers = {"x-amzn-bedrock-input-token-count": "17", "x-amzn-bedrock-output-token-count": "0"}
    silent = read("bedrock.invoke", {"embeddings": [[0.1]]})
    assert read_invoke_headers(headers, silent).usage == Usage(input_tokens=17)
    told = read("bedrock.invoke", message(input_tokens=3, output_tokens=4))
    assert read_invoke_headers(headers, told) is told
    assert read_invoke_headers({}, silent).usage is None


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
