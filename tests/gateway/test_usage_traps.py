"""Answers that other gateways were caught out by, in OpenAI's format: one test each, named by its thread.

A server answers what the thread reports; what the event must say of usage and cost is worked out by hand,
from the rates in dollars for a million tokens that stand beside each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest

from gateway.settings import ProviderSettings, Settings
from metering.event import CostEvent
from tests.gateway.replay import Replay
from tests.stack import Stack, running_stack

PRICES = {"openai": "openai", "xai": "x-ai", "openrouter": "openrouter", "mistral": "mistral", "groq": "groq"}
MINI = "openai/gpt-4o-mini"  # 0.15 in, 0.075 cached, 0.60 out


@pytest.fixture(scope="module")
def stack(replay: Replay) -> Iterator[Stack]:
    providers = {
        name: ProviderSettings(base_url=f"http://127.0.0.1:{replay.port}/{name}", prices=prices, models=[])
        for name, prices in PRICES.items()
    }
    with running_stack(Settings(providers=providers)) as started:
        yield started


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    return stack.key(name="traps")


def chunk(usage: Any = ..., **fields: Any) -> dict[str, Any]:
    found = {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": []} | fields
    return found if usage is ... else {**found, "usage": usage}


def text(content: str, finish: str | None = None, usage: Any = ..., **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return chunk(usage, choices=[choice], **fields)


def stream_of(*chunks: dict[str, Any] | str, done: bool = True) -> str:
    events = [
        each if isinstance(each, str) else f"data: {orjson.dumps(each).decode()}\n\n" for each in chunks
    ]
    return "".join(events) + ("data: [DONE]\n\n" if done else "")


class Asker:
    def __init__(self, stack: Stack, replay: Replay, secret: str) -> None:
        self._stack, self._replay, self._secret = stack, replay, secret

    def ask(self, model: str, *, stream: str | None = None, response: Any = None, **fields: Any) -> CostEvent:
        exchange: dict[str, Any] = {"status": 200}
        exchange |= {"stream": stream} if stream is not None else {"response": response}
        self._replay.exchange = exchange
        body = {"model": model, "messages": [{"role": "user", "content": "Hello."}], **fields}
        self.answer = httpx2.post(
            f"{self._stack.base_url}/chat/completions",
            json=body | ({"stream": True} if stream is not None else {}),
            headers={"Authorization": f"Bearer {self._secret}"},
            timeout=60,
        )
        return self._stack.event(self.answer.headers["x-request-id"])


@pytest.fixture
def asker(stack: Stack, replay: Replay, secret: str) -> Asker:
    return Asker(stack, replay, secret)


def whole(model: str, usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "a1",
        "object": "chat.completion",
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
        ],
        "usage": usage,
    }


def tokens(given: int, made: int, *, cached: int | None = None, **inside: int) -> dict[str, Any]:
    found: dict[str, Any] = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
    details = dict(inside) | ({} if cached is None else {"cached_tokens": cached})
    return {**found, "prompt_tokens_details": details} if details else found


def test_cached_tokens_are_inside_the_prompt_and_not_beside_it_langfuse_10592(asker: Asker) -> None:
    event = asker.ask(MINI, response=whole("gpt-4o-mini", tokens(10_000, 100, cached=9_000)))
    assert event.usage is not None
    assert (event.usage["input_tokens"], event.usage["cache_read_input_tokens"]) == (10_000, 9_000)
    assert event.cost_nano == 1_000 * 150 + 9_000 * 75 + 100 * 600


def test_cached_tokens_are_not_priced_as_input_bifrost_904(asker: Asker) -> None:
    cached = asker.ask(MINI, response=whole("gpt-4o-mini", tokens(10_000, 0, cached=10_000)))
    fresh = asker.ask(MINI, response=whole("gpt-4o-mini", tokens(10_000, 0, cached=0)))
    assert (cached.cost_nano, fresh.cost_nano) == (10_000 * 75, 10_000 * 150)


def test_cached_tokens_of_a_stream_are_kept_langfuse_13811(asker: Asker) -> None:
    event = asker.ask(
        MINI, stream=stream_of(text("Hi"), text("", "stop"), chunk(tokens(10_000, 100, cached=9_000)))
    )
    assert event.cost_nano == 1_000 * 150 + 9_000 * 75 + 100 * 600


def test_usage_that_every_chunk_repeats_is_not_added_up_langfuse_8808(asker: Asker) -> None:
    chunks = [text("x", usage=tokens(50, n)) for n in range(1, 11)]
    event = asker.ask(
        "mistral/mistral-small-latest", stream=stream_of(*chunks, text("", "stop", tokens(50, 10)))
    )
    assert event.usage is not None
    assert (event.usage["input_tokens"], event.usage["output_tokens"]) == (50, 10)
    assert event.cost_nano == 50 * 150 + 10 * 600


def test_usage_in_a_chunk_that_has_choices_counts_litellm_36168(asker: Asker) -> None:
    event = asker.ask(MINI, stream=stream_of(text("Hi"), text("", "stop", tokens(4_000, 10, cached=3_000))))
    assert event.usage_source == "provider"
    assert event.cost_nano == 1_000 * 150 + 3_000 * 75 + 10 * 600
    # It is part of the answer, so the client sees it.
    assert b'"cached_tokens":3000' in asker.answer.content


def test_usage_in_mistrals_last_chunk_counts_portkey_1259(asker: Asker) -> None:
    event = asker.ask(
        "mistral/mistral-small-latest", stream=stream_of(text("Hi"), text("", "stop", tokens(7, 2)))
    )
    assert event.usage_source == "provider"
    assert event.cost_nano == 7 * 150 + 2 * 600


def test_usage_under_groqs_own_name_counts_once_groq_x_groq(asker: Asker) -> None:
    last = text("", "stop", x_groq={"id": "r", "usage": tokens(1_000, 20)})
    event = asker.ask("groq/openai/gpt-oss-20b", stream=stream_of(text("Hi"), last))
    assert event.cost_nano == 1_000 * 75 + 20 * 300
    both = {**last, "usage": tokens(1_000, 20)}
    event = asker.ask("groq/openai/gpt-oss-20b", stream=stream_of(text("Hi"), both))
    assert event.cost_nano == 1_000 * 75 + 20 * 300


def test_a_usage_chunk_with_an_empty_id_belongs_to_its_own_request_litellm_6633(asker: Asker) -> None:
    events = [
        asker.ask(MINI, stream=stream_of(text("Hi", "stop"), chunk(tokens(9, n), id=""))) for n in (1, 2)
    ]
    assert [event.cost_nano for event in events] == [9 * 150 + 600, 9 * 150 + 2 * 600]
    assert events[0].id != events[1].id


def test_an_explicit_zero_is_not_taken_for_missing_litellm_37992(asker: Asker) -> None:
    event = asker.ask(MINI, response=whole("gpt-4o-mini", tokens(0, 0)))
    assert (event.usage_source, event.cost_nano, event.cost_status) == ("provider", 0, "priced")
    event = asker.ask(MINI, response=whole("gpt-4o-mini", tokens(100, 0, cached=0)))
    assert (event.usage_source, event.cost_nano) == ("provider", 100 * 150)


def test_xais_reasoning_stands_beside_its_completion_new_api_6144(asker: Asker) -> None:
    usage = {
        "prompt_tokens": 1_000,
        "completion_tokens": 10,
        "total_tokens": 1_210,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 200},
    }
    event = asker.ask("xai/grok-4.3", response=whole("grok-4.3", usage))
    assert event.usage is not None
    assert event.usage["output_tokens"] == 210
    # 1.25 in, 0.20 cached, 2.50 out.
    assert event.cost_nano == 400 * 1_250 + 600 * 200 + 210 * 2_500


def test_a_broken_count_of_cached_tokens_never_makes_a_credit_new_api_3259(asker: Asker) -> None:
    event = asker.ask(MINI, response=whole("gpt-4o-mini", tokens(100, 10, cached=-50)))
    assert event.cost_nano == 100 * 150 + 10 * 600
    event = asker.ask(MINI, response=whole("gpt-4o-mini", tokens(100, 10, cached=500)))
    assert event.cost_nano is not None
    assert event.cost_nano >= 10 * 600


def test_tokens_written_to_a_cache_are_counted_once_bifrost_3451(asker: Asker) -> None:
    # 3 in, 0.30 cached, 3.75 written, 15 out; the stream repeats its usage.
    usage = tokens(10_000, 100, cached=2_000, cache_write_tokens=7_000)
    event = asker.ask(
        "openrouter/anthropic/claude-sonnet-4.5",
        stream=stream_of(text("Hi", usage=usage), text("", "stop", usage), chunk(usage)),
    )
    assert event.cost_nano == 1_000 * 3_000 + 2_000 * 300 + 7_000 * 3_750 + 100 * 15_000


def test_a_bill_and_its_details_are_not_added_preloop_224(asker: Asker) -> None:
    usage = tokens(100, 10) | {
        "cost": 0.5,
        "cost_details": {"upstream_inference_cost": 0.5},
        "is_byok": False,
    }
    event = asker.ask(
        MINI.replace("openai/", "openrouter/openai/"), response=whole("openai/gpt-4o-mini", usage)
    )
    assert (event.cost_status, event.cost_nano) == ("provider_reported", 500_000_000)


def test_the_usage_that_only_the_gateway_asked_for_is_hidden_and_counted_litellm_35290(
    asker: Asker, replay: Replay
) -> None:
    usage = tokens(10, 900) | {"completion_tokens_details": {"reasoning_tokens": 880}}
    event = asker.ask(MINI, stream=stream_of(text("Hi"), text("", "stop"), chunk(usage)))
    assert replay.asked["stream_options"] == {"include_usage": True}
    assert b'"usage":{' not in asker.answer.content
    assert event.usage is not None
    assert event.usage["reasoning_output_tokens"] == 880
    assert event.cost_nano == 10 * 150 + 900 * 600


def test_an_error_inside_a_stream_of_status_200_is_no_success_litellm_24004(asker: Asker) -> None:
    error = {"error": {"message": "The server had an error.", "type": "server_error"}}
    event = asker.ask(MINI, stream=stream_of(text("Hi"), error))
    assert (event.status, event.error_code) == ("cut", "error_in_stream")


def test_a_stream_that_ends_without_its_last_word_is_no_success_portkey_1797(asker: Asker) -> None:
    event = asker.ask(MINI, stream=stream_of(text("Hi"), text(" there"), done=False))
    assert event.status == "cut"
    assert b'"error"' in asker.answer.content
    assert b"[DONE]" not in asker.answer.content


def test_a_dead_stream_is_never_estimated_beyond_its_maximum_llmgateway_3546(asker: Asker) -> None:
    pieces = [text("word word word word ") for _ in range(200)]
    event = asker.ask(MINI, stream=stream_of(*pieces, done=False), max_tokens=50)
    assert event.usage_source == "estimated"
    assert event.usage is not None
    assert event.usage["output_tokens"] <= 50


def test_comments_between_events_are_no_usage_and_no_end_openrouter_processing(asker: Asker) -> None:
    waiting = ": OPENROUTER PROCESSING\n\n"
    event = asker.ask(
        MINI, stream=stream_of(waiting, waiting, text("Hi"), waiting, text("", "stop"), chunk(tokens(5, 1)))
    )
    assert (event.status, event.cost_nano) == ("succeeded", 5 * 150 + 600)
    assert asker.answer.content.count(b"OPENROUTER PROCESSING") == 3


def test_a_client_that_leaves_at_the_last_word_is_billed_by_usage_envoy_2563(
    stack: Stack, replay: Replay, secret: str
) -> None:
    """Clients close on `[DONE]`, before the connection's end: what came before it counts."""
    replay.exchange = {
        "status": 200,
        "stream": stream_of(text("Hi"), text("", "stop"), chunk(tokens(5_000, 7, cached=4_000))),
    }

    async def leave() -> str:
        async with (
            httpx2.AsyncClient(timeout=60) as client,
            client.stream(
                "POST",
                f"{stack.base_url}/chat/completions",
                json={"model": MINI, "stream": True, "messages": [{"role": "user", "content": "Hello."}]},
                headers={"Authorization": f"Bearer {secret}"},
            ) as answer,
        ):
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    break
            return str(answer.headers["x-request-id"])

    event = stack.event(asyncio.run(leave()))
    assert event.usage_source == "provider"
    assert event.cost_nano == 1_000 * 150 + 4_000 * 75 + 7 * 600
