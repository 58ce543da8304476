"""Responses that fail, and requests that are refused, as OpenAI's own client sees them."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest

from simulator.process import Simulator
from tests.simulator.conftest import Raw
from tests.simulator.test_responses import SEARCH, WEATHER, ask, kinds

pytestmark = pytest.mark.wide


def hi(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "input": "Hi", **more}


def test_a_failing_response_says_so_and_costs_what_was_made(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    events = list(ask(client, "Hi [[simulate: tokens=9 error_in_stream=4]]", stream=True))
    failed = events[-1]
    assert (failed.type, failed.response.status) == ("response.failed", "failed")
    assert (failed.response.error.code, failed.response.usage) == ("server_error", None)
    assert [event.sequence_number for event in events] == list(range(9))
    whole = ask(client, "Hi [[simulate: tokens=9 error_in_stream code=rate_limit_exceeded]]")
    assert (whole.status, whole.error.code, whole.output) == ("failed", "rate_limit_exceeded", [])
    streamed, replaced = simulator.bill()["requests"]
    assert (streamed["completion_tokens"], replaced["completion_tokens"]) == (4, 9)


@pytest.mark.parametrize(
    ("wish", "tools", "passed"),
    [
        ("tokens=5 error_in_stream=0", [], 2),
        ("tokens=5 error_in_stream=9", [], 2 + 2 + 5 + 3),
        ("tokens=5 error_in_stream=2 searches=2", [SEARCH], 2 + 10 + 2 + 2),
        ("tokens=5 error_in_stream=9 searches=1", [SEARCH], 2 + 5 + 2 + 5 + 4),
        ("error_in_stream=1", [WEATHER], 3),
        ("error_in_stream=90", [WEATHER], 2 + 10 + 2),
    ],
)
def test_a_bare_error_has_the_next_number(
    client: openai.OpenAI, wish: str, tools: list[Any], passed: int
) -> None:
    events = list(ask(client, f"Hi [[simulate: {wish} no_done]]", stream=True, tools=tools))
    assert (events[-1].type, events[-1].code) == ("error", "server_error")
    assert [event.sequence_number for event in events] == list(range(passed + 1))


def test_usage_and_the_end_may_be_missing(client: openai.OpenAI, raw: Raw) -> None:
    none = list(ask(client, "[[simulate: no_usage]]", stream=True))[-1]
    assert (none.type, none.response.usage) == ("response.completed", None)
    assert ask(client, "[[simulate: no_usage]]").usage is None
    assert kinds(client, "[[simulate: no_done tokens=1]]")[-1] == "output_item.done"
    assert kinds(client, "[[simulate: usage_twice tokens=1]]")[-2:] == ["completed", "completed"]
    body = {"model": "gpt-4o", "input": "[[simulate: malformed=sse tokens=2]]", "stream": True}
    raw.send(body, path="/v1/responses", Connection="close")
    with pytest.raises(json.JSONDecodeError):
        [json.loads(line[6:]) for line in raw.rest().decode().splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_errors_are_the_sdks_own_and_free(
    client: openai.OpenAI, simulator: Simulator, status: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        ask(client, f"[[simulate: status={status}]]", background=True)
    with pytest.raises(kind):
        ask(client, "Hi", metadata={"simulate": f"status={status}"})
    assert simulator.total_nano() == 0


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": "Hi"}, "model", "missing_required_parameter"),
        ({"model": "gpt-4o"}, "input", "missing_required_parameter"),
        (hi(model="gpt-9"), "model", "model_not_found"),
        (hi(max_output_tokens=15), "max_output_tokens", "integer_below_min_value"),
        (hi(max_output_tokens=20_000), "max_output_tokens", "invalid_value"),
        (hi(stream="yes"), "stream", "invalid_type"),
        (hi(input=[{"role": "owner", "content": "Hi"}]), "input[0].role", "invalid_value"),
        (hi(input=[{"type": "mystery"}]), "input[0].type", "invalid_value"),
        (hi(input=["Hi"]), "input[0]", "invalid_type"),
        (hi(tools=[{"type": "mcp"}]), "tools[0].type", "invalid_value"),
        (hi(reasoning={"effort": "low"}), "reasoning.effort", "unsupported_parameter"),
        (hi(model="gpt-5", reasoning={"effort": "huge"}), "reasoning.effort", "invalid_value"),
        (hi(input=" a" * 128_000), "input", "context_length_exceeded"),
        (hi(previous_response_id="resp_0"), "previous_response_id", "previous_response_not_found"),
    ],
)
def test_what_openai_refuses_is_refused(
    http: httpx2.Client, simulator: Simulator, body: dict[str, Any], param: str, code: str
) -> None:
    answer = http.post("/v1/responses", json=body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)
    assert simulator.total_nano() == 0
