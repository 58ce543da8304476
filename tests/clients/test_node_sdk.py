"""The official openai package for Node, doing what its users do."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.process import Simulator
from tests.clients.node_sdk import ask, installed
from tests.gateway.conftest import simulated_settings
from tests.stack import running_stack

MODEL = "gpt-4o-mini"
HI = [{"role": "user", "content": "Say hello. [[simulate: tokens=12]]"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
COMPLETION = {"model": "gpt-3.5-turbo-instruct", "prompt": ["a", "b"], "n": 2, "max_tokens": 4}
USAGE = {"stream_options": {"include_usage": True}}
JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat.completions", {"model": MODEL, "messages": HI}),
    "stream": ("chat.completions", {"model": MODEL, "messages": HI, "stream": True}),
    "stream with usage": ("chat.completions", {"model": MODEL, "messages": HI, "stream": True, **USAGE}),
    "tools": ("chat.completions", {"model": MODEL, "messages": HI, "tools": [TOOL]}),
    "completion": ("completions", COMPLETION),
    "completion stream": ("completions", {**COMPLETION, "stream": True, **USAGE}),
    "embedding": ("embeddings", {"model": "text-embedding-3-small", "input": ["one", "two"]}),
    "moderation": ("moderations", {"input": "some violence"}),
    "models": ("models", {}),
}


@pytest.mark.wide
def test_everything_that_the_gateway_serves_works_in_node(
    simulator: Simulator, request: pytest.FixtureRequest
) -> None:
    assert request.config.cache is not None
    folder = installed(request.config.cache)
    with running_stack(simulated_settings(simulator)) as stack:
        jobs = [
            {
                "base_url": stack.base_url,
                "api_key": stack.key(limits={"month": 10**9}),
                "retries": 0,
                "method": method,
                "body": body,
                "headers": {"Observe-Customer": "acme"},
            }
            for method, body in JOBS.values()
        ]
        found = dict(zip(JOBS, ask(folder, jobs), strict=True))
        faults = {name: outcome for name, outcome in found.items() if "error" in outcome}
        assert not faults
        values = {name: outcome["value"] for name, outcome in found.items()}
        assert values["chat"]["choices"][0]["message"]["content"]
        assert values["tools"]["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "weather"
        assert all(chunk["choices"] for chunk in values["stream"])
        assert values["stream with usage"][-1]["usage"]["completion_tokens"] == 12
        assert len(values["completion"]["choices"]) == 4
        assert values["completion stream"][-1]["usage"]["completion_tokens"] == 16
        assert len(values["embedding"]["data"]) == 2
        assert len(values["embedding"]["data"][0]["embedding"]) == 1536
        assert values["moderation"]["results"][0]["flagged"] is True
        assert MODEL in values["models"]
        for name, outcome in found.items():
            if name != "models":
                event = stack.event(outcome["request_id"])
                (billed,) = simulator.bill(event.id)["requests"]
                assert (event.customer, event.cost_nano) == ("acme", billed["nano"]), name
