"""Anthropic's prompt cache: what is read, written and paid, with its client and, for the clock, without."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from simulator.anthropic.cache import Cached, MarkedCache
from simulator.anthropic.prompt import read_blocks
from simulator.process import Simulator
from tests.simulator.claude import ask

# Nano-dollars for a token of opus 4.8: fresh, read, written for five minutes and an hour, said.
FRESH, READ, WRITTEN_5M, WRITTEN_1H, OUTPUT = 5_000, 500, 6_250, 10_000, 25_000


def block(words: int, name: str, ttl: str | None = None) -> dict[str, Any]:
    """A text of so many tokens, with a mark."""
    text = " ".join([name] * words)
    control = {"type": "ephemeral"} if ttl in (None, "5m") else {"type": "ephemeral", "ttl": ttl}
    return {"type": "text", "text": text, "cache_control": control}


def question(text: str = "Hello") -> dict[str, Any]:
    return {"role": "user", "content": f"{text} [[simulate: tokens=5]]"}


def counts(usage: Any) -> tuple[int, int, int, int]:
    """Fresh, read, and written for five minutes and an hour."""
    created = usage.cache_creation
    assert usage.cache_creation_input_tokens == (
        created.ephemeral_5m_input_tokens + created.ephemeral_1h_input_tokens
    )
    return (
        usage.input_tokens, usage.cache_read_input_tokens,
        created.ephemeral_5m_input_tokens, created.ephemeral_1h_input_tokens,
    )  # fmt: skip


def test_a_marked_prompt_is_written_once_and_read_then(
    claude: anthropic.Anthropic, simulator: Simulator
) -> None:
    asked = {"system": [block(1_100, "word")], "messages": [question()]}
    first, second = ask(claude, **asked).usage, ask(claude, **asked).usage
    fresh = first.input_tokens
    assert counts(first) == (fresh, 0, 1_100, 0)
    assert counts(second) == (fresh, 1_100, 0, 0)
    assert claude.messages.count_tokens(model="claude-opus-4-8", **asked).input_tokens == fresh + 1_100
    one, two, _ = simulator.bill()["requests"]
    assert one["nano"] == fresh * FRESH + 1_100 * WRITTEN_5M + 5 * OUTPUT
    assert two["nano"] == fresh * FRESH + 1_100 * READ + 5 * OUTPUT
    assert (one["written_5m"], two["cached"]) == (1_100, 1_100)
    assert one["prompt_tokens"] == two["prompt_tokens"] == fresh + 1_100


def test_an_hour_and_five_minutes_are_written_at_their_own_prices(
    claude: anthropic.Anthropic, simulator: Simulator
) -> None:
    asked = {"system": [block(1_100, "long", "1h"), block(300, "short", "5m")], "messages": [question()]}
    usage = ask(claude, **asked).usage
    assert counts(usage) == (usage.input_tokens, 0, 300, 1_100)
    written = 300 * WRITTEN_5M + 1_100 * WRITTEN_1H
    assert simulator.total_nano() == usage.input_tokens * FRESH + written + 5 * OUTPUT


def test_a_conversation_reads_what_its_last_turn_wrote(claude: anthropic.Anthropic) -> None:
    system = [block(1_100, "system")]
    first = {"role": "user", "content": [block(200, "one")]}
    ask(claude, system=system, messages=[first])
    said = [first, {"role": "assistant", "content": "Well"}, {"role": "user", "content": [block(50, "two")]}]
    usage = ask(claude, system=system, messages=said).usage
    # Read: system, 4 for the first message and its text. Written: the answer and the second question.
    assert counts(usage)[1:] == (1_100 + 4 + 200, 4 + 1 + 4 + 50, 0)


def test_what_is_too_short_is_not_cached(claude: anthropic.Anthropic, simulator: Simulator) -> None:
    for words, written in ((1_023, 0), (1_024, 1_024)):
        usage = ask(claude, system=[block(words, "word")], messages=[question()]).usage
        assert usage.cache_creation_input_tokens == written
    usage = ask(claude, model="claude-haiku-4-5", system=[block(4_095, "word")], messages=[question()]).usage
    assert usage.cache_creation_input_tokens == 0


def test_tools_are_the_front_of_the_prompt(claude: anthropic.Anthropic) -> None:
    tools = [
        {"name": f"tool_{number}", "description": "word " * 100, "input_schema": {"type": "object"}}
        for number in range(30)
    ]
    tools[-1]["cache_control"] = {"type": "ephemeral"}
    choice = {"type": "none"}
    first = ask(claude, tools=tools, tool_choice=choice, messages=[question("One")]).usage
    second = ask(claude, tools=tools, tool_choice=choice, messages=[question("Two")]).usage
    assert first.cache_creation_input_tokens > 3_000
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    tools[0]["description"] = "Another"
    assert ask(claude, tools=tools, tool_choice=choice).usage.cache_read_input_tokens == 0


def test_one_mark_for_the_whole_request_is_at_its_end(claude: anthropic.Anthropic) -> None:
    asked = {
        "messages": [{"role": "user", "content": "word " * 2_000}],
        "cache_control": {"type": "ephemeral"},
    }
    written = ask(claude, **asked).usage
    read = ask(claude, **asked).usage
    assert (written.input_tokens, read.input_tokens) == (3, 3)
    assert read.cache_read_input_tokens == written.cache_creation_input_tokens > 2_000


def test_another_key_and_another_model_read_nothing(claude: anthropic.Anthropic) -> None:
    asked = {"system": [block(1_100, "word")], "messages": [question()]}
    ask(claude, **asked)
    other = claude.with_options(api_key="sk-ant-other")
    assert ask(other, **asked).usage.cache_read_input_tokens == 0
    assert ask(claude, model="claude-sonnet-5", **asked).usage.cache_read_input_tokens == 0
    assert ask(claude, **asked).usage.cache_read_input_tokens == 1_100


def test_a_stream_tells_the_cache_at_its_start_and_its_end(claude: anthropic.Anthropic) -> None:
    asked = {"system": [block(1_100, "word")], "messages": [question()]}
    events = list(ask(claude, stream=True, **asked))
    start = next(event for event in events if event.type == "message_start").message.usage
    end = next(event for event in events if event.type == "message_delta").usage
    assert counts(start) == (start.input_tokens, 0, 1_100, 0)
    assert (end.input_tokens, end.cache_creation_input_tokens, end.cache_read_input_tokens) == (
        start.input_tokens, 1_100, 0,
    )  # fmt: skip


def test_a_directive_knows_better_than_the_cache(claude: anthropic.Anthropic) -> None:
    messages = [{"role": "user", "content": "word " * 100 + "[[simulate: cached=60]]"}]
    assert ask(claude, messages=messages).usage.cache_read_input_tokens == 60


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ([block(1, "a", "5m"), block(1, "b", "1h")], "must not come after a ttl='5m'"),
        (
            [block(1, "a") for _ in range(5)],
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        (
            [{"type": "text", "text": "a", "cache_control": {"type": "forever"}}],
            "system.0.cache_control.type: Input should be 'ephemeral'",
        ),
        ([block(1, "a", "2h")], "system.0.cache_control.ttl: Input should be '5m' or '1h'"),
    ],
)
def test_marks_that_anthropic_does_not_take_are_refused(
    claude: anthropic.Anthropic, system: Any, message: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(claude, system=system)
    assert message in caught.value.api_message


def prompt(*blocks: dict[str, Any]) -> Any:
    return read_blocks({"messages": [{"role": "user", "content": [*blocks]}]})


def test_a_prefix_is_kept_for_its_time_after_its_last_use() -> None:
    cache = MarkedCache()
    short, long = prompt(block(1_100, "short", "5m")), prompt(block(1_100, "long", "1h"))
    size = 4 + 1_100
    assert cache.lookup(short, "me", 1_024, now=0) == Cached(written_5m=size)
    assert cache.lookup(short, "me", 1_024, now=299) == Cached(read=size)
    assert cache.lookup(short, "me", 1_024, now=598) == Cached(read=size)
    assert cache.lookup(short, "me", 1_024, now=899) == Cached(written_5m=size)
    assert cache.lookup(long, "me", 1_024, now=0) == Cached(written_1h=size)
    assert cache.lookup(long, "me", 1_024, now=3_599) == Cached(read=size)
    assert cache.lookup(long, "me", 1_024, now=7_200) == Cached(written_1h=size)


@pytest.mark.parametrize(("between", "read"), [(19, 4 + 1_100), (20, 0)])
def test_a_prefix_is_looked_for_twenty_blocks_back(between: int, read: int) -> None:
    cache = MarkedCache()
    first = block(1_100, "first")
    cache.lookup(prompt(first), "me", 1_024, now=0)
    more = [{"type": "text", "text": f"block {number}"} for number in range(between - 1)]
    unmarked = {"type": "text", "text": first["text"]}
    found = cache.lookup(prompt(unmarked, *more, block(10, "last")), "me", 1_024, now=1)
    assert found.read == read
