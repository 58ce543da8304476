"""Traffic as a coding agent makes it: many tools, a long marked prefix, tool loops side by side."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest

from simulator.process import Simulator
from tests.simulator.claude import user

AGENTS = 4
TURNS = 3
BETA = {"anthropic-beta": "interleaved-thinking-2025-05-14"}
MARK = {"type": "ephemeral"}
TOOLS: list[Any] = [
    {
        "name": f"tool_{number}",
        "description": "Does one thing and says what it did. " * 10,
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }
    for number in range(30)
]
SYSTEM = [
    {"type": "text", "text": "You write programs. " * 300, "cache_control": {**MARK, "ttl": "1h"}},
    {"type": "text", "text": "The folder is empty. " * 50, "cache_control": {**MARK, "ttl": "5m"}},
]


def nano(usage: Any) -> int:
    """What a usage costs with opus 4.8: $5/M, read a tenth, written 1.25 and 2 times, $25/M said."""
    created = usage.cache_creation
    return (
        usage.input_tokens * 5_000
        + usage.cache_read_input_tokens * 500
        + created.ephemeral_5m_input_tokens * 6_250
        + created.ephemeral_1h_input_tokens * 10_000
        + usage.output_tokens * 25_000
    )


async def work(claude: anthropic.AsyncAnthropic, number: int) -> list[Any]:
    """One agent's loop: think, call a tool, read its result, and think again. The usage of each turn."""
    asked: dict[str, Any] = {
        "model": "claude-opus-4-8",
        "system": SYSTEM,
        "tools": TOOLS,
        "thinking": {"type": "enabled", "budget_tokens": 2_000},
    }
    messages = user(f"Write program {number}")
    usages = []
    for turn in range(TURNS):
        counted = await claude.messages.count_tokens(messages=messages, extra_headers=BETA, **asked)
        last = turn == TURNS - 1
        async with claude.messages.stream(
            max_tokens=4_000,
            messages=messages,
            extra_headers=BETA,
            tool_choice={"type": "none"} if last else {"type": "auto"},
            **asked,
        ) as stream:
            answer = await stream.get_final_message()
        usage = answer.usage
        written = usage.cache_creation_input_tokens
        assert usage.input_tokens + usage.cache_read_input_tokens + written == counted.input_tokens
        usages.append(usage)
        kinds = [block.type for block in answer.content]
        if last or turn % 2:  # A tool has answered, and the agent does not insist on another.
            assert kinds == ["thinking", "text"]
            messages += [{"role": "assistant", "content": answer.content}, *user("Go on")]
        else:
            assert kinds == ["thinking", "tool_use"]
            result = {"type": "tool_result", "tool_use_id": answer.content[1].id, "content": "Done"}
            messages += [
                {"role": "assistant", "content": answer.content},
                {"role": "user", "content": [{**result, "cache_control": MARK}]},
            ]
    return usages


@pytest.mark.wide
async def test_agents_side_by_side_pay_what_their_usages_say(simulator: Simulator) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=simulator.root, api_key="sk-ant-agents", max_retries=0, timeout=20
    ) as claude:
        first = await work(claude, 0)
        rest = await asyncio.gather(*(work(claude, number) for number in range(1, AGENTS)))
    usages = [usage for each in [first, *rest] for usage in each]
    # The first call writes the prefix, for an hour and for five minutes; all others read it.
    assert first[0].cache_creation.ephemeral_1h_input_tokens > 3_000
    assert first[0].cache_creation.ephemeral_5m_input_tokens > 200
    assert first[0].cache_read_input_tokens == 0
    prefix = first[0].cache_creation_input_tokens
    assert all(usage.cache_read_input_tokens >= prefix for usage in usages[1:])
    bill = await asyncio.to_thread(simulator.bill)
    assert bill["total_nano"] == sum(map(nano, usages))
    billed = [entry for entry in bill["requests"] if entry["nano"]]
    assert len(billed) == len(usages) == AGENTS * TURNS
    assert len(bill["requests"]) == 2 * len(billed)  # with as many counts, which are free
