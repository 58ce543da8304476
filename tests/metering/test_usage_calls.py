"""How calls inside a call have been misread elsewhere: tools of the provider, and other models' tokens.

Each trap has the thread that reported it: `litellm #n` and others are issues or pull requests of the project
named. Amounts are counts; what they cost is tested with the prices.
"""

from __future__ import annotations

from typing import Any

from metering.usage import Usage
from tests.metering.answers import chat, gemini, message, read, usage


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
